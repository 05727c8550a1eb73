"""A small HTTP/1.1 client, over Unix sockets or TCP: the way to a model server.

Answers come whole, on connections that are kept open, or piece by piece, on their own connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import httptools

from edge_tasks.emulator.errors import ApiError, Code
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge_tasks.emulator.serving.plan import Address

# Bytes that have come and nobody has taken yet; more are left in the socket.
MOST_WAITING = 256 * 1024


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

    async def request(
        self, method: str, target: str, body: bytes, content_type: str, limit: float | None = None
    ) -> Answer:
        """Send a request and return the answer; ServerGoneError when there is no one to answer.

        asyncio.TimeoutError when there is none within `limit` seconds: a timer, which costs less than `time_limit`.
        """
        connection = await self._connection()
        incoming = connection.send(method, target, body, content_type)
        timer = None if limit is None else asyncio.get_running_loop().call_later(limit, incoming.expire)
        try:
            await incoming.ended
        except BaseException:
            # An exchange that was given up leaves an answer to come: the connection is of no use any more.
            connection.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if connection.usable:
            self._idle.append(connection)
        return Answer(incoming.status, incoming.content_type, b"".join(incoming.pieces))

    async def stream(self, target: str, body: bytes, content_type: str, limit: float) -> Stream:
        """Post a request and wait for the head of the answer; ServerGoneError when there is no one to answer."""
        connection = await self._connect()
        stream = Stream(connection, connection.send("POST", target, body, content_type, "Connection: close\r\n"), limit)
        try:
            await stream.wait_for_head()
        except BaseException:
            stream.close()
            raise
        return stream

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await self._connect()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._address, str):
                _, protocol = await loop.create_unix_connection(_Connection, self._address)
            else:
                _, protocol = await loop.create_connection(_Connection, "127.0.0.1", self._address)
        except OSError as error:
            raise ServerGoneError(str(error)) from error
        return protocol

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().close()


class Stream:
    """An answer that is passed on as it comes; `limit` is the seconds that the model server has for each piece."""

    def __init__(self, connection: _Connection, incoming: _Incoming, limit: float) -> None:
        self._connection = connection
        self._incoming = incoming
        self._limit = limit
        self._news = incoming.news = asyncio.Event()

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self._incoming.status

    @property
    def content_type(self) -> str:
        """The content type of the answer."""
        return self._incoming.content_type

    async def wait_for_head(self) -> None:
        """Return when status and headers have come."""
        while not self._incoming.status:
            await self._wait()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; ServerGoneError when it breaks off."""
        incoming = self._incoming
        while True:
            while incoming.pieces:
                yield incoming.pieces.pop(0)
            if incoming.ended.done():
                incoming.ended.result()
                return
            self._connection.read_on()
            await self._wait()

    def close(self) -> None:
        """Close the connection: a model server that still answers may stop."""
        self._connection.close()

    async def _wait(self) -> None:
        """Wait until more has come, or the end."""
        incoming = self._incoming
        self._news.clear()
        if incoming.ended.done():
            incoming.ended.result()
            return
        try:
            async with time_limit(self._limit):
                await self._news.wait()
        except asyncio.TimeoutError:
            problem = f"The model did not answer within {self._limit:g} s."
            raise ApiError(Code.DEADLINE_EXCEEDED, problem) from None


class _Incoming:
    """What has come of an answer; a status of 0 means that its head has not."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Set with each piece, for those who do not wait for the end.
        self.news: asyncio.Event | None = None
        self.status = 0
        self.content_type = ""
        self.pieces: list[bytes] = []
        self.says_its_end = False

    def end(self, error: Exception | None = None) -> None:
        """Have it ended, unless it is."""
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        self.tell()

    def expire(self) -> None:
        """Have it ended because it takes too long."""
        self.end(asyncio.TimeoutError())

    def tell(self) -> None:
        """Wake who waits for the next piece."""
        if self.news is not None:
            self.news.set()


class _Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._incoming: _Incoming | None = None
        self._is_paused = False
        self.usable = True

    def send(self, method: str, target: str, body: bytes, content_type: str, more: str = "") -> _Incoming:
        """Send a request, with `more` headers, and return what will hold the answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._incoming = incoming = _Incoming()
        self._is_streamed = bool(more)
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: model\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n"
        )
        self._transport.write(head.encode("latin-1", "replace") + body)
        return incoming

    def close(self) -> None:
        self.usable = False
        # Nobody waits for the answer any more.
        self._incoming = None
        if self._transport is not None:
            self._transport.close()

    def read_on(self) -> None:
        """Read what was left in the socket."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming is None or incoming.ended.done():
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP: {error}")
            self.close()
        incoming.tell()
        if self._is_streamed and not self._is_paused and sum(map(len, incoming.pieces)) > MOST_WAITING:
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        incoming = self._incoming
        if incoming is not None and incoming.status and not incoming.says_its_end and exc is None:
            # The end of the connection is that of the answer.
            self.on_message_complete()
        self._fail(f"the connection was closed: {exc or 'by the server'}")

    def _fail(self, why: str) -> None:
        if self._incoming is not None:
            self._incoming.end(ServerGoneError(why))

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._incoming is not None
        name = name.lower()
        if name == b"content-type":
            self._incoming.content_type = value.decode("latin-1")
        elif name in {b"content-length", b"transfer-encoding"}:
            self._incoming.says_its_end = True

    def on_headers_complete(self) -> None:
        assert self._incoming is not None
        self._incoming.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        assert self._incoming is not None
        self._incoming.pieces.append(body)

    def on_message_complete(self) -> None:
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._incoming is not None:
            self._incoming.end()
