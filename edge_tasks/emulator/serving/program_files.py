"""The modules of ours that a model server in an isolated environment finds, and no others.

A folder that holds links to them is on its path: where this package lies, all else that is installed does, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.runtime.watchers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# The predictor's are those that its image is built from.
PREDICTOR = (
    "__init__.py",
    *(f"domain/{name}.py" for name in ("__init__", "model_formats", "signature")),
    "serving",
)
PREBUILT = (*PREDICTOR, "emulator")


def folder(data: Path, framework: str) -> Path:
    """Return the folder with the program for a framework, made unless it is there."""
    name, files = ("predictor", PREDICTOR) if framework == "predictor" else ("prebuilt", PREBUILT)
    top = data / "programs" / name
    for file in files:
        link, target = top / "edge_tasks" / file, ROOT / "edge_tasks" / file
        if not link.is_symlink() or link.readlink() != target:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return top
