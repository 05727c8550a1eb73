"""The listening socket and the HTTP server on it."""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
# How long a stop waits for requests that are being answered.
GRACE = 2
_IDENTITY = re.compile(rb"(?i)\r\nTransfer-Encoding:[ \t]*identity(?=\r\n|$)")
_CHUNKED = re.compile(rb"(?i)\r\nTransfer-Encoding:[ \t]*chunked(?=\r\n|$)")
_LENGTH = re.compile(rb"(?i)\r\nContent-Length:[ \t]*(\d{0,18})[^\r\n]*")
_OFFER = re.compile(rb"(?i)\r\nUpgrade:[ \t]*h2c(?=\r\n|$)")


def bind(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; port 0 means any free one. OSError when it is taken."""
    # With the protocol named, asyncio turns off Nagle's algorithm, which would hold small answers back for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port whose last connections are still closing can be taken again at once; a port with a
        # listener cannot.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


class Server(uvicorn.Server):
    """uvicorn, but for signals: the emulator's own handlers end everything in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class _Transport:
    """A transport that writes the head of an answer together with its body: the client is woken once, not twice."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Do the rest as the transport does."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or keep the head of an answer whose length is known: its body is written next."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and b"content-length: " in data:
            self._head = data
            return
        self._transport.write(data)

    def write_whole(self, answer: bytes) -> None:
        """Write head and body of an answer."""
        self._transport.write(answer)

    def flush(self) -> None:
        """Write a head that no body has followed."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close when everything is written."""
        self.flush()
        self._transport.close()


class _Exchange:
    """A request that has come in one piece, and what uvicorn asks of the exchange that a connection is in."""

    __slots__ = ("body", "disconnected", "keep_alive", "response_complete")

    def __init__(self) -> None:
        self.body = b""
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    @property
    def message_event(self) -> _Exchange:
        """What is set when something happens that nobody waits for here."""
        return self

    def set(self) -> None:
        """Do nothing."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but for what is asked often, and for headers that httptools has trouble with.

    A request that is there as a whole is answered by the application's `answer_whole`, if it has one and takes it so:
    what ASGI is for, bodies and answers in pieces, costs a short prediction a tenth of its time.

    Java's own client offers HTTP/2 with its first request, which a server may ignore; the body would be taken for
    another protocol's. TensorFlow names the encoding `identity`, which is none, for bodies that are empty, and a length
    of bodies in chunks, which have none (RFC 9112, 6.3).
    """

    _whole: _Exchange | None = None
    _is_whole = False

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._writer = _Transport(transport)
        super().connection_made(self._writer)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._writer.flush()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Take what has come; without these headers, if it is the beginning of a request."""
        if self.cycle is None or self.cycle.response_complete:
            head, end, rest = data.partition(b"\r\n\r\n")
            if end and b"h2c" in head:
                data = _OFFER.sub(b"", head) + end + rest
            elif end and (b"identity" in head or b"chunked" in head):
                head = _IDENTITY.sub(b"", head)
                data = (_LENGTH.sub(b"", head) if _CHUNKED.search(head) else head) + end + rest
            elif end:
                self._is_whole = _announced(head) == len(rest)
        super().data_received(data)
        self._is_whole = False

    def on_headers_complete(self) -> None:
        """Begin an exchange."""
        if self._is_whole and self._takes_whole():
            self._whole = self.cycle = _Exchange()  # type: ignore[assignment]
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self._whole is None:
            super().on_body(body)
        else:
            self._whole.body += body

    def on_message_complete(self) -> None:
        """Answer a request that is there as a whole."""
        if self._whole is None:
            super().on_message_complete()
            return
        exchange, self._whole = self._whole, None
        task = self.loop.create_task(self._answer(exchange, self.url, self.headers))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _takes_whole(self) -> bool:
        """Say whether nothing but an answer is asked for: not that the connection ends, nor a word before the body."""
        takes = getattr(self.app, "answers_whole", None)
        return (
            takes is not None
            and takes(self.parser.get_method(), self.url)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
        )

    async def _answer(self, exchange: _Exchange, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        answer = await self.app.answer_whole(url, headers, exchange.body)
        if self.flow.write_paused:
            await self.flow.drain()
        if exchange.disconnected:
            return
        self._writer.write_whole(answer)
        exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _announced(head: bytes) -> int:
    """Return the length of the body that a request's head announces."""
    found = _LENGTH.search(head)
    return int(found.group(1) or -1) if found else 0


def make_server(application: Any) -> Server:
    """Return a server for an ASGI application."""
    return Server(
        uvicorn.Config(
            application,
            http=_Protocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE,
        )
    )
