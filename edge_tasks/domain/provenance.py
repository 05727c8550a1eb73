"""Where a model comes from: run ids, and the labels that carry run, commit and data version into the registry."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

# https://cloud.google.com/resource-manager/docs/labels-overview
_LABEL_VALUE = re.compile(r"[^a-z0-9_-]")

# Characters of a version's description. No limit is documented; this one is far below what any service of Google's has.
_LONGEST_DESCRIPTION = 2000


@dataclass(frozen=True)
class Commit:
    """The git commit that is checked out, and whether files differ from it."""

    sha: str
    dirty: bool


def new_run_id(now: datetime | None = None) -> str:
    """Return an id that no other run has and that sorts by time: 20261122-204655-1a2b3c4d (UTC).

    It is at once a folder's name, an object's name and a legal label value.
    """
    now = now or datetime.now(timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def hash_of(url: str) -> str:
    """Return the hash in the address of a version: .../files/md5/26/ab0db9... is 26ab0db9..."""
    folder, _, name = url.rpartition("/")
    return folder.rpartition("/")[2] + name


def data_version(data: Mapping[str, str]) -> str:
    """Return one short hash over the DVC hashes of all data (path to hash); empty when there is none."""
    if not data:
        return ""
    text = "\n".join(f"{path}\t{data[path]}" for path in sorted(data))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parameters_version(parameters: Mapping[str, Any]) -> str:
    """Return one short hash over the names and values of all parameters; empty when there are none."""
    if not parameters:
        return ""
    text = json.dumps(parameters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def labels(
    model_name: str,
    run_id: str,
    commit: Commit | None,
    data: Mapping[str, str],
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the labels of a job or a model version; values keep to what Google allows."""
    values = {
        "edge-model": model_name,
        "edge-run": run_id,
        "edge-commit": commit.sha[:12] if commit else "",
        "edge-dirty": str(commit.dirty).lower() if commit else "",
        "edge-data": data_version(data),
        "edge-parameters": parameters_version(parameters),
    }
    return {key: label_value(value) for key, value in values.items() if value}


def description(commit: Commit | None, data: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """Return for people, and whole, what the labels of a model version hold as hashes: commit, data and parameters."""
    values = {
        "commit": commit.sha if commit else None,
        "dirty": commit.dirty if commit else None,
        "data": dict(data),
        "parameters": dict(parameters),
    }
    return json.dumps(values, sort_keys=True, default=str)[:_LONGEST_DESCRIPTION]


def label_value(text: str) -> str:
    """Return `text` as a label's value: other characters than Google allows become hyphens, the rest is cut off."""
    return _LABEL_VALUE.sub("-", text.lower())[:63]


def registry_model_id(bucket_name: str, model_name: str) -> str:
    """Return the id under which all versions of a model lie in the registry.

    It is fixed by the repository (whose bucket's name is unique in the world) and the model's name, so that two people
    who train the first version at once meet in one model, and two repositories in one project do not.
    """
    return f"{model_name}-{hashlib.sha256(bucket_name.encode()).hexdigest()[:8]}"
