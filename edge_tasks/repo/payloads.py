"""Payloads: the JSON bodies of predict requests, checked before anything is sent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from edge_tasks.errors import EdgeError

# https://cloud.google.com/vertex-ai/docs/predictions/get-online-predictions
LIMIT_BYTES = 1_572_864

# In each model's folder: what the model is tried with.
FILE_NAME = "test_payload.json"

# The payloads that the template's examples come with: no person has written them.
OF_EXAMPLES = frozenset(
    {
        "4558f317d053ef6fdb6eaf01350f0eb3c94e64ec7db2309bafb74858e68c596a",  # digits
        "a2b736bb3e420f7f47ea90582067591d743c50565fd1aead2794c1bd7415f2aa",  # fashion-mnist
        "f7fbf763cf7b4300cfce6ceae842c4b0ad0604b5d9e2fd3b8d5fa8a490ed5622",  # hello-world
        "7b279e29a6ce8bd9d4f4abc7925ac16c3d9373732eb802a5988a449def25e663",  # tabular
    }
)


class PayloadError(EdgeError):
    """A payload is not what Vertex AI accepts."""


def read_payload(path: str | Path) -> bytes:
    """Return the content of a JSON file that holds {"instances": [...]}.

    Raises PayloadError when it is not there, not JSON, has no instances, or is larger than an endpoint takes.
    """
    hint = 'write {"instances": [...]} with one entry for each prediction'
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PayloadError(f"`{path}` cannot be read: {error.strerror}", "--file FILE") from None
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"`{path}` is not JSON: {error}", hint) from None
    if not isinstance(payload, dict) or not isinstance(payload.get("instances"), list) or not payload["instances"]:
        raise PayloadError(f"`{path}` has no list `instances`", hint)
    if len(content) > LIMIT_BYTES:
        raise PayloadError(
            f"`{path}` has {len(content):,} bytes, an endpoint takes {LIMIT_BYTES:,}",
            "ask in several requests",
        )
    return content


def is_of_another_model(payload: bytes, made: bytes) -> bool:
    """Say whether `payload` is an example's, and the model asks otherwise, as the one `made` by its training tells."""
    if not _is_of_example(payload):
        return False
    return bool(_form(json.loads(payload)["instances"][0]) != _form(json.loads(made)["instances"][0]))


def remove_of_example(model_folder: Path) -> None:
    """Remove the payload of the example that a model began as, when it is another model now."""
    payload = model_folder / FILE_NAME
    if payload.is_file() and _is_of_example(payload.read_bytes()):
        payload.unlink()


def _is_of_example(payload: bytes) -> bool:
    return hashlib.sha256(payload).hexdigest() in OF_EXAMPLES


def _form(value: Any) -> Any:
    """Return what instances of one model have in common: the names of columns, lengths, kinds of values."""
    if isinstance(value, dict):
        return frozenset(value)
    if isinstance(value, list):
        return (len(value), _form(value[0]) if value and isinstance(value[0], list) else None)
    return isinstance(value, str)
