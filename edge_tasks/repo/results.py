"""What a training leaves behind: first in its own folder, then, on success only, in the model's folder.

The layout is the same in a job's output folder in the bucket: `model/`, `metrics.json`, `plots/`, `environment.json`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks.domain.provenance import Provenance
from edge_tasks.errors import TrainingError
from edge_tasks.repo.files import folder_sha256, replace_folder
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.payloads import is_of_another_model
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, TrainedModel, find_trained_model, save_trained_model
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE

METRICS_FILE = "metrics.json"
PLOTS_FOLDER = "plots"
ENVIRONMENT_FILE = "environment.json"


@dataclass(frozen=True)
class Results:
    """The checked outputs of one training, still in the folder that they were written to."""

    folder: Path
    metrics: dict[str, Any]
    environment: dict[str, str]

    @property
    def artifact(self) -> Path:
        """The folder with the artifact's files."""
        return self.folder / ARTIFACT_FOLDER

    def trained(self, target: str, model_name: str, made_from: Provenance, **more: Any) -> TrainedModel:
        """Return what trained_model.json says of these results, as of now; `more` are its other fields."""
        return made_from.model_copy(update={"environment": self.environment}).into(
            TrainedModel,
            model_name=model_name,
            target=target,
            trained_at=datetime.now(timezone.utc),
            artifact_sha256=folder_sha256(self.artifact),
            metrics=self.metrics,
            **more,
        )


def read_results(folder: Path) -> Results:
    """Check what a training wrote to `folder`. Raises TrainingError when the artifact or the metrics are not there."""
    hint = "train.py must call save_results(model, metrics, model_output_dir)"
    if not any(path.is_file() for path in (folder / ARTIFACT_FOLDER).rglob("*")):
        raise TrainingError("the training ended without saving a model", hint)
    try:
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError("the training ended without saving metrics", hint) from None
    except ValueError as error:
        raise TrainingError(f"the training wrote a broken {METRICS_FILE}: {error}", hint) from None
    if not isinstance(metrics, dict):
        raise TrainingError(f"the training wrote a {METRICS_FILE} that does not hold names and numbers", hint)
    try:
        environment = json.loads((folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        environment = {}
    return Results(folder=folder, metrics=metrics, environment=environment)


def publish(results: Results, model_folder: Path, trained: TrainedModel, *, again: bool = False) -> TrainedModel:
    """Put `results` into the model's folder, and `trained_model.json`, which vouches for the rest, last.

    All that takes room on the disk is written beforehand; what is left are renames. Of several trainings that end at
    once, each puts all of its results there before the next.

    A training that has given once more what the folder tells of already leaves `trained_model.json` as it is, unless
    it was to be trained `again`: in a clone that changes nothing, nothing changes. Returns what the file says then.
    """
    _complete(results, trained)
    with _turn(model_folder, results.folder.parent):
        before = find_trained_model(model_folder, trained.model_name)
        if before is not None and not again and before.says_as_much_as(trained):
            shutil.copyfile(model_folder / TRAINED_MODEL_FILE, results.folder / TRAINED_MODEL_FILE)
            trained = before
        (model_folder / TRAINED_MODEL_FILE).unlink(missing_ok=True)
        replace_folder(results.artifact, model_folder / ARTIFACT_FOLDER)
        if (results.folder / PLOTS_FOLDER).is_dir():
            replace_folder(results.folder / PLOTS_FOLDER, model_folder / PLOTS_FOLDER)
        _add_payload(results.folder / PAYLOAD_FILE, model_folder / PAYLOAD_FILE)
        for name in (METRICS_FILE, TRAINED_MODEL_FILE):
            (results.folder / name).replace(model_folder / name)
    shutil.rmtree(results.folder, ignore_errors=True)
    return trained


def set_aside(results: Results, folder: Path, trained: TrainedModel) -> None:
    """Put the results of a try into `folder`, in the place of those of the try before."""
    _complete(results, trained)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _turn(folder, results.folder.parent):
        replace_folder(results.folder, folder)


def _complete(results: Results, trained: TrainedModel) -> None:
    (results.folder / METRICS_FILE).write_text(json.dumps(results.metrics, indent=2) + "\n", encoding="utf-8")
    save_trained_model(results.folder, trained)


def _add_payload(made: Path, place: Path) -> None:
    """Give a model that has no payload, or that of the example it began as, the one that its training made.

    A person's own stays.
    """
    if made.is_file() and (not place.exists() or is_of_another_model(place.read_bytes(), made.read_bytes())):
        made.rename(place)


@contextlib.contextmanager
def _turn(model_folder: Path, place: Path) -> Iterator[None]:
    """Wait until no other training on this machine puts results into the model's folder."""
    import fcntl

    with (place / f"{model_folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
