"""The program that jobs and model servers are forked from: it has imported their libraries, which is what takes time.

    python fork_server.py ROOT SOCKET [MODULE ...]

It is run by its path and finds the rest of ours in ROOT, so that nothing of ours is on the path of what it forks. Each
MODULE is imported before the first order is read.

It imports and never computes, so that there is no thread and no lock of OpenMP or of a BLAS that a fork would
inherit half: OpenMP starts its threads with the first loop, and OpenBLAS ends its own before a fork. No model and no
training script is loaded here: what one of them imports, no other sees.

One connection is one order: JSON (see `fork_order`), with the descriptors of stdout, stderr and the watch pipe. The
process that is forked answers with its pid and keeps the connection open while it lives: its end is the news of its
death. One that is supervised says before how it has ended. An order without a module asks for imports only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_tasks.emulator.runtime.fork_order import Order

LARGEST_ORDER = 1 << 20
SECONDS_TO_ORDER = 5.0
DESCRIPTORS = 3
ASKED_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Fork a process for each order; what is forked runs its module, and does not return."""
    root, path, *modules = sys.argv[1:]
    libraries = sys.path[1:]
    sys.path[0] = root
    from edge_tasks.emulator.runtime import forked_program

    # SIGCHLD is ignored so that children are reaped automatically.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    order = _forked(path, modules)
    forked_program.run(order, libraries)


def _forked(path: str, modules: Sequence[str]) -> Order:
    """Fork for ever; return in the forked processes only, each with its order."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # Under its name it listens: who finds it may connect.
        listener.bind(f"{path}.new")
        listener.listen(1024)
        Path(f"{path}.new").rename(path)
        _import(modules)
        while True:
            connection, _ = listener.accept()
            with connection:
                order, descriptors = _receive(connection)
                if order is not None:
                    _import(order.preloaded)
                    if order.module and os.fork() == 0:
                        listener.close()
                        own = connection.dup()
                        connection.close()
                        _settle_in(order, own, *descriptors)
                        return order
            for descriptor in descriptors:
                os.close(descriptor)


def _import(modules: Sequence[str]) -> None:
    """Import what is not yet imported; what cannot be is left to those who need it, who say so in their own log."""
    if all(module in sys.modules for module in modules):
        return
    # Nearly all that an import makes stays: looking through it again and again takes a tenth of its time.
    gc.disable()
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.enable()
    # The forked leave alone what they share: a collection would write to every object, and so copy its page.
    gc.collect()
    gc.freeze()


def _receive(connection: socket.socket) -> tuple[Order | None, list[int]]:
    """Return an order and the descriptors that came with it; None when its sender has gone."""
    from edge_tasks.emulator.runtime.fork_order import Order

    connection.settimeout(SECONDS_TO_ORDER)
    descriptors: list[int] = []
    try:
        text, descriptors, _, _ = socket.recv_fds(connection, LARGEST_ORDER, DESCRIPTORS)
        while piece := connection.recv(LARGEST_ORDER):
            text += piece
        order = Order.from_json(text)
        return (order if len(descriptors) == DESCRIPTORS or not order.module else None), descriptors
    except (OSError, ValueError, TypeError):
        return None, descriptors


def _settle_in(order: Order, connection: socket.socket, stdout: int, stderr: int, watch_pipe: int) -> None:
    """Give this process, newly forked, what every child of the emulator has: its session, output, watcher and mark.

    One that is supervised comes back in its own child, and waits itself.
    """
    from edge_tasks.emulator.runtime import forked_program, watchers

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    watcher = subprocess.Popen(["/bin/sh", "-c", watchers.WATCHER, "sh", str(os.getpid())], stdin=watch_pipe)
    for descriptor in (stdout, stderr, watch_pipe):
        os.close(descriptor)
    # Neither may end with the last reference to it, and a fork of the program's must not live in our name.
    _kept.extend([connection, watcher, forked_program.marked(order.mark)])
    os.register_at_fork(after_in_child=connection.close)
    connection.sendall(b"%d\n" % os.getpid())
    if order.mount is not None:
        os.chdir(order.folder)
        _mount(*order.mount)
    if order.supervised:
        _supervise(connection)


_kept: list[Any] = []


def _mount(storage_url: str, root: str) -> None:
    from edge_tasks.emulator.runtime import gcs_mount

    try:
        gcs_mount.give(storage_url, root)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        sys.stderr.flush()
        os._exit(1)


def _supervise(connection: socket.socket) -> None:
    """Return in a child; wait here for its end, and tell how it was."""
    # Nobody is to be asked to end who does not yet listen.
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKED_TO_END)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)
        return
    for number in ASKED_TO_END:
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        # The end of the output is that of those who write.
        os.dup2(null, standard)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


if __name__ == "__main__":
    main()
