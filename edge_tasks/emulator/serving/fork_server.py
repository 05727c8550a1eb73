"""The program that model servers are forked from: it has imported their framework, which is what takes time.

    python -m edge_tasks.emulator.serving.fork_server FRAMEWORK SOCKET

It imports and never computes, so that there is no thread and no lock of OpenMP or of a BLAS that a fork would
inherit half: OpenMP starts its threads with the first loop, and OpenBLAS ends its own before a fork. No model is
loaded here: what one model imports, no other sees.

One connection is one order: JSON, with the log's and the watch pipe's descriptors. The server that is forked
answers with its pid and keeps the connection open while it lives: its end is the news of its death.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from edge_tasks.emulator.runtime import watchers
from edge_tasks.emulator.runtime.images import BY_NAME
from edge_tasks.emulator.serving import prebuilt

# What every server needs. What else a model needs it imports by itself, in its own process.
SERVER = ("uvicorn.lifespan.off", "uvicorn.protocols.http.httptools_impl", "uvloop")
LARGEST_ORDER = 1 << 20
SECONDS_TO_ORDER = 5.0


class Order(NamedTuple):
    """What a server is to be."""

    arguments: list[str]
    environment: dict[str, str]


def main() -> None:
    """Import, then fork a server for each order."""
    framework, path = sys.argv[1:]
    for module in BY_NAME[framework].preloaded:
        importlib.import_module(module)
    for module in SERVER:
        # uvloop is not there on every platform.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    # Servers leave alone what they share: a collection would write to every object, and so copy its page.
    gc.collect()
    gc.freeze()
    # SIGCHLD is ignored so that children are reaped automatically.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    order = _forked(path)
    _seed()
    prebuilt.run(*order.arguments)


def _forked(path: str) -> Order:
    """Fork for ever; return in the forked processes only, each with its order."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # Under its name it listens: who finds it may connect.
        listener.bind(f"{path}.new")
        listener.listen(1024)
        Path(f"{path}.new").rename(path)
        while True:
            connection, _ = listener.accept()
            with connection:
                order, descriptors = _receive(connection)
                if order is not None and os.fork() == 0:
                    _settle_in(connection.dup(), *descriptors)
                    os.environ.clear()
                    os.environ.update(order.environment)
                    return order
            for descriptor in descriptors:
                os.close(descriptor)


def _receive(connection: socket.socket) -> tuple[Order | None, list[int]]:
    """Return an order and the descriptors that came with it; None when its sender has gone."""
    connection.settimeout(SECONDS_TO_ORDER)
    descriptors: list[int] = []
    try:
        text, descriptors, _, _ = socket.recv_fds(connection, LARGEST_ORDER, 2)
        while piece := connection.recv(LARGEST_ORDER):
            text += piece
        return (Order(**json.loads(text)) if len(descriptors) == 2 else None), descriptors
    except (OSError, ValueError):
        return None, descriptors


def _settle_in(connection: socket.socket, log: int, watch_pipe: int) -> None:
    """Give this process, newly forked, what every child of the emulator has: its session, log and watcher."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(log, 1)
    os.dup2(log, 2)
    watcher = subprocess.Popen(["/bin/sh", "-c", watchers.WATCHER, "sh", str(os.getpid())], stdin=watch_pipe)
    for descriptor in (log, watch_pipe):
        os.close(descriptor)
    connection.sendall(b"%d" % os.getpid())
    # Neither may end with the last reference to it, and a fork of the model's must not live in our name.
    _kept.extend([connection, watcher])
    os.register_at_fork(after_in_child=connection.close)


_kept: list[Any] = []


def _seed() -> None:
    """Let each server draw its own random numbers; Python does this for its own module."""
    import numpy as np

    np.random.seed()


if __name__ == "__main__":
    main()
