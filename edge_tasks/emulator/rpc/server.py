"""A gRPC server on its own port, in plain text: generic handlers over the frozen messages.

https://grpc.github.io/grpc/python/grpc_asyncio.html. Importing grpc takes longer than the rest of a start, so the
server comes up right after the first answer by REST has been possible.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import orjson

from edge_tasks.emulator.errors import ApiError, Code, invalid, no_space, unimplemented
from edge_tasks.emulator.http.application import LARGEST_BODY, is_full_disk
from edge_tasks.emulator.http.exchange import IS_BETA, Reply, Request, StreamedReply
from edge_tasks.emulator.rpc.names import Names
from edge_tasks.emulator.rpc.values import from_rows, from_value, into_value
from edge_tasks.emulator.schema import beta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from edge_tasks.emulator.http.application import Handler, RawHandler
    from edge_tasks.emulator.http.faults import Faults
    from edge_tasks.emulator.schema.surface import Message, Rpc, Surface

HOST = "127.0.0.1"
BETA, STABLE = "google.cloud.aiplatform.v1beta1.", "google.cloud.aiplatform.v1."
OPERATION = "google.longrunning.Operation"
HTTP_BODY = "google.api.HttpBody"
STREAMED = frozenset({f"{STABLE}PredictionService.StreamRawPredict"})
PREDICT = f"{STABLE}PredictionService.Predict"
# What a browser sends with the requests of a page, and no client of the API.
OF_PAGES = frozenset({"origin", "sec-fetch-site"})
GRACE = 2.0
LOG = logging.getLogger(__name__)


def reserve(last: int) -> socket.socket:
    """Return a socket that keeps a port until the server takes it: the last one, if it is free, else any."""
    for port in filter(None, (last,)):
        keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            keeper.bind((HOST, port))
        except (OSError, OverflowError):
            keeper.close()
        else:
            return keeper
    keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    keeper.bind((HOST, 0))
    return keeper


class GrpcServer:
    """Answers by gRPC what the application answers by REST."""

    def __init__(
        self, surface: Surface, handlers: Mapping[str, Handler], direct: Mapping[str, RawHandler], faults: Faults
    ) -> None:
        self._surface = surface
        self._handlers = handlers
        self._direct = direct
        self._faults = faults
        self._names = Names()
        self._server: Any = None

    async def start(self, keeper: socket.socket) -> None:
        """Listen on the port that was kept."""
        # In a thread: requests by REST are answered meanwhile.
        grpc = await asyncio.to_thread(_import_grpc)
        options = [
            ("grpc.max_receive_message_length", LARGEST_BODY),
            ("grpc.max_send_message_length", -1),
            # Two emulators must never share a port.
            ("grpc.so_reuseport", 0),
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((_make_generic_handler(grpc, self),))
        port = keeper.getsockname()[1]
        keeper.close()
        server.add_insecure_port(f"{HOST}:{port}")
        await server.start()
        self._server = server

    async def close(self) -> None:
        """End what is being answered, after a moment."""
        if self._server is not None:
            await self._server.stop(GRACE)

    def find(self, method: str) -> tuple[Rpc, bool] | None:
        """Return the RPC of a path `/SERVICE/METHOD`, and whether it was asked for in v1beta1."""
        name = method.lstrip("/").replace("/", ".")
        is_beta = name.startswith(BETA)
        rpc = self._surface.rpcs.get(STABLE + name.removeprefix(BETA) if is_beta else name)
        return (rpc, is_beta) if rpc is not None and (is_beta or not rpc.beta) else None

    async def answer(self, rpc: Rpc, *, is_beta: bool, data: bytes, metadata: Any) -> tuple[bytes, dict[str, str]]:
        """Return the answer to one request, and the headers that go with it; ApiError when it is refused."""
        request = self._read(rpc, data, metadata, is_beta=is_beta)
        name = rpc.full_name
        await self._faults.meet(rpc.name, _resource(request))
        if name in self._direct:
            reply = await self._direct[name](_as_http(rpc, request, data))
            assert isinstance(reply, Reply)
            return self._from_http(rpc, reply).SerializeToString(), dict(reply.headers)
        if name not in self._handlers:
            raise unimplemented(f"{name} is not implemented by this emulator.")
        result = await self._handlers[name](request)
        if not is_beta:
            beta.forget(result)
        if is_beta and result.DESCRIPTOR.full_name == OPERATION:
            for part in (result.metadata, result.response):
                part.type_url = part.type_url.replace(STABLE, BETA)
        return result.SerializeToString(), {}

    async def stream(self, rpc: Rpc, *, is_beta: bool, data: bytes, metadata: Any) -> AsyncIterator[bytes]:
        """Yield the answers to one request."""
        request = self._read(rpc, data, metadata, is_beta=is_beta)
        await self._faults.meet(rpc.name, _resource(request))
        reply = await self._direct[rpc.full_name](_as_http(rpc, request, data))
        assert isinstance(reply, StreamedReply)
        async for chunk in reply.chunks:
            yield self._surface.new(HTTP_BODY, content_type=reply.content_type, data=chunk).SerializeToString()

    def _read(self, rpc: Rpc, data: bytes, metadata: Any, *, is_beta: bool) -> Message:
        if any(name in OF_PAGES for name, _ in metadata):
            raise ApiError(Code.PERMISSION_DENIED, "Requests of web pages are refused.")
        IS_BETA.set(is_beta)
        try:
            request = self._surface.message_class(rpc.request_type).FromString(data)
        except Exception:
            raise invalid("Error parsing the request: it is not a message of this method.") from None
        refuse_unknown(request, rpc.name)
        if not is_beta:
            beta.refuse(request)
        self._names.check(rpc, request)
        return request

    def _from_http(self, rpc: Rpc, reply: Reply) -> Message:
        if rpc.response_type == HTTP_BODY:
            return self._surface.new(HTTP_BODY, content_type=reply.content_type, data=reply.body)
        content = orjson.loads(reply.body)
        answer = self._surface.message_class(rpc.response_type)(
            deployed_model_id=content["deployedModelId"],
            model=content["model"],
            model_display_name=content["modelDisplayName"],
            model_version_id=content["modelVersionId"],
        )
        for prediction in content["predictions"]:
            into_value(prediction, answer.predictions.add())
        if "metadata" in content:
            into_value(content["metadata"], answer.metadata)
        return answer


def _resource(request: Message) -> str:
    """Return what a request is about."""
    return next((getattr(request, name) for name in ("endpoint", "name", "parent") if hasattr(request, name)), "")


def _import_grpc() -> Any:
    import grpc
    import grpc.aio

    return grpc


def _as_http(rpc: Rpc, request: Message, data: bytes) -> Request:
    """Return a prediction as it would have come by REST."""
    if rpc.full_name == PREDICT:
        content: dict[str, Any] = {"instances": from_rows(request.instances, data)}
        if request.HasField("parameters"):
            content["parameters"] = from_value(request.parameters)
        body, content_type = orjson.dumps(content), "application/json"
    else:
        body, content_type = request.http_body.data, request.http_body.content_type or "application/json"
        if not content_type.isprintable():
            raise invalid("Invalid value at 'http_body.content_type'.")
    headers = {"content-type": content_type}
    return Request("POST", "", "", headers, body, {"endpoint": request.endpoint})


def refuse_unknown(message: Message, where: str) -> None:
    """Refuse fields that these messages do not have, such as those that only v1beta1 has: they must not be dropped.

    Google's own types, of which a prediction has thousands, are the same in all versions.
    """
    from google.protobuf.unknown_fields import UnknownFieldSet

    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise invalid(f"Unknown field number {unknown[0].field_number} of {message.DESCRIPTOR.name} in {where}.")
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.full_name.startswith("google.protobuf."):
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for part in value.values():
                    refuse_unknown(part, where)
        elif field.is_repeated:
            for part in value:
                refuse_unknown(part, where)
        else:
            refuse_unknown(value, where)


def _make_generic_handler(grpc: Any, server: GrpcServer) -> Any:
    """Return the object by which grpc finds a method's behaviour; its class exists only once grpc is there."""

    async def refuse(context: Any, error: Exception, method: str) -> None:
        if not isinstance(error, ApiError):
            if is_full_disk(error):
                error = no_space("nothing was changed")
            else:
                # A fault of ours: the trace goes to our log, never to a client.
                LOG.error("%s", method, exc_info=error)
                error = ApiError(Code.INTERNAL, "Internal error encountered; see the emulator's log.")
        await context.abort(grpc.StatusCode[error.code.name], error.message)

    class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            found = server.find(details.method)
            if found is None:
                return None
            rpc, is_beta = found

            async def one(data: bytes, context: Any) -> bytes:
                try:
                    asked = {"data": data, "metadata": context.invocation_metadata()}
                    answer, headers = await server.answer(rpc, is_beta=is_beta, **asked)
                except Exception as error:
                    await refuse(context, error, details.method)
                    raise
                if headers:
                    context.set_trailing_metadata([(name.lower(), value) for name, value in headers.items()])
                return answer

            async def many(data: bytes, context: Any) -> AsyncIterator[bytes]:
                try:
                    asked = {"data": data, "metadata": context.invocation_metadata()}
                    async for answer in server.stream(rpc, is_beta=is_beta, **asked):
                        yield answer
                except Exception as error:
                    await refuse(context, error, details.method)
                    raise

            if rpc.full_name in STREAMED:
                return grpc.unary_stream_rpc_method_handler(many)
            return grpc.unary_unary_rpc_method_handler(one)

    return Methods()
