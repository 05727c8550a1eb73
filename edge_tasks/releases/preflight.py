"""What is looked at before a model is deployed, so that nothing is paid for that could not have worked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timezone
from pathlib import Path

from edge_tasks.cloud import compute, quotas
from edge_tasks.cloud.client import Cloud, on_google_cloud
from edge_tasks.cloud.scale_to_zero import words as zero_words
from edge_tasks.domain import images
from edge_tasks.domain.config import EdgeConfig, ModelConfig
from edge_tasks.domain.machines import check_machine
from edge_tasks.domain.prices import PREDICTION, TRAINING, Machine
from edge_tasks.domain.quotas import shortages
from edge_tasks.domain.serving_choice import PREDICTOR, Serving
from edge_tasks.errors import ConfigError, TrainingError
from edge_tasks.repo.files import folder_sha256
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, TrainedModel


def check(config: EdgeConfig, trained: TrainedModel, serving: Serving) -> None:
    """Raise ConfigError or TrainingError when the trained model could not be served as edge.yaml says."""
    name = trained.model_name
    settings = config.models[name]
    if serving.kind != PREDICTOR:
        check_library_version(name, trained.environment, serving.container.image)
        check_serving_image(config, name, serving.container.image)
    check_machine(f"models.{name}.serving_machine_type", serving_machines(settings))


def check_region(cloud: Cloud, key: str, machine_type: str) -> None:
    """Raise ConfigError when Google says that the region has no such machine; where it says nothing, so do we.

    `key` is where the machine type is written. Vertex AI may have fewer machines in a region than Compute Engine, not
    others.
    """
    regions = compute.regions_with(cloud, machine_type)
    if regions is None or cloud.region in regions:
        return
    continent = cloud.region.partition("-")[0]
    near = sorted(region for region in regions if region.startswith(f"{continent}-")) or sorted(regions)
    raise ConfigError(
        f"`{key}` is `{machine_type}`, which the region {cloud.region} does not have",
        f"choose another machine type; {machine_type} is in {', '.join(near[:5])}" if near else "choose another one",
    )


def check_quota(cloud: Cloud, key: str, machine: Machine, known: Mapping[str, int] | None = None) -> None:
    """Raise ConfigError when the project may never use such machines; where Google says nothing, so do we.

    `key` is where the machine type is written, `known` what was asked already. What else runs is not looked at: the
    quota alone is less than this.
    """
    limits = quotas.limits(cloud) if known is None else known
    for shortage in shortages(machine, limits or {})[:1]:
        metric = shortage.metric.partition("/")[2]
        raise ConfigError(
            f"`{key}` asks for {machine}, and the project may have {shortage.limit} of {metric} in {cloud.region}, "
            f"less than {shortage.asked}",
            f"ask Google for more: https://console.cloud.google.com/iam-admin/quotas?project={cloud.project} "
            f"(filter: {metric}), or choose another machine or region",
        )


def check_library_version(name: str, environment: dict[str, str], image: str) -> None:
    """Raise TrainingError when the image's framework is not the version that the model was trained with.

    An artifact is a pickle: another version reads it wrongly, or not at all.
    """
    prebuilt = images.prebuilt(image)
    version = environment.get(prebuilt.package) if prebuilt else None
    if prebuilt and version and version.split(".")[:2] != prebuilt.shown_version.split("."):
        package, wanted = prebuilt.package, prebuilt.shown_version
        raise TrainingError(
            f"`{name}` was trained with {package} {version}, but its serving image holds {wanted} ({image})",
            f"pip install '{package}=={wanted}.*', then train again: dvc repro --force models/{name}/dvc.yaml; "
            f"or `models.{name}.serving: predictor` in `edge.yaml`",
        )


def check_serving_image(config: EdgeConfig, name: str, image: str, today: date | None = None) -> None:
    """Raise ConfigError when `image` is none that serves, or Google no longer lets it be used.

    How long it can be used matters only where Google's images are really pulled.
    """
    key = f"models.{name}.serving_container_image_uri"
    prebuilt = images.prebuilt(image)
    if prebuilt is None:
        return
    if prebuilt.purpose != "prediction":
        raise ConfigError(f"`{key}` names an image for training ({image})", "use one of `.../vertex-ai/prediction/...`")
    if not on_google_cloud(config):
        return
    support = images.support(prebuilt)
    if images.retired(prebuilt) or (support and support.available_until < (today or _today())):
        since = f"since {support.available_until}" if support else "by now"
        raise ConfigError(
            f"the serving image of `{name}` can no longer be used {since}: {image}",
            f"set `{key}` to a newer one (https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers), "
            "and train with its library versions",
        )


def check_artifact(folder: Path, trained: TrainedModel) -> None:
    """Raise TrainingError unless the artifact on this machine is the one that trained_model.json tells of."""
    name, artifact = trained.model_name, folder / ARTIFACT_FOLDER
    hint = f"dvc checkout models/{name}/{ARTIFACT_FOLDER}, or dvc pull, or train again: dvc repro"
    if not artifact.is_dir():
        raise TrainingError(f"the artifact of `{name}` is not on this machine (models/{name}/{ARTIFACT_FOLDER})", hint)
    if folder_sha256(artifact) != trained.artifact_sha256:
        raise TrainingError(f"models/{name}/{ARTIFACT_FOLDER} is not what trained_model.json tells of", hint)


def training_machines(settings: ModelConfig) -> Machine:
    """Return the machines of a training job with these settings."""
    return Machine(
        TRAINING,
        settings.training_machine_type,
        settings.training_accelerator_type,
        settings.training_accelerator_count,
        settings.training_replica_count,
        settings.training_spot,
    )


def serving_machines(settings: ModelConfig) -> Machine:
    """Return the machines that a deployment with these settings keeps running at least."""
    return Machine(
        PREDICTION,
        settings.serving_machine_type,
        settings.serving_accelerator_type,
        settings.serving_accelerator_count,
        settings.min_replica_count,
    )


def scale_to_zero(settings: ModelConfig) -> str:
    """Return when a deployment with these settings goes to no replica, in words; empty when it never does."""
    return zero_words(settings.scale_to_zero)


def is_artifact(folder: Path, trained: TrainedModel) -> bool:
    """Say whether the artifact that trained_model.json tells of is on this machine."""
    artifact = folder / ARTIFACT_FOLDER
    return artifact.is_dir() and folder_sha256(artifact) == trained.artifact_sha256


def _today() -> date:
    return datetime.now(timezone.utc).date()
