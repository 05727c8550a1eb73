"""One version in the model registry for each run, no matter who uploads it and how often that is cut off.

An upload is an operation that runs on at Google when our command dies. Its name lies in the bucket, in the folder of
the run: who comes next waits for that upload. When it has ended, the version is found by its run's label; when there
is none, the upload is begun again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_tasks.cloud import model_registry, storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.model_registry import ModelVersion
from edge_tasks.cloud.object_lock import claimed
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.serving_choice import ContainerSpec
from edge_tasks.errors import ConflictError, NotFoundError
from edge_tasks.repo import layout
from edge_tasks.tools.signals import defer_signals


@dataclass(frozen=True)
class ModelUpload:
    """The model of one run, as it is to stand in the registry."""

    model_name: str
    run_id: str
    artifact_uri: str
    labels: Mapping[str, str]
    description: str
    container: ContainerSpec


def find(cloud: Cloud, model_name: str, run_id: str, container: ContainerSpec | None = None) -> ModelVersion | None:
    """Return the version of the run in the registry, or None when there is none yet.

    With `container` it is one that is served by it: a version keeps what it was uploaded with, so that the same
    artifact with another container is another version.
    """
    model_id = layout.registry_model_id(cloud.bucket_name, model_name)
    versions = model_registry.find_versions(cloud, model_id, layout.RUN_LABEL, run_id)
    return next((version for version in versions if container is None or is_served_by(version, container)), None)


def is_served_by(version: ModelVersion, container: ContainerSpec) -> bool:
    """Say whether the version was uploaded with this container.

    A label tells, since Google may fill in what was left empty; versions of before have none, and an image only.
    """
    label = version.labels.get(layout.SERVING_LABEL)
    return label == container.digest if label else container == ContainerSpec(version.container.image)


def register(cloud: Cloud, config: EdgeConfig, wanted: ModelUpload, progress: Progress) -> ModelVersion:
    """Return the version of the run in the registry; it is put there unless it is there, or on its way."""
    try:
        return _register(cloud, config, wanted, progress)
    except ConflictError:  # the first version of the model was another run's; now there is a model to add one to
        return _register(cloud, config, wanted, progress)


def _register(cloud: Cloud, config: EdgeConfig, wanted: ModelUpload, progress: Progress) -> ModelVersion:
    name, run_id = wanted.model_name, wanted.run_id
    note = layout.upload_note(config, name, run_id)
    with claimed(cloud, layout.claim(config, name, run_id)):
        upload = _noted(cloud, note)
        if upload is None or not model_registry.upload_runs(cloud, upload):
            if (found := find(cloud, name, run_id, wanted.container)) is not None:
                return found
            with defer_signals():  # an upload that nobody knows of would be made again
                upload = _start(cloud, wanted)
                storage.upload(cloud, upload.encode(), note)
    return model_registry.finish_upload(
        cloud, upload, name, on_wait=lambda elapsed: progress.waiting("waiting for the model registry", elapsed)
    )


def _start(cloud: Cloud, wanted: ModelUpload) -> str:
    return model_registry.start_upload(
        cloud,
        model_id=layout.registry_model_id(cloud.bucket_name, wanted.model_name),
        display_name=wanted.model_name,
        artifact_uri=wanted.artifact_uri,
        container=wanted.container,
        labels={**wanted.labels, layout.SERVING_LABEL: wanted.container.digest},
        description=wanted.description,
    )


def _noted(cloud: Cloud, note: str) -> str | None:
    """Return the name of the operation that was started for the run, or None."""
    try:
        return storage.read(cloud, f"gs://{cloud.bucket_name}/{note}").decode()
    except NotFoundError:
        return None
