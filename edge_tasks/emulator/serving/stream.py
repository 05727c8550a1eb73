"""An answer of a model server that is passed on as it comes, on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httptools

from edge_tasks.emulator.errors import ApiError, Code
from edge_tasks.emulator.serving.connection import ServerGoneError
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge_tasks.emulator.serving.plan import Address

PIECE = 64 * 1024


class Stream:
    """One request and its answer; `limit` is the seconds that the model server has for each piece of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: float) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit
        self._answer = _Answer()

    @classmethod
    async def open(cls, address: Address, target: str, body: bytes, content_type: str, limit: float) -> Stream:
        """Post a request and wait for the head of the answer; ServerGoneError when there is no one to answer."""
        try:
            if isinstance(address, str):
                connection = await asyncio.open_unix_connection(address)
            else:
                connection = await asyncio.open_connection("127.0.0.1", address)
        except OSError as error:
            raise ServerGoneError(str(error)) from error
        stream = cls(*connection, limit)
        head = (
            f"POST {target} HTTP/1.1\r\nHost: model\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        stream._writer.write(head.encode("latin-1", "replace") + body)
        try:
            while not stream._answer.has_head:
                await stream._read()
        except BaseException:
            stream.close()
            raise
        return stream

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return int(self._answer.parser.get_status_code())

    @property
    def content_type(self) -> str:
        """The content type of the answer."""
        return self._answer.content_type

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; ServerGoneError when it breaks off."""
        while True:
            while self._answer.pieces:
                yield self._answer.pieces.pop(0)
            if self._answer.has_ended:
                return
            await self._read()

    def close(self) -> None:
        """Close the connection: a model server that still answers may stop."""
        self._writer.close()

    async def _read(self) -> None:
        try:
            async with time_limit(self._limit):
                data = await self._reader.read(PIECE)
            self._answer.feed(data)
        except asyncio.TimeoutError:
            problem = f"The model did not answer within {self._limit:g} s."
            raise ApiError(Code.DEADLINE_EXCEEDED, problem) from None
        except (OSError, httptools.HttpParserError) as error:
            raise ServerGoneError(str(error)) from error


class _Answer:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.content_type = ""
        self.has_head = False
        self.has_ended = False
        self.pieces: list[bytes] = []
        self._says_its_end = False

    def feed(self, data: bytes) -> None:
        """Take what was read, or the end of the connection."""
        if data:
            self.parser.feed_data(data)
        elif self.has_head and not self._says_its_end:
            self.has_ended = True
        else:
            raise ServerGoneError("the connection was closed by the server")

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.content_type = value.decode("latin-1")
        elif name.lower() in {b"content-length", b"transfer-encoding"}:
            self._says_its_end = True

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.has_ended = True
