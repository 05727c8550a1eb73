"""Every call to Vertex AI's model registry: values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.operations import OPERATION_LIMIT, begun, take_away, wait
from edge_tasks.cloud.vertex_sdk import messages
from edge_tasks.domain.serving_choice import ContainerSpec
from edge_tasks.errors import NotFoundError

# The alias of the version that a model's name without a version means; exactly one has it, at first version 1.
DEFAULT = "default"


@dataclass(frozen=True)
class ModelVersion:
    """A version in the model registry."""

    name: str
    version: str
    artifact_uri: str
    labels: Mapping[str, str]
    container: ContainerSpec
    created: datetime | None = None
    aliases: tuple[str, ...] = ()

    @property
    def versioned_name(self) -> str:
        """The resource name with its version: projects/P/locations/L/models/M@V."""
        return f"{self.name}@{self.version}"


def start_upload(
    cloud: Cloud,
    *,
    model_id: str,
    display_name: str,
    artifact_uri: str,
    container: ContainerSpec,
    labels: Mapping[str, str],
    description: str = "",
) -> str:
    """Begin to put the artifact at `artifact_uri` into the registry; return the operation's name, which Google runs.

    It becomes the first version of `model_id`, or a further one.
    https://cloud.google.com/vertex-ai/docs/model-registry/versioning
    """
    model = {
        "display_name": display_name,
        "artifact_uri": artifact_uri,
        "container_spec": container.message(),
        "labels": dict(labels),
        "version_description": description,
    }
    name = f"{cloud.parent}/models/{model_id}"
    request: dict[str, Any] = {"parent": cloud.parent, "model": model}
    request |= {"parent_model": name} if model_exists(cloud, name) else {"model_id": model_id}
    with sdk_errors(f"put `{display_name}` into the model registry"):
        operation = cloud.models.upload_model(request=request)
    return str(operation.operation.name)


def upload_runs(cloud: Cloud, operation: str) -> bool:
    """Say whether an upload that was started is still running."""
    try:
        return not _upload(cloud, operation).operation.done
    except NotFoundError:
        return False


def finish_upload(
    cloud: Cloud, operation: str, display_name: str, on_wait: Callable[[float], None] = lambda elapsed: None
) -> ModelVersion:
    """Wait until an upload that was started, here or anywhere, has ended; return the version.

    Raises ConflictError when somebody else's first version of the model was faster, CloudError with Google's reason
    when it failed for another.
    """
    waiting_for = f"`{display_name}` to be in the model registry"
    response = wait(_upload(cloud, operation), waiting_for, OPERATION_LIMIT, on_wait)
    return get_model(cloud, f"{response.model}@{response.model_version_id}")


def _upload(cloud: Cloud, operation: str) -> Any:
    types = messages("model_service")

    with sdk_errors(f"look at the upload {operation}"):
        return begun(cloud.models, operation, types.UploadModelResponse, types.UploadModelOperationMetadata)


def model_exists(cloud: Cloud, name: str) -> bool:
    """Say whether the registry has the model `name`."""
    from google.api_core.exceptions import NotFound

    with sdk_errors(f"find the model {name}"):
        try:
            cloud.models.get_model(name=name)
        except NotFound:
            return False
    return True


def get_model(cloud: Cloud, name: str) -> ModelVersion:
    """Return the model version `name` (projects/P/locations/L/models/M@V; without @V the default version)."""
    with sdk_errors(f"find the model {name}"):
        return _version(cloud.models.get_model(name=name))


def _version(message: Any) -> ModelVersion:
    name = message.name.partition("@")[0]
    return ModelVersion(
        name,
        message.version_id,
        message.artifact_uri,
        dict(message.labels),
        _container(message.container_spec),
        message.version_create_time,
        tuple(message.version_aliases),
    )


def _container(spec: Any) -> ContainerSpec:
    return ContainerSpec(
        image=spec.image_uri,
        command=tuple(spec.command),
        args=tuple(spec.args),
        port=spec.ports[0].container_port if spec.ports else None,
        predict_route=spec.predict_route,
        health_route=spec.health_route,
        env={variable.name: variable.value for variable in spec.env},
    )


def find_versions(cloud: Cloud, model_id: str, label: str = "", value: str = "") -> list[ModelVersion]:
    """Return the versions of `model_id` that carry the label, or all of them, the newest first."""
    from google.api_core.exceptions import NotFound

    request = {"name": f"{cloud.parent}/models/{model_id}"}
    if label:
        request["filter"] = f'labels.{label}="{value}"'
    with sdk_errors(f"look through the versions of `{model_id}`"):
        try:
            found = [_version(model) for model in cloud.models.list_model_versions(request=request)]
        except NotFound:
            return []
    return sorted(found, key=lambda version: -int(version.version))


def make_default(cloud: Cloud, name: str) -> None:
    """Let the version `name` (projects/P/locations/L/models/M@V) be what the model's name alone means.

    https://cloud.google.com/vertex-ai/docs/model-registry/model-alias
    """
    with sdk_errors(f"make {name} the default version"):
        if DEFAULT not in cloud.models.get_model(name=name).version_aliases:
            cloud.models.merge_version_aliases(name=name, version_aliases=[DEFAULT])


def delete_model(cloud: Cloud, name: str) -> None:
    """Delete the model `name` with all its versions; it is not an error when there is none."""
    take_away(f"the model {name} to be deleted", lambda: cloud.models.delete_model(name=name))
