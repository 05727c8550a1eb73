"""The listening socket and the HTTP server on it."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from edge_tasks.emulator.http.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
# How long a stop waits for requests that are being answered.
GRACE = 2


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


def make_server(application: Any) -> Server:
    """Return a server for an ASGI application."""
    return Server(
        uvicorn.Config(
            application,
            http=Protocol,
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
