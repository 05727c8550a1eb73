"""The repository's part that travelled with a job, or with a task of a pipeline, laid out as in the repository."""

from __future__ import annotations

import os
import shutil
from importlib import resources
from pathlib import Path

from edge_tasks.domain.job_spec import MODEL_PACKAGE, SPEC_FILE, TrainingSpec
from edge_tasks.training.context import SPEC_VARIABLE


def unpack(folder: Path, order: str) -> str:
    """Put the repository's part that travelled into `folder`; return the content of the file `order` next to it."""
    with resources.as_file(resources.files(MODEL_PACKAGE)) as package:
        shutil.copytree(package / "files", folder, dirs_exist_ok=True)
        return (package / order).read_text(encoding="utf-8")


def announce(folder: Path, spec: TrainingSpec) -> None:
    """Let this process and those that it starts find the spec, and with it the folder."""
    path = folder / SPEC_FILE
    path.write_text(spec.to_json(), encoding="utf-8")
    os.environ[SPEC_VARIABLE] = str(path)
