"""A small HTTP/1.1 client with connections kept open, over Unix sockets or TCP: the way to a model server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import httptools

if TYPE_CHECKING:
    from edge_tasks.emulator.serving.plan import Address


class ServerGoneError(Exception):
    """The model server does not answer: not started, dead, or it closed the connection."""


class Answer(NamedTuple):
    """What a model server answered."""

    status: int
    content_type: str
    body: bytes


class Pool:
    """Open connections to one model server."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[_Connection] = []

    async def request(self, method: str, target: str, body: bytes, content_type: str) -> Answer:
        """Send a request and return the answer; ServerGoneError when there is no one to answer."""
        connection = await self._connection()
        try:
            answer = await connection.exchange(method, target, body, content_type)
        except BaseException:
            # An exchange that was given up leaves an answer to come: the connection is of no use any more.
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        try:
            return await self._connect()
        except OSError as error:
            raise ServerGoneError(str(error)) from error

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        if isinstance(self._address, str):
            _, protocol = await loop.create_unix_connection(_Connection, self._address)
        else:
            _, protocol = await loop.create_connection(_Connection, "127.0.0.1", self._address)
        return protocol

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().close()


class _Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._waiter: asyncio.Future[Answer] | None = None
        self.usable = True

    async def exchange(self, method: str, target: str, body: bytes, content_type: str) -> Answer:
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._content_type = ""
        self._waiter = asyncio.get_running_loop().create_future()
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: model\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1", "replace") + body)
        return await self._waiter

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail(f"the connection was closed: {exc or 'by the server'}")

    def _fail(self, why: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ServerGoneError(why))

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._content_type = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Answer(self._parser.get_status_code(), self._content_type, b"".join(self._chunks)))
