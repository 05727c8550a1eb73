"""The ASGI application: guard, routes, handlers, and errors in Google's form."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from edge_tasks.emulator.errors import ApiError, Code, invalid, no_space, unimplemented
from edge_tasks.emulator.http import guard
from edge_tasks.emulator.http.exchange import IS_BETA, Reply, Request, StreamedReply, error_reply
from edge_tasks.emulator.http.faults import Faults
from edge_tasks.emulator.http.routing import Route, Router
from edge_tasks.emulator.schema import beta

if TYPE_CHECKING:
    from edge_tasks.emulator.http.transcoding import Transcoder
    from edge_tasks.emulator.schema.surface import Message, Surface
    from edge_tasks.emulator.serving.loan import Given

Handler: TypeAlias = Callable[["Message"], Awaitable["Message"]]
RawHandler: TypeAlias = Callable[[Request], Awaitable[Reply | StreamedReply]]

LARGEST_BODY = 32 * 1024 * 1024
# Google's front end sends these with every answer.
OF_EVERY_ANSWER = (
    (b"server", b"ESF"),
    (b"vary", b"Origin, X-Origin, Referer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-xss-protection", b"0"),
)
# The same methods as in v1, by the same routes; what of its own fields is honoured is in `schema.beta`.
BETA = "/v1beta1/"
FAULTS = "/_emulator/faults"
OPERATION, BETA_OPERATION = "google.longrunning.Operation", "/operations/9"
TYPES = (b'"type.googleapis.com/google.cloud.aiplatform.v1.', b'"type.googleapis.com/google.cloud.aiplatform.v1beta1.')
LOG = logging.getLogger(__name__)


class Application:
    """Answers every request.

    `handlers` answer RPCs message by message; `direct` ones, by the same names, get the request as it came
    (predictions do not pass through messages, which would cost a hundred times the work). `raw_routes` are the
    paths that are not part of Vertex AI; `raw_prefixes` are all the paths that begin so.
    """

    def __init__(
        self,
        surface: Surface,
        transcoder: Transcoder,
        handlers: Mapping[str, Handler],
        direct: Mapping[str, RawHandler],
        raw_routes: Mapping[tuple[str, str], RawHandler],
        raw_prefixes: Mapping[str, RawHandler],
    ) -> None:
        self.faults = faults = Faults({name.rpartition(".")[2] for name in (*handlers, *direct)})
        self._router = Router(surface.rpcs.values())
        self._transcoder = transcoder
        self._handlers = handlers
        self._direct = direct
        self._raw_prefixes = raw_prefixes
        self._raw_routes = {
            **raw_routes,
            ("POST", FAULTS): faults.add,
            ("GET", FAULTS): faults.list,
            ("DELETE", FAULTS): faults.clear,
        }

    def emulated(self) -> set[str]:
        """Return the full names of the RPCs that are not answered with 501."""
        return {*self._handlers, *self._direct}

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one ASGI connection; uvicorn is told to speak HTTP only."""
        if scope["type"] != "http":
            return
        request = Request(
            method=scope["method"],
            path=scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0],
            query=scope["query_string"].decode("latin-1"),
            headers=_decoded(scope["headers"]),
        )
        reply = await self._answer(request, receive)
        if isinstance(reply, StreamedReply):
            await _stream(reply, receive, send)
        else:
            await _send(reply, send, head_only=request.method == "HEAD")

    def answers_whole(self, method: bytes, url: bytes) -> bool:
        """Say whether a request that has come in one piece may be given to `answer_whole`."""
        path = url.partition(b"?")[0]
        return method == b"POST" and path.startswith(b"/") and path.endswith(b":predict") and b"#" not in url

    async def answer_whole(
        self, url: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, given: Given | None = None
    ) -> Reply:
        """Answer a whole request. What ASGI does for each request takes a tenth of the time of a prediction."""
        path, _, query = url.decode("latin-1").partition("?")
        reply = await self._answer(Request("POST", path, query, _decoded(headers), body, given=given))
        assert isinstance(reply, Reply)
        if self.faults:
            reply.lend = None
        return reply

    def written(self, reply: Reply) -> bytes:
        """Return a reply as it is sent, head and body."""
        assert not reply.headers
        return b"%s%d\r\n\r\n%s" % (self.head(reply), len(reply.body), reply.body)

    def head(self, reply: Reply) -> bytes:
        """Return the head of a reply, to the digits of its length."""
        return _head(reply.status, reply.content_type)

    async def _answer(self, request: Request, receive: Any = None) -> Reply | StreamedReply:
        """Answer a request whose body is read first, if it has to be received."""
        try:
            guard.check(request.headers)
            if receive is not None:
                request.body = await _read_body(request.headers, receive)
            return await self._dispatch(request)
        except ApiError as error:
            return error_reply(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if is_full_disk(error):
                return error_reply(no_space("nothing was changed"))
            # A fault of ours: the trace goes to our log, never to a client.
            LOG.exception("%s %s", request.method, request.path)
            return error_reply(ApiError(Code.INTERNAL, "Internal error encountered; see the emulator's log."))

    async def _dispatch(self, request: Request) -> Reply | StreamedReply:
        raw = self._raw_routes.get((request.method, request.path))
        if raw is not None:
            return await raw(request)
        is_beta = request.path.startswith(BETA)
        IS_BETA.set(is_beta)
        path = f"/v1/{request.path.removeprefix(BETA)}" if is_beta else request.path
        routes, request.variables = self._router.match(request.method, path)
        if not routes:
            for prefix, below in self._raw_prefixes.items():
                if request.path.startswith(prefix):
                    return await below(request)
        if not routes and is_beta:
            raise unimplemented(f"{request.method} {request.path[:500]} is not implemented by this emulator.")
        if not routes:
            raise _no_path(request)
        route = next((route for route in routes if self._knows(route)), routes[0])
        if route.rpc.beta and not is_beta:
            raise _no_path(request)
        name = route.rpc.full_name
        if self.faults:
            await self.faults.meet(route.rpc.name, next(iter(request.variables.values()), ""))
        if name in self._direct:
            return await self._direct[name](request)
        if name not in self._handlers:
            raise unimplemented(f"{name} is not implemented by this emulator.")
        if is_beta:
            request.body = beta.as_v1(request.body)
        message = self._transcoder.read(request, route)
        if not is_beta:
            beta.refuse(message)
        result = await self._handlers[name](message)
        if not is_beta:
            beta.forget(result)
        reply = self._transcoder.write(result, enum_numbers=request.wants_enum_numbers)
        if result.DESCRIPTOR.full_name == OPERATION and BETA_OPERATION in result.name:
            # What an operation holds says of which version it is, and the SDK unpacks no other.
            reply.body = reply.body.replace(*TYPES)
        return reply

    def _knows(self, route: Route) -> bool:
        return route.rpc.full_name in self._handlers or route.rpc.full_name in self._direct


def _no_path(request: Request) -> ApiError:
    return ApiError(Code.NOT_FOUND, f"The path {request.method} {request.path[:500]} is not part of this API.")


def is_full_disk(error: Exception) -> bool:
    """Say whether an error means that the disk of this machine is full."""
    if isinstance(error, sqlite3.OperationalError):
        return "disk is full" in str(error)  # Python 3.10 has no sqlite_errorcode
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


async def _read_body(headers: Mapping[str, str], receive: Any) -> bytes:
    announced = headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise invalid(f"Request payload size exceeds the limit: {LARGEST_BODY} bytes.")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(Code.CANCELLED, "The client has gone away.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > LARGEST_BODY:
            raise invalid(f"Request payload size exceeds the limit: {LARGEST_BODY} bytes.")
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _stream(reply: StreamedReply, receive: Any, send: Any) -> None:
    """Write a reply chunk by chunk, until it ends, or breaks off, or the client goes away."""
    await send({"type": "http.response.start", "status": 200, "headers": _headers(reply)})
    # The body has been read, so that what comes now is the end of the connection.
    gone = asyncio.ensure_future(receive())
    writing = asyncio.ensure_future(_write(reply.chunks, send))
    try:
        await asyncio.wait([gone, writing], return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing


async def _write(chunks: AsyncGenerator[bytes, None], send: Any) -> None:
    try:
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except ApiError as error:
        # Too late for an error: a reply without its end is all that can be said.
        LOG.warning("a streamed prediction broke off: %s", error.message)
    else:
        await send({"type": "http.response.body", "body": b""})


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


@functools.cache
def _head(status: int, content_type: str) -> bytes:
    """Return the beginning of every answer with that status and type."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *map(b": ".join, OF_EVERY_ANSWER)]
    return b"\r\n".join([*lines, b"content-type: " + content_type.encode("latin-1"), b"content-length: "])


def _headers(reply: Reply | StreamedReply) -> list[tuple[bytes, bytes]]:
    return [
        *OF_EVERY_ANSWER,
        (b"content-type", reply.content_type.encode("latin-1", "replace")),
        *((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers.items()),
    ]


async def _send(reply: Reply, send: Any, *, head_only: bool) -> None:
    headers = [
        *OF_EVERY_ANSWER,
        (b"content-type", reply.content_type.encode("latin-1")),
        (b"content-length", str(len(reply.body)).encode()),
        *((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers.items()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head_only else reply.body})
