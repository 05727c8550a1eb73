"""Every call to Vertex AI's endpoints, and to what is deployed on them: values in, values out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from edge_tasks.cloud import rest, scale_to_zero
from edge_tasks.cloud.beta import Operation as BetaOperation
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.operations import OPERATION_LIMIT, begun, take_away, wait
from edge_tasks.cloud.vertex_sdk import messages
from edge_tasks.domain.config import ModelConfig
from edge_tasks.domain.machines import machine_spec
from edge_tasks.domain.state import Operation
from edge_tasks.errors import CloudError, NotFoundError

# Seconds. Google takes many minutes to deploy; a local deploy takes one second.
DEPLOY_LIMIT = 3600.0
CANCEL_LIMIT = 30.0
# For how long one waits for a model that is at zero: Google starts a machine for it.
SCALE_UP_LIMIT = 900.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


@dataclass(frozen=True)
class Resources:
    """On what a deployed model runs, and as whom.

    `scale_to_zero` says when it goes to no replica, in words; empty when it never does. `min_replica_count` is then how
    many start when it is asked again.
    """

    machine_type: str
    accelerator_type: str = ""
    accelerator_count: int = 0
    service_account: str = ""
    min_replica_count: int = 1
    max_replica_count: int = 1
    scale_to_zero: str = ""

    @classmethod
    def wanted(cls, settings: ModelConfig) -> Resources:
        """Return what edge.yaml says."""
        accelerator = settings.serving_accelerator_type or ""
        return cls(
            machine_type=settings.serving_machine_type,
            accelerator_type=accelerator,
            accelerator_count=settings.serving_accelerator_count if accelerator else 0,
            service_account=settings.serving_service_account or "",
            min_replica_count=settings.min_replica_count,
            max_replica_count=settings.max_replica_count,
            scale_to_zero=scale_to_zero.words(settings.scale_to_zero),
        )

    @property
    def changed_in_place(self) -> frozenset[str]:
        """Which of them can be changed while the model is deployed.

        https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.endpoints/mutateDeployedModel
        """
        return frozenset({"max_replica_count"} if self.scale_to_zero else {"min_replica_count", "max_replica_count"})

    def differences(self, wanted: Resources) -> dict[str, str]:
        """Return what `wanted` has differently: a field, and both values in words."""
        return {
            field.name: f"{getattr(self, field.name) or 'none'} -> {getattr(wanted, field.name) or 'none'}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(wanted, field.name)
        }


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as it is now.

    `deployed` is the versioned name of each model on it, by deployed model id; `traffic` the percentage of each id, and
    `resources` on what each runs, and `created` since when it is there. A dedicated one has its own address.
    """

    name: str
    display_name: str
    deployed: Mapping[str, str]
    traffic: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Resources] = field(default_factory=dict)
    created: Mapping[str, datetime] = field(default_factory=dict)
    dedicated: bool = False


def create_endpoint(cloud: Cloud, display_name: str, labels: Mapping[str, str], *, dedicated: bool = False) -> Endpoint:
    """Create an endpoint with no model on it; whether it is dedicated cannot be changed later."""
    endpoint: dict[str, Any] = {"display_name": display_name, "labels": dict(labels)}
    if dedicated:
        endpoint["dedicated_endpoint_enabled"] = True
    with sdk_errors(f"create the endpoint `{display_name}`"):
        operation = cloud.endpoints.create_endpoint(parent=cloud.parent, endpoint=endpoint)
    made = _endpoint(wait(operation, f"the endpoint `{display_name}` to be created", OPERATION_LIMIT))
    return replace(made, dedicated=dedicated)  # the answer does not tell


def find_endpoint(cloud: Cloud, labels: Mapping[str, str]) -> Endpoint | None:
    """Return an endpoint that carries all of `labels`, or None."""
    wanted = " AND ".join(f'labels.{key}="{value}"' for key, value in labels.items())
    with sdk_errors("look through the endpoints"):
        request = {"parent": cloud.parent, "filter": wanted}
        for endpoint in cloud.endpoints.list_endpoints(request=request):
            return _with_zero(cloud, _endpoint(endpoint))
    return None


def get_endpoint(cloud: Cloud, name: str) -> Endpoint | None:
    """Return the endpoint `name` as it is now, or None when there is none."""
    from google.api_core.exceptions import NotFound

    with sdk_errors(f"look at the endpoint {name}"):
        try:
            found = _endpoint(cloud.endpoints.get_endpoint(name=name))
        except NotFound:
            return None
    return _with_zero(cloud, found)


