"""edge.yaml at a glance: what a start screen and the shell's completion need at once, not checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FILE_NAME = "edge.yaml"


@dataclass(frozen=True)
class Glance:
    """A repository, and what its edge.yaml says of target and models."""

    root: Path
    target: str
    models: tuple[str, ...]


def find(start: Path) -> Path | None:
    """Return the nearest folder at or above `start` that holds edge.yaml, or None."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / _FILE_NAME).is_file()), None)


def glance(start: Path, environ: Mapping[str, str] = os.environ) -> Glance | None:
    """Return what edge.yaml says at or above `start`; None when there is none, or nobody can read it."""
    import yaml

    root = find(start)
    if root is None:
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load((root / _FILE_NAME).read_text(encoding="utf-8"), loader)  # noqa: S506  both are safe
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    if not isinstance(document, dict):
        return None
    models = document.get("models")
    names = tuple(str(name) for name in models) if isinstance(models, dict) else ()
    return Glance(root, environ.get("EDGE_TARGET") or str(document.get("target", "local")), names)
