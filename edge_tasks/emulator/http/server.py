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
_LENGTH = re.compile(rb"(?i)\r\nContent-Length:[^\r\n]*")
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

    def flush(self) -> None:
        """Write a head that no body has followed."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close when everything is written."""
        self.flush()
        self._transport.close()


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but for headers that httptools has trouble with.

    Java's own client offers HTTP/2 with its first request, which a server may ignore; the body would be taken for
    another protocol's. TensorFlow names the encoding `identity`, which is none, for bodies that are empty, and a length
    of bodies in chunks, which have none (RFC 9112, 6.3).
    """

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
        super().data_received(data)


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
