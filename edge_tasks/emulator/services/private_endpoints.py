"""Endpoints that are reached by a private network: https://cloud.google.com/vertex-ai/docs/predictions/using-private-endpoints.

There is no network but this machine. A peered endpoint's model is asked at the `predictHttpUri` that its deployed model
tells, as at Google, and nowhere else; here that is a path of this server's. One that is reached by Private Service
Connect answers at the API's own address, which stands for the address in the user's network. It has no
`serviceAttachment`: there is nothing that could be attached to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition
from edge_tasks.emulator.http.exchange import Reply
from edge_tasks.emulator.services.names import LOCATION, PROJECT

if TYPE_CHECKING:
    from edge_tasks.emulator.http.exchange import Request
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.deployments import Deployments

PREFIX = "/_private/"
PATH = re.compile(
    rf"{PREFIX}(projects/{PROJECT}/locations/{LOCATION}/endpoints/[a-z0-9-]{{1,63}})/v1/models/([0-9]{{1,19}})(:predict)?"
)


class PrivateEndpoints:
    """What deployed models of peered endpoints answer."""

    def __init__(self, context: Context, deployments: Deployments) -> None:
        self._context = context
        self._deployments = deployments

    async def answer(self, request: Request) -> Reply:
        """Answer what is sent to a deployed model: a prediction, or whether it is healthy, in its own words."""
        match = PATH.fullmatch(request.path)
        method = "POST" if match is not None and match[3] else "GET"
        if match is None or request.method != method:
            raise ApiError(Code.NOT_FOUND, f"There is no {request.method} {request.path[:200]} of a private endpoint.")
        endpoint = self._context.database.get("Endpoint", match[1])
        found = [deployed for deployed in endpoint.deployed_models if deployed.id == match[2]]
        if not found or not endpoint.network:
            raise ApiError(Code.NOT_FOUND, f"Endpoint `{match[1]}` has no private DeployedModel {match[2]}.")
        server = self._deployments.server(endpoint.name, found[0])
        if method == "GET":
            await server.start()
            return Reply(b"", 200, "text/plain")
        content_type = request.headers.get("content-type", "application/json")
        answer = await server.predict(request.body, content_type)
        return Reply(answer.body, answer.status, answer.content_type)


def check_reach(endpoint: Message) -> None:
    """Refuse an endpoint that would be reached in two ways."""
    # https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type
    connects = (
        endpoint.enable_private_service_connect
        or endpoint.private_service_connect_config.enable_private_service_connect
    )
    if endpoint.network and connects:
        raise invalid("Only one of network and enable_private_service_connect can be set.")
    if endpoint.network and endpoint.dedicated_endpoint_enabled:
        raise invalid("Only one of network and dedicated_endpoint_enabled can be set.")


def check_room(endpoint: Message) -> None:
    """Refuse a second model of a peered endpoint, which has no traffic split."""
    if endpoint.network and endpoint.deployed_models:
        raise precondition(f"Endpoint `{endpoint.name}` is private: a maximum of one model can be deployed to it.")


def fill_in(endpoint: Message, address: str) -> None:
    """Tell where the models of a peered endpoint answer."""
    for deployed in endpoint.deployed_models:
        deployed.ClearField("private_endpoints")
        if endpoint.network:
            model = f"{address}{PREFIX}{endpoint.name}/v1/models/{deployed.id}"
            deployed.private_endpoints.predict_http_uri = f"{model}:predict"
            deployed.private_endpoints.health_http_uri = model