def start_deployment(
    cloud: Cloud, endpoint: str, *, model: str, display_name: str, settings: ModelConfig, traffic: Mapping[str, int]
) -> Operation:
    """Begin to deploy the model version `model` on `endpoint`; return the operation, which runs on Google.

    `traffic` is the percentage of each deployed model id afterwards; the new one is `"0"`. It moves when the new model
    serves; what served before stays deployed until it is undeployed.
    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/deployModel
    """
    if settings.scale_to_zero is not None:
        name = scale_to_zero.start_deployment(
            cloud, endpoint, model=model, display_name=display_name, settings=settings, traffic=traffic
        )
        return Operation(name=name, endpoint=endpoint, model=model, beta=True)
    machine = machine_spec(
        settings.serving_machine_type, settings.serving_accelerator_type, settings.serving_accelerator_count
    )
    deployed_model: dict[str, Any] = {
        "model": model,
        "display_name": display_name,
        "dedicated_resources": {
            "machine_spec": machine,
            "min_replica_count": settings.min_replica_count,
            "max_replica_count": settings.max_replica_count,
        },
    }
    if settings.serving_service_account:
        deployed_model["service_account"] = settings.serving_service_account
    with sdk_errors(f"deploy `{display_name}`"):
        operation = cloud.endpoints.deploy_model(
            endpoint=endpoint, deployed_model=deployed_model, traffic_split=dict(traffic)
        )
    return Operation(name=operation.operation.name, endpoint=endpoint, model=model)


def finish_deployment(
    cloud: Cloud, operation: Operation, display_name: str, on_wait: Callable[[float], None] = lambda elapsed: None
) -> str:
    """Wait until a deployment that was started, here or anywhere, has ended; return the deployed model id.

    Raises CloudError with Google's reason when it failed, NotFoundError when Google has forgotten it.
    """
    response = wait(_deployment(cloud, operation), f"`{display_name}` to serve", DEPLOY_LIMIT, on_wait)
    return str(response["deployedModel"]["id"] if operation.beta else response.deployed_model.id)


def deployment_runs(cloud: Cloud, operation: Operation) -> bool:
    """Say whether a deployment that was started is still running."""
    try:
        if operation.beta:
            return not BetaOperation(cloud, operation.name).done()
        return not _deployment(cloud, operation).operation.done
    except NotFoundError:
        return False


def cancel_deployment(cloud: Cloud, operation: Operation, before: Endpoint) -> bool:
    """Cancel a deployment; undeploy what came up all the same, and leave the endpoint as it was `before`.

    Google cancels as well as it can; False when the operation is still running after a while.
    """
    with sdk_errors("cancel the deployment"):
        # The client's own operation.cancel() over REST fails with a KeyError (google-api-core 2.44).
        version = "v1beta1" if operation.beta else "v1"
        cloud.session.post(f"{cloud.vertex_url}/{version}/{operation.name}:cancel", json={})
    deadline = time.monotonic() + CANCEL_LIMIT
    while deployment_runs(cloud, operation):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    now = get_endpoint(cloud, before.name)
    for deployed_model_id, deployed in (now.deployed if now else {}).items():
        if deployed_model_id not in before.deployed and same_resource(deployed, operation.model):
            undeploy_model(cloud, before.name, deployed_model_id, traffic=before.traffic)
    return True


def same_resource(one: str, other: str) -> bool:
    """Say whether two resource names mean the same: Google answers the project as a number, whatever was asked."""
    return one.partition("/locations/")[2] == other.partition("/locations/")[2]


def _deployment(cloud: Cloud, operation: Operation) -> Any:
    if operation.beta:
        return BetaOperation(cloud, operation.name)
    types = messages("endpoint_service")

    with sdk_errors(f"look at the deployment {operation.name}"):
        return begun(cloud.endpoints, operation.name, types.DeployModelResponse, types.DeployModelOperationMetadata)


def undeploy_model(
    cloud: Cloud, endpoint: str, deployed_model_id: str, traffic: Mapping[str, int] | None = None
) -> None:
    """Take one deployed model off `endpoint`. It is not an error when it is gone already.

    `traffic` is the split afterwards; without it the model must have had no traffic, or be the last one.
    """
    request: dict[str, Any] = {"endpoint": endpoint, "deployed_model_id": deployed_model_id}
    if traffic:
        request["traffic_split"] = dict(traffic)
    take_away(
        f"{deployed_model_id} to be undeployed from {endpoint}",
        lambda: cloud.endpoints.undeploy_model(request=request),
    )


def set_replicas(cloud: Cloud, endpoint: str, deployed_model_id: str, settings: ModelConfig) -> None:
    """Give a deployed model the number of replicas that edge.yaml says, while it serves."""
    resources = {"min_replica_count": settings.min_replica_count, "max_replica_count": settings.max_replica_count}
    if settings.scale_to_zero is not None:
        del resources["min_replica_count"]  # it is 0, and stays so
    request = {
        "endpoint": endpoint,
        "deployed_model": {"id": deployed_model_id, "dedicated_resources": resources},
        "update_mask": {"paths": [f"dedicated_resources.{name}" for name in resources]},
    }
    with sdk_errors(f"change the replicas of {deployed_model_id} on {endpoint}"):
        operation = cloud.endpoints.mutate_deployed_model(request=request)
    wait(operation, f"the replicas of {deployed_model_id} to be changed", OPERATION_LIMIT)


