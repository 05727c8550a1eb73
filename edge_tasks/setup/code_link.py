"""The link `.code`, by which the stage `train` of a model depends on the model's whole folder.

DVC refuses a folder among the deps of a stage that writes into it. `.code` is another name of the folder `models`, for
which .dvcignore leaves out what a training writes, so that DVC sees every other change in it: a module next to train.py
that is changed, added or removed.
"""

from __future__ import annotations

from pathlib import Path

from edge_tasks.repo import layout
from edge_tasks.repo.files import write_atomically

_WHY = "# What of a model's folder is not for its training; see models/NAME/dvc.yaml."

# As in the template's .dvcignore, which `tests/test_code_changes.py` compares.
IGNORED = tuple(
    f"/.code/*/{name}"
    for name in (
        *(
            ".*",
            "data.yaml",
            "dvc.lock",
            "dvc.yaml",
            "metrics.json",
            "model/",
            "params.yaml",
            "plots/",
            "README.md",
            "test_*",
        ),
        *("trained_model.json", "tune.yaml"),
    )
)


def make(root: Path) -> None:
    """Make what the template's train stages depend on, where an older repository does not have it."""
    link, shared, ignored = layout.code_link(root), layout.shared_code(root), root / ".dvcignore"
    if not link.is_symlink():
        link.symlink_to(layout.model_folders(root).name)
    if not shared.exists():
        shared.mkdir()
        (shared / ".gitkeep").touch()
    text = ignored.read_text(encoding="utf-8") if ignored.exists() else ""
    missing = [line for line in IGNORED if line not in text.splitlines()]
    if missing:
        write_atomically(ignored, "\n".join([text.rstrip("\n"), "", _WHY, *missing, ""]).lstrip("\n").encode())
