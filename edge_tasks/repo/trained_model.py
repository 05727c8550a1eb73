"""trained_model.json: what a training left behind, next to the artifact. Written last, and only on success."""

from __future__ import annotations

import errno
import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, Field, ValidationError

from edge_tasks.domain.provenance import Provenance
from edge_tasks.errors import ConfigError, TrainingError
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.layout import TRAINING_LABEL
from edge_tasks.repo.text_files import check_merged

FILE_NAME = "trained_model.json"
# The folder next to it that holds the artifact's files.
ARTIFACT_FOLDER = "model"
FORMAT_VERSION = 1


class UntrainedError(TrainingError):
    """There is no trained_model.json, because nothing was trained yet, or no folder of the model."""


class TrainedModel(Provenance):
    """One finished training of one model."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), populate_by_name=True)

    format_version: int = FORMAT_VERSION
    model_name: str
    run_id: str
    target: str
    trained_at: datetime
    user: str | None = Field(default=None, alias="trained_by")
    job: str | None = Field(default=None, description="resource name of the custom job; null when trained in process")
    model: str | None = Field(
        default=None,
        pattern="^projects/.+/models/.+",
        description="versioned resource name in the registry; null when not there",
    )
    artifact_uri: str | None = Field(default=None, description="gs:// folder of the artifact; null when only on disk")
    artifact_sha256: str = Field(description="over the files of model/, names and contents")
    metrics: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)

    def says_as_much_as(self, other: TrainedModel) -> bool:
        """Say whether `other`, of the same code, data and parameters, is the same model and no better record of it."""
        fingerprint = self.labels.get(TRAINING_LABEL)
        same = ("model_name", "target", "data", "metrics", "artifact_sha256")
        return (
            fingerprint is not None
            and fingerprint == other.labels.get(TRAINING_LABEL)
            and all(getattr(self, name) == getattr(other, name) for name in same)
            and not (self.dirty and not other.dirty)
        )


def save_trained_model(folder: Path, trained: TrainedModel) -> None:
    """Write FOLDER/trained_model.json."""
    values = {"format_version": FORMAT_VERSION, "model_name": "", **trained.model_dump(mode="json", by_alias=True)}
    values["labels"] = dict(sorted(values["labels"].items()))  # the registry gives them in any order
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / FILE_NAME, text.encode())


def load_trained_model(folder: Path, model_name: str) -> TrainedModel:
    """Read FOLDER/trained_model.json.

    Raises TrainingError when nothing was trained yet, or the file is not what a training of this model wrote.
    """
    trained = _read(folder, model_name)
    if trained.model_name not in ("", model_name):
        raise TrainingError(
            f"`models/{model_name}/{FILE_NAME}` tells of the model `{trained.model_name}`, not of `{model_name}`",
            _train(model_name),
        )
    return trained


def _train(model_name: str) -> str:
    return f"dvc repro models/{model_name}/dvc.yaml"


def _read(folder: Path, model_name: str) -> TrainedModel:
    hint = _train(model_name)
    try:
        text = (folder / FILE_NAME).read_text(encoding="utf-8")
        check_merged(text, f"models/{model_name}/{FILE_NAME}")
    except UnicodeDecodeError:
        raise TrainingError(f"`models/{model_name}/{FILE_NAME}` is broken", hint) from None
    except ConfigError as error:
        raise TrainingError(error.problem, error.hint) from None
    except OSError as error:
        if isinstance(error, FileNotFoundError) and folder.is_dir():
            raise UntrainedError(f"the model `{model_name}` has not been trained yet", hint) from None
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # a file, or a link that leads nowhere
            raise UntrainedError(
                f"edge.yaml names the model `{model_name}`, but there is no folder models/{model_name}", "invoke doctor"
            ) from None
        raise TrainingError(
            f"`models/{model_name}/{FILE_NAME}` cannot be read: {error.strerror}", f"ls -ld models/{model_name}"
        ) from None
    try:
        document = json.loads(text)
        version = document["format_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise TrainingError(f"`models/{model_name}/{FILE_NAME}` is broken", hint) from None
    if version != FORMAT_VERSION:
        raise TrainingError(
            f"`models/{model_name}/{FILE_NAME}` has format {version}, this vertex-edge knows {FORMAT_VERSION}",
            "git pull, then pip install -r requirements.txt",
        )
    try:
        return TrainedModel.model_validate(document)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise TrainingError(f"`models/{model_name}/{FILE_NAME}` is broken at `{key}`", hint) from None


class LastTraining(NamedTuple):
    """What FOLDER/trained_model.json tells of the last training of a model."""

    # None when there was none, or none that can be read.
    trained: TrainedModel | None = None
    # Why the file cannot be read; None, too, when nothing was trained yet.
    problem: TrainingError | None = None
    # The other name that the file tells of: the model was renamed since, and not trained again.
    former_name: str | None = None


def last_training(folder: Path, model_name: str) -> LastTraining:
    """Read FOLDER/trained_model.json, whatever is in it."""
    try:
        trained = _read(folder, model_name)
    except UntrainedError:
        return LastTraining()
    except TrainingError as error:
        return LastTraining(problem=error)
    if trained.model_name not in ("", model_name):
        return LastTraining(former_name=trained.model_name)
    return LastTraining(trained)


def find_trained_model(folder: Path, model_name: str) -> TrainedModel | None:
    """Read FOLDER/trained_model.json; None when there is none, or none that can be read."""
    return last_training(folder, model_name).trained


def trained_model_problem(folder: Path, model_name: str) -> TrainingError | None:
    """Return why FOLDER/trained_model.json cannot be read; None when it can, or when nothing was trained yet.

    Nothing was, too, when it tells of another model: this one has been renamed since.
    """
    return last_training(folder, model_name).problem
