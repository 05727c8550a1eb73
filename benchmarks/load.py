"""Requests over connections that are kept open, each sent when the one before is answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop


@dataclass(frozen=True)
class Target:
    """Where one request goes, and its body."""

    url: str
    body: bytes
    method: str = "POST"

    def request(self) -> bytes:
        """Return the request as it is sent."""
        parts = urlsplit(self.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        head = f"{self.method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass(frozen=True)
class Load:
    """What came of some seconds of requests."""

    seconds: float
    answers: tuple[float, ...]
    cpu_seconds: float = 0.0

    @property
    def computing(self) -> float:
        """The seconds of processor time that the server took for each."""
        return self.cpu_seconds / len(self.answers)

    @property
    def each(self) -> float:
        """The seconds that pass from one answer to the next, over all connections."""
        return self.seconds / len(self.answers)


def answer(target: Target) -> bool:
    """Whether the target answers one request well."""
    try:
        return bool(uvloop.run(_load(target, 1, 0)).answers)
    except (OSError, RuntimeError):
        return False


def load(target: Target, connections: int, seconds: float) -> Load:
    """Keep the connections busy for some seconds; RuntimeError when an answer is not 200."""
    found: Load = uvloop.run(_load(target, connections, seconds))
    return found


async def _load(target: Target, connections: int, seconds: float) -> Load:
    host, _, port = urlsplit(target.url).netloc.partition(":")
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: _Connection(target.request()), host, int(port)))[1]
        for _ in range(connections)
    ]
    started = time.perf_counter()
    try:
        await asyncio.gather(*(connection.keep_busy(started + seconds) for connection in opened))
    finally:
        for connection in opened:
            connection.close()
    took = time.perf_counter() - started
    return Load(took, tuple(answer for connection in opened for answer in connection.answers))


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: Any = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answers: list[float] = []

    async def keep_busy(self, until: float) -> None:
        """Send requests until then, at least one."""
        self._until = until
        self._send()
        await self._done

    def close(self) -> None:
        self._transport.close()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(str(error or "the connection was closed"))

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))

    # httptools

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self._parser.get_status_code() != 200:
            self._fail(f"the answer's status is {self._parser.get_status_code()}")
            return
        self.answers.append(now - self._sent)
        if now < self._until:
            self._send()
        elif not self._done.done():
            self._done.set_result(None)
