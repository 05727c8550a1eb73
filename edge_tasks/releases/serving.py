"""What serves a trained model: its artifact is looked at, on this machine or in the bucket, and the choice is made.

The choice is `edge_tasks.domain.serving_choice`'s; nothing is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.model_formats import REQUIREMENTS_FILE
from edge_tasks.domain.serving_choice import PREBUILT, PREDICTOR, ArtifactFacts, Serving
from edge_tasks.domain.signature import FILE_NAME as SIGNATURE_FILE
from edge_tasks.domain.signature import Signature
from edge_tasks.errors import TrainingError
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, TrainedModel

# How messages call them.
NAMES = {PREBUILT: "Google's prebuilt image", PREDICTOR: "the predictor", "container": "its own container"}


def of_folder(artifact: Path, environment: Mapping[str, str]) -> ArtifactFacts:
    """Return what the artifact in a folder says about itself; `environment` is what its training recorded."""
    paths = [path.relative_to(artifact) for path in artifact.rglob("*") if path.is_file()]
    # Who has loaded the model may have left bytecode there.
    files = tuple(sorted(path.as_posix() for path in paths if "__pycache__" not in path.parts))
    return _facts(files, lambda name: (artifact / name).read_bytes(), environment)


def of_trained(cloud: Cloud, config: EdgeConfig, folder: Path, trained: TrainedModel) -> ArtifactFacts:
    """Return what a trained model's artifact says: on this machine, else in this target's bucket."""
    artifact = folder / ARTIFACT_FOLDER
    if artifact.is_dir() or not trained.artifact_uri or trained.target != config.target:
        return of_folder(artifact, trained.environment)
    uri = trained.artifact_uri.rstrip("/")
    return _facts(storage.names(cloud, uri), lambda name: storage.read(cloud, f"{uri}/{name}"), trained.environment)


def described(serving: Serving) -> str:
    """Return the choice in words; they complete the sentence "it would ..."."""
    return f"serve it by {NAMES[serving.kind]} ({serving.container.image}): {serving.why}"


def _facts(files: tuple[str, ...], read: Callable[[str], bytes], environment: Mapping[str, str]) -> ArtifactFacts:
    signature = None
    if SIGNATURE_FILE in files:
        try:
            signature = Signature.from_json(read(SIGNATURE_FILE))
        except ValueError as error:
            raise TrainingError(
                f"{ARTIFACT_FOLDER}/{SIGNATURE_FILE} cannot be read: {error}", "train again, or upgrade vertex-edge"
            ) from None
    requirements = read(REQUIREMENTS_FILE).decode() if REQUIREMENTS_FILE in files else None
    return ArtifactFacts(files, signature, environment, requirements)
