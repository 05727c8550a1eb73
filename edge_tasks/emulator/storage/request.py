"""A request to Cloud Storage as the rest of the package sees it, and the answers to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from edge_tasks.emulator.storage.contents import PIECE, Source
from edge_tasks.emulator.storage.errors import StorageError, invalid
from edge_tasks.emulator.time_limit import time_limit

LARGEST_JSON = 8 << 20
# What is read of a request that has been refused: most of what people send, and no upload of gigabytes.
LARGEST_LEFT, SECONDS_TO_LEAVE = 64 << 20, 2.0


class GoneError(Exception):
    """The client has gone away, or its connection was cut, before the request was all there."""


class Body:
    """The bytes of a request, as they come."""

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        self._receive = receive
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come; GoneError when they break off."""
        while not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            self._ended = not message.get("more_body")
            if message.get("body"):
                yield message["body"]

    async def leave(self) -> None:
        """Read and forget what still comes of a request that has been refused, up to a limit of bytes and seconds.

        A client that is still sending when the connection is closed gets a reset, and never reads the answer.
        """
        read = 0
        with contextlib.suppress(GoneError, asyncio.TimeoutError):
            async with time_limit(SECONDS_TO_LEAVE):
                async for data in self:
                    read += len(data)
                    if read > LARGEST_LEFT:
                        return

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces that are worth a step of work each; the last ones also when they break off."""
        waiting = bytearray()
        try:
            async for data in self:
                waiting += data
                if len(waiting) >= PIECE:
                    yield bytes(waiting)
                    waiting.clear()
        except GoneError:
            if waiting:
                yield bytes(waiting)
            raise
        if waiting:
            yield bytes(waiting)

    async def read(self, limit: int = LARGEST_JSON) -> bytes:
        """Return all bytes; more than the limit are refused."""
        read = bytearray()
        async for data in self:
            read += data
            if len(read) > limit:
                raise StorageError(413, "uploadTooLarge", f"The body is larger than {limit} bytes.")
        return bytes(read)


@dataclass
class Call:
    """One request."""

    method: str
    # The path, unquoted part by part.
    parts: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body
    names: tuple[str, ...] = ()
    # All values of a parameter that may stand several times.
    repeated: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Where the client has found us: the addresses in answers begin so."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    async def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; no body is an empty one."""
        return json_object(await self.body.read())


@dataclass
class Answer:
    """An answer that is written in one piece. `value` is told as JSON, if there is one, else `body` as it is."""

    status: int = 200
    value: Any = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Streamed:
    """The content of an object, or a part of it, in pieces. The source is closed when it was sent."""

    source: Source
    start: int
    end: int
    status: int
    headers: dict[str, str]
    unzipped: bool = False


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is true or false; Python's clients write True."""
    return query.get(name, "").lower() == "true"


def json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object."""
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise StorageError(400, "parseError", "Parse Error") from None
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object.")
    return value
