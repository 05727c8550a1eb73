"""HTTP/1.1 on one connection: requests in, whole answers out, in their order."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import httptools

# Bytes of a body; Vertex AI takes 1.5 MB, on their own endpoints 10 MB.
LARGEST_BODY = 64 << 20
# Requests of one connection that wait for their answers; more are left in the socket.
MOST_WAITING = 64

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


class Answer(NamedTuple):
    """A status, and a body of JSON."""

    status: int
    body: bytes


@functools.lru_cache(maxsize=32)
def error_answer(status: int, text: str) -> Answer:
    """Return an error as the answer's body has it."""
    return Answer(status, json.dumps({"error": text}).encode())


# Of a method, a path and a body; what takes long comes later.
Handler = Callable[[bytes, bytes, bytes], "Answer | asyncio.Future[Answer]"]


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, handle: Handler, connections: set[HttpProtocol]):
        self._handle = handle
        self._connections = connections
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[asyncio.Future[Answer], bool]] = deque()
        self._url, self._size = b"", 0
        self._body: list[bytes] = []
        self._paused = False

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._waiting)

    def close(self) -> None:
        """Close the connection when what was asked on it is answered."""
        if not self._waiting and self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was asked: nobody waits for it."""
        self._connections.discard(self)
        self._waiting.clear()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Read a part of one or several requests."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._write(Answer(400, b'{"error": "The request is not HTTP."}'), keep=False)

    # httptools

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url, self._body, self._size = b"", [], 0

    def on_url(self, url: bytes) -> None:
        """Keep the path."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Let a client send a body that asks first."""
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._size += len(body)
        if self._size <= LARGEST_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer, or let the answer come later."""
        keep = self._parser.should_keep_alive()
        if self._size > LARGEST_BODY:
            answer: Answer | asyncio.Future[Answer] = Answer(413, b'{"error": "The body is too large."}')
        else:
            path = self._url.partition(b"?")[0]
            answer = self._handle(self._parser.get_method(), path, b"".join(self._body))
        self._body = []
        if isinstance(answer, Answer) and not self._waiting:
            self._write(answer, keep)
            return
        if isinstance(answer, Answer):
            done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            done.set_result(answer)
            answer = done
        self._waiting.append((answer, keep))
        answer.add_done_callback(self._send_what_is_ready)
        if len(self._waiting) >= MOST_WAITING and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # answers

    def _send_what_is_ready(self, _: Any) -> None:
        while self._waiting and self._waiting[0][0].done():
            answer, keep = self._waiting.popleft()
            if answer.cancelled():
                continue
            self._write(answer.result(), keep)
        if self._paused and self._transport is not None and len(self._waiting) < MOST_WAITING:
            self._paused = False
            self._transport.resume_reading()

    def _write(self, answer: Answer, keep: bool) -> None:
        if self._transport is None:
            return
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer.body)}\r\n{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n"
        )
        self._transport.write(head.encode("latin-1") + answer.body)
        if not keep:
            self._transport.close()
