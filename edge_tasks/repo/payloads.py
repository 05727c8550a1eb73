"""Payloads: the JSON bodies of predict requests, checked before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

from edge_tasks.errors import EdgeError

# https://cloud.google.com/vertex-ai/docs/predictions/get-online-predictions
LIMIT_BYTES = 1_572_864

# In each model's folder: what the model is tried with.
FILE_NAME = "test_payload.json"


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
