"""Whether what would be released can be told by its commit: trained from what was committed, and recorded by DVC."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from edge_tasks.errors import TrainingError
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.repo.trained_model import TrainedModel
from edge_tasks.tools import dvc


def doubts(model_folder: Path, trained: TrainedModel) -> Iterator[str]:
    """Yield a sentence for each reason to doubt that a commit tells where the trained model comes from."""
    name = trained.model_name
    if trained.dirty:
        yield (
            f"`{name}` was trained with changes that were not committed, so no commit tells its code: "
            f"git commit, then {_again(name)}"
        )
    recorded = dvc.recorded_md5(model_folder, TRAINED_MODEL_FILE)
    content = (model_folder / TRAINED_MODEL_FILE).read_bytes()
    if recorded is not None and recorded != hashlib.md5(content, usedforsecurity=False).hexdigest():
        yield (
            f"run {trained.run_id} of `{name}` is not what models/{name}/dvc.lock records: it was trained by hand, "
            f"or dvc.lock is of another commit; dvc repro models/{name}/dvc.yaml makes them agree"
        )


def refuse_dirty(trained: TrainedModel) -> None:
    """Raise TrainingError when the model was trained with changes that were not committed."""
    if trained.dirty:
        raise TrainingError(
            f"`{trained.model_name}` was trained with changes that were not committed, so no commit tells its code",
            f"git commit, then {_again(trained.model_name)}; or add --allow-dirty",
        )


def _again(name: str) -> str:
    return f"EDGE_FORCE=1 dvc repro --force models/{name}/dvc.yaml"