def set_traffic(cloud: Cloud, endpoint: str, traffic: Mapping[str, int]) -> None:
    """Give each deployed model id its percentage of the traffic; those that are not named get none."""
    with sdk_errors(f"change the traffic of {endpoint}"):
        cloud.endpoints.update_endpoint(
            endpoint={"name": endpoint, "traffic_split": dict(traffic)}, update_mask={"paths": ["traffic_split"]}
        )


def delete_endpoint(cloud: Cloud, name: str) -> None:
    """Delete the endpoint `name`, which must have no model on it; it is not an error when it is gone already."""
    take_away(f"the endpoint {name} to be deleted", lambda: cloud.endpoints.delete_endpoint(name=name))


def predict_url(cloud: Cloud, endpoint: str) -> str:
    """Return the full address to which predict requests for `endpoint` are posted: a dedicated one has its own.

    https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type
    """
    with sdk_errors(f"look at the endpoint {endpoint}"):
        response = cloud.session.get(f"{cloud.vertex_url}/v1/{endpoint}")
    found, _ = rest.read(response)
    own = (found or {}).get("dedicatedEndpointDns", "") if response.ok else ""
    own = own.removeprefix("https://").rstrip("/")
    # The emulator's is the address of its API, without TLS.
    is_here = not own or cloud.vertex_url.endswith(f"://{own}")
    return f"{cloud.vertex_url if is_here else f'https://{own}'}/v1/{endpoint}:predict"


def predict(
    cloud: Cloud,
    endpoint: str,
    body: bytes,
    limit: float = 60.0,
    patience: float = SCALE_UP_LIMIT,
    on_wait: Callable[[float], None] = lambda elapsed: None,
) -> Any:
    """Post `body` (JSON bytes: {"instances": [...]}) to `endpoint`; return the answer as Python values.

    A model that has gone to no replica is waited for, at most `patience` seconds: what is asked of it starts it.
    `on_wait` is called with the seconds that passed.

    Plain HTTP rather than the SDK's client, which turns every integer of the request and the answer into a float.
    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
    """
    url = predict_url(cloud, endpoint)
    started, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        with sdk_errors(f"ask {endpoint} for predictions"):
            response = cloud.session.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=limit)
        elapsed = time.monotonic() - started
        if not scale_to_zero.is_starting(response) or elapsed > patience:
            break
        on_wait(elapsed)
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    if response.status_code == 404:
        raise NotFoundError(f"the endpoint {endpoint} does not exist", "invoke model.deploy")
    if not response.ok:
        raise CloudError(f"the endpoint answered {response.status_code}: {_error_message(response)}", _hint(response))
    return response.json()


def _hint(response: Any) -> str:
    """Return what helps where an endpoint has not predicted."""
    if scale_to_zero.is_starting(response):
        return "it is being started: ask again in some minutes"
    if response.status_code == HTTPStatus.BAD_REQUEST:
        return "write into the payload what the model takes: invoke model.describe shows its signature"
    return "invoke model.list shows what serves, invoke model.logs what it has printed"


def _error_message(response: Any) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.text[:500]) or str(response.reason)


def _endpoint(message: Any) -> Endpoint:
    return Endpoint(
        name=message.name,
        display_name=message.display_name,
        # The version stands in its own field; the name may or may not carry it, or an alias.
        deployed={
            deployed.id: f"{deployed.model.partition('@')[0]}@{deployed.model_version_id}"
            for deployed in message.deployed_models
        },
        traffic=dict(message.traffic_split),
        labels=dict(message.labels),
        resources={deployed.id: _resources(deployed) for deployed in message.deployed_models},
        created={deployed.id: deployed.create_time for deployed in message.deployed_models if deployed.create_time},
        dedicated=message.dedicated_endpoint_enabled,
    )


def _with_zero(cloud: Cloud, endpoint: Endpoint) -> Endpoint:
    """Fill in what v1 does not tell of a model that may go to no replica."""
    if all(one.min_replica_count for one in endpoint.resources.values() if one.machine_type):
        return endpoint
    told = scale_to_zero.read(cloud, endpoint.name)
    resources = {
        key: replace(one, min_replica_count=told[key].replicas, scale_to_zero=told[key].words) if key in told else one
        for key, one in endpoint.resources.items()
    }
    return replace(endpoint, resources=resources)


def _resources(deployed: Any) -> Resources:
    dedicated = deployed.dedicated_resources
    machine = dedicated.machine_spec
    has_accelerator = bool(machine.accelerator_type)
    return Resources(
        machine_type=machine.machine_type,
        accelerator_type=machine.accelerator_type.name if has_accelerator else "",
        accelerator_count=machine.accelerator_count if has_accelerator else 0,
        service_account=deployed.service_account,
        min_replica_count=dedicated.min_replica_count,
        max_replica_count=dedicated.max_replica_count,
    )
