"""EndpointService: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import ApiError, Code, invalid, not_found, precondition, unimplemented
from edge_tasks.emulator.http.exchange import IS_BETA
from edge_tasks.emulator.services import iam_policies, request_logs, scale_to_zero
from edge_tasks.emulator.services.names import (
    ENDPOINT_ID,
    check_display_name,
    check_etag,
    check_labels,
    check_parent,
    new_id,
    parse_model,
)
from edge_tasks.emulator.services.private_endpoints import check_reach, check_room, fill_in
from edge_tasks.emulator.services.replicas import check_resources
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.deployments import Deployments
    from edge_tasks.emulator.services.models import Models
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.store.filters import Function

SERVICE = "google.cloud.aiplatform.v1.EndpointService"
KIND = "Endpoint"
MUTABLE = frozenset(
    {"display_name", "description", "labels", "traffic_split", "predict_request_response_logging_config"}
)
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/mutateDeployedModel
MUTABLE_DEPLOYED = frozenset(
    {"disable_container_logging", "enable_container_logging"}
    | {
        f"dedicated_resources.{field}"
        for field in ("min_replica_count", "max_replica_count", "required_replica_count", "autoscaling_metric_specs")
    }
)
# All that the answer to a creation holds of an endpoint; the rest is there to be got.
OF_CREATION = ("name", "display_name", "description", "labels")
# No endpoint here serves a model of Google's.
BASE_MODEL: Mapping[str, Function] = dict.fromkeys(("base_model_name", "baseModelName"), lambda _: lambda _: False)
DEPLOYED_MODEL_ID = re.compile(r"[0-9]{1,10}")
NEW_MODEL = "0"
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/MachineSpec
DEFAULT_MACHINE = "n1-standard-2"


class Endpoints:
    """Endpoints, the models deployed on them, and how traffic is split."""

    service = SERVICE

    def __init__(self, context: Context, operations: Operations, models: Models, deployments: Deployments) -> None:
        self._context = context
        self._operations = operations
        self._models = models
        self._deployments = deployments
        self._ending: set[asyncio.Task[None]] = set()
        deployments.zero.when_forgotten(self._take_off)

    async def create_endpoint(self, request: Message) -> Message:
        """Store an endpoint."""
        check_parent(request.parent)
        endpoint = request.endpoint
        check_display_name(endpoint)
        check_labels(endpoint)
        check_reach(endpoint)
        if request.endpoint_id and not ENDPOINT_ID.fullmatch(request.endpoint_id):
            raise invalid(
                f"Invalid endpoint_id {request.endpoint_id!r}: it must be 1 to 10 digits, the first not 0, or"
                " begin with a letter and hold up to 63 lowercase letters, digits and dashes, no dash at the end."
            )
        endpoint.name = f"{request.parent}/endpoints/{request.endpoint_id or new_id()}"
        endpoint.ClearField("deployed_models")
        endpoint.ClearField("traffic_split")
        endpoint.create_time.GetCurrentTime()
        self._touch(endpoint)
        self._shown(endpoint)
        request_logs.check(endpoint)
        # A name that is taken is refused at once, not by the operation.
        self._context.database.insert(KIND, endpoint.name, request.parent, endpoint)
        answer = self._context.surface.new(KIND, **{field: getattr(endpoint, field) for field in OF_CREATION})
        return await self._operations.start("EndpointService.CreateEndpoint", endpoint.name, _value(answer))

    async def get_endpoint(self, request: Message) -> Message:
        """Return an endpoint."""
        return self._shown(self._context.database.get(KIND, request.name))

    async def list_endpoints(self, request: Message) -> Message:
        """Return the endpoints of a location."""
        check_parent(request.parent)
        rows = self._context.database.children(KIND, request.parent)
        descriptor = self._context.surface.new(KIND).DESCRIPTOR
        ids = {"endpoint": f"{request.parent}/endpoints/"}
        endpoints, token = page(rows, request, descriptor, ids, BASE_MODEL)
        endpoints = [self._shown(endpoint) for endpoint in endpoints]
        return self._context.surface.new("ListEndpointsResponse", endpoints=endpoints, next_page_token=token)

    async def update_endpoint(self, request: Message) -> Message:
        """Change the masked fields of an endpoint."""
        endpoint = self._context.database.get(KIND, request.endpoint.name)
        check_etag(endpoint, request.endpoint)
        apply_mask(endpoint, request.endpoint, request.update_mask.paths, MUTABLE)
        check_display_name(endpoint)
        check_labels(endpoint)
        request_logs.check(endpoint)
        check_split(endpoint.traffic_split, [deployed.id for deployed in endpoint.deployed_models])
        self._save(endpoint)
        return self._shown(endpoint)

    async def update_endpoint_long_running(self, request: Message) -> Message:
        """Change the client_connection_config of an endpoint: nothing else can be changed in this way."""
        endpoint = self._context.database.get(KIND, request.endpoint.name)
        endpoint.client_connection_config.CopyFrom(request.endpoint.client_connection_config)
        self._save(endpoint)
        return await self._operations.start(
            "EndpointService.UpdateEndpointLongRunning", endpoint.name, _value(endpoint)
        )

    async def delete_endpoint(self, request: Message) -> Message:
        """Delete an endpoint that has no deployed models."""
        endpoint = self._context.database.get(KIND, request.name)
        if endpoint.deployed_models:
            raise precondition("Endpoint has deployed or being-deployed DeployedModel(s).")
        with self._context.database.transaction():
            self._context.database.delete(endpoint.name)
            iam_policies.forget(self._context.database, endpoint.name)
        self._deployments.forget_logs(endpoint.name)
        empty = self._context.surface.new("google.protobuf.Empty")
        return await self._operations.start("EndpointService.DeleteEndpoint", endpoint.name, _value(empty))

    async def deploy_model(self, request: Message) -> Message:
        """Start a server for a model and add it to an endpoint."""
        deployed = request.deployed_model
        name = parse_model(deployed.model, "deployed_model.model")
        version = self._models.version(deployed.model)
        await self._deployments.check(version)
        # From here on nothing is awaited, so that no two deployments get one id.
        endpoint = self._context.database.get(KIND, request.endpoint)
        _check_route(endpoint, version.message)
        kind = deployed.WhichOneof("prediction_resources")
        if kind != "dedicated_resources":
            raise invalid(
                f"Model `{name.name}` supports deployment with DEDICATED_RESOURCES only: set"
                " deployed_model.dedicated_resources."
            )
        resources = deployed.dedicated_resources
        resources.machine_spec.machine_type = resources.machine_spec.machine_type or DEFAULT_MACHINE
        fewest = resources.min_replica_count or resources.initial_replica_count or 1
        resources.max_replica_count = resources.max_replica_count or fewest
        check_resources(resources)
        scale_to_zero.check(endpoint, resources, is_beta=IS_BETA.get())
        check_room(endpoint)
        scale_to_zero.check_room(endpoint, deployed)
        in_use = {other.id for other in endpoint.deployed_models}
        if deployed.id and (not DEPLOYED_MODEL_ID.fullmatch(deployed.id) or deployed.id == NEW_MODEL):
            raise invalid(f"Invalid deployed_model.id {deployed.id!r}: 1 to 10 digits.")
        if deployed.id in in_use or self._deployments.knows(endpoint.name, deployed.id):
            raise ApiError(Code.ALREADY_EXISTS, f"DeployedModel {deployed.id} already exists on `{endpoint.name}`.")
        check_split(request.traffic_split, [*in_use, NEW_MODEL])
        deployed.id = deployed.id or new_id()
        deployed.model = name.name
        deployed.model_version_id = version.message.version_id
        deployed.display_name = deployed.display_name or version.message.display_name
        deployed.create_time.GetCurrentTime()
        return await self._operations.start("EndpointService.DeployModel", endpoint.name, self._deploy(request))

    async def undeploy_model(self, request: Message) -> Message:
        """Remove a model from an endpoint and end its server."""
        if not request.deployed_model_id:
            raise invalid("deployed_model_id is required.")
        endpoint = self._context.database.get(KIND, request.endpoint)
        # What is refused is refused at once, not by the operation.
        _without(endpoint, request.deployed_model_id, request.traffic_split)
        return await self._operations.start("EndpointService.UndeployModel", endpoint.name, self._undeploy(request))

    async def mutate_deployed_model(self, request: Message) -> Message:
        """Change the replicas or the logging of a deployed model."""
        endpoint = self._context.database.get(KIND, request.endpoint)
        deployed = _find(endpoint, request.deployed_model.id)
        if not request.update_mask.paths:
            raise invalid("update_mask is required: name the fields to update.")
        for path in request.update_mask.paths:
            if path not in MUTABLE_DEPLOYED:
                shown = ", ".join(sorted(MUTABLE_DEPLOYED))
                raise invalid(f"Invalid update_mask: {path!r} cannot be changed; these can: {shown}.")
        was_scaled = scale_to_zero.is_scaled(deployed)
        request.update_mask.MergeMessage(request.deployed_model, deployed, True, True)
        check_resources(deployed.dedicated_resources)
        if scale_to_zero.is_scaled(deployed) != was_scaled:
            # Nothing public tells what becomes of the model then.
            raise unimplemented(
                f"{SERVICE}.MutateDeployedModel to or from a min_replica_count of 0 is not implemented by this"
                " emulator."
            )
        self._save(endpoint)
        response = self._context.surface.new("MutateDeployedModelResponse", deployed_model=deployed)
        return await self._operations.start("EndpointService.MutateDeployedModel", endpoint.name, _value(response))

    async def _deploy(self, request: Message) -> Message:
        deployed = request.deployed_model
        await self._deployments.start(request.endpoint, deployed)
        try:
            # The endpoint may have changed, or be gone, while the model was loaded. From here on nothing is
            # awaited, so it cannot change between reading and saving.
            endpoint = self._context.database.get(KIND, request.endpoint)
            check_room(endpoint)
            scale_to_zero.check_room(endpoint, deployed)
            check_split(request.traffic_split, [*(d.id for d in endpoint.deployed_models), NEW_MODEL])
            self._models.version(f"{deployed.model}@{deployed.model_version_id}")
            endpoint.deployed_models.append(deployed)
            if request.traffic_split:
                _set_split(endpoint, request.traffic_split, deployed.id)
            self._save(endpoint)
        except BaseException:
            await self._deployments.stop(request.endpoint, deployed.id)
            raise
        self._deployments.zero.follow(endpoint.name, deployed)
        return self._context.surface.new("DeployModelResponse", deployed_model=deployed)

    async def _undeploy(self, request: Message) -> Message:
        endpoint = self._context.database.get(KIND, request.endpoint)
        self._save(_without(endpoint, request.deployed_model_id, request.traffic_split))
        await self._deployments.stop(request.endpoint, request.deployed_model_id)
        return self._context.surface.new("UndeployModelResponse")

    def _take_off(self, endpoint: str, deployed_model_id: str) -> None:
        """Undeploy what has been at zero for too long: the only model of its endpoint."""
        self._save(_without(self._context.database.get(KIND, endpoint), deployed_model_id, {}))
        task = asyncio.ensure_future(self._deployments.stop(endpoint, deployed_model_id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _shown(self, endpoint: Message) -> Message:
        """Fill in where a dedicated or a private endpoint answers: here, where another start may have another port.

        The SDK goes there by HTTPS, which `sdk_patch` makes HTTP; without it the connection fails on this machine.
        """
        endpoint.ClearField("dedicated_endpoint_dns")
        if endpoint.dedicated_endpoint_enabled:
            endpoint.dedicated_endpoint_dns = self._context.servers.vertex_url.removeprefix("http://")
        fill_in(endpoint, self._context.servers.vertex_url)
        return endpoint

    def _save(self, endpoint: Message) -> None:
        self._touch(endpoint)
        self._context.database.update(endpoint.name, endpoint)

    def _touch(self, endpoint: Message) -> None:
        endpoint.update_time.GetCurrentTime()
        endpoint.etag = secrets.token_hex(8)


def _check_route(endpoint: Message, model: Message) -> None:
    # https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelContainerSpec
    if model.container_spec.invoke_route_prefix and not endpoint.dedicated_endpoint_enabled:
        raise precondition(
            f"Model `{model.name}` has an invoke_route_prefix, so it can only be deployed to a dedicated endpoint,"
            f" which `{endpoint.name}` is not."
        )


def check_split(split: Mapping[str, int], ids: Iterable[str]) -> None:
    """Refuse a traffic split that names unknown models or does not add up; an empty one is not a split."""
    known = set(ids)
    unknown = ", ".join(deployed_model_id for deployed_model_id in split if deployed_model_id not in known)
    if unknown:
        # In Google's words: https://github.com/GoogleCloudPlatform/java-docs-samples/issues/8475.
        raise invalid(f"The following DeployedModel ID(s) [{unknown}] do not exist.")
    for percentage in split.values():
        if not 0 <= percentage <= 100:
            raise invalid(f"Invalid traffic_split: {percentage} is not a percentage.")
    if split and sum(split.values()) != 100:
        raise invalid(f"Invalid traffic_split: the percentages add up to {sum(split.values())}, not to 100.")


def _set_split(endpoint: Message, split: Mapping[str, int], new_model: str) -> None:
    endpoint.traffic_split.clear()
    for deployed_model_id, percentage in split.items():
        endpoint.traffic_split[new_model if deployed_model_id == NEW_MODEL else deployed_model_id] = percentage


def _without(endpoint: Message, deployed_model_id: str, split: Mapping[str, int]) -> Message:
    """Return the endpoint less one deployed model; one that has traffic is only given up with a new split."""
    deployed = _find(endpoint, deployed_model_id)
    result = type(endpoint)()
    result.CopyFrom(endpoint)
    result.deployed_models.remove(deployed)
    left = [other.id for other in result.deployed_models]
    positive = {key: value for key, value in split.items() if not (key == deployed_model_id and value == 0)}
    check_split(positive, left)
    if not left:
        result.traffic_split.clear()
        return result
    if split:
        _set_split(result, positive, "")
    elif result.traffic_split.get(deployed_model_id, 0):
        raise precondition(
            f"DeployedModel {deployed_model_id} has {result.traffic_split[deployed_model_id]}% of the traffic of"
            f" `{endpoint.name}`: give a traffic_split that leaves it none."
        )
    result.traffic_split.pop(deployed_model_id, None)
    return result


def _find(endpoint: Message, deployed_model_id: str) -> Message:
    for deployed in endpoint.deployed_models:
        if deployed.id == deployed_model_id:
            return deployed
    raise not_found("DeployedModel", f"{endpoint.name}/deployedModels/{deployed_model_id}")


async def _value(message: Message) -> Message:
    """Work that is done already."""
    return message
