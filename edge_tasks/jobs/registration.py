"""From the results of a training in the bucket to a version in the model registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.model_registry import ModelVersion
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.serving_choice import choose
from edge_tasks.releases import model_upload, serving, serving_image
from edge_tasks.releases.model_upload import ModelUpload
from edge_tasks.repo.results import Results
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER

# Makes a call, and repeats it while nothing answers.
Ask: TypeAlias = Callable[[Callable[[Cloud], Any]], Any]


def registered(
    ask: Ask, config: EdgeConfig, spec: TrainingSpec, results: Results, labels: Mapping[str, str], progress: Progress
) -> ModelVersion:
    """Return the version of a run in the registry; it is put there, with `labels`, unless it is there already.

    `results` are those of the run, on this machine; what the version holds is what lies in the bucket.
    """
    name = spec.model_name
    facts = serving.of_folder(results.artifact, results.environment)
    chosen = choose(config, name, facts)
    container = chosen.container
    found: ModelVersion | None = ask(lambda cloud: model_upload.find(cloud, name, spec.run_id, container))
    if found is not None:
        return found
    wanted = ModelUpload(
        model_name=name,
        run_id=spec.run_id,
        artifact_uri=f"{spec.output_uri}/{ARTIFACT_FOLDER}",
        labels=labels,
        description=spec.description(),
        container=container,
    )
    ask(lambda cloud: serving_image.ensure(cloud, config, name, chosen, facts, progress))
    progress.step("uploading the model to the registry")
    version: ModelVersion = ask(lambda cloud: model_upload.register(cloud, config, wanted, progress))
    return version
