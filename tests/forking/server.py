"""The program that commands are forked from: it imports what they import, and never computes.

    python server.py SOCKET

A connection is one command: its order as JSON with the files 0, 1, 2; then the numbers of signals that it is sent; the
answer is its exit status. Who closes the connection before has been killed, and so is the command. It ends with its
input.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import shutil
import signal
import socket
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tasks.emulator.runtime import forked_program

MODULES = (
    *("dvc.cli", "dvc.commands.repro", "dvc.commands.data_sync", "dvc.commands.metrics", "dvc.commands.params"),
    *("dvc.commands.add", "dvc.commands.config", "dvc.commands.init", "dvc.commands.status", "dvc.repo.reproduce"),
    *("dvc_gs", "dvc_data.index", "gcsfs", "invoke.main", "sacred.observers", "sacred.commandline_options"),
    *(
        "sklearn.linear_model",
        "sklearn.dummy",
        "sklearn.svm",
        "sklearn.pipeline",
        "sklearn.compose",
        "sklearn.ensemble",
    ),
    *("sklearn.datasets", "sklearn.model_selection", "sklearn.metrics", "sklearn.preprocessing", "pandas", "numpy"),
    *("google.cloud.storage", "google.auth.transport.requests", "ruamel.yaml", "rich.progress", "rich.table"),
    "cookiecutter.main",
)
# Programs of their own, which a command starts and does not import.
NOT_IMPORTED = ("edge_tasks.emulator", "edge_tasks.serving", "edge_tasks.main")
SERVICES = ("job", "model", "endpoint", "prediction", "pipeline", "metadata", "tensorboard")


@dataclass
class Running:
    """A command, and who waits for it."""

    pid: int
    connection: socket.socket


def main(address: str) -> dict[str, Any]:
    """Import, then fork for each order. Returns in the forked processes only, each with its order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _import_all()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    os.write(1, b"ready\n")
    return _forked(listener, address)


def _import_all() -> None:
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import edge_tasks

    for module in pkgutil.walk_packages(edge_tasks.__path__, "edge_tasks."):
        if not module.name.startswith(NOT_IMPORTED) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from edge_tasks.cloud import vertex_sdk

    for service in SERVICES:
        vertex_sdk.client_class(service)


def _forked(listener: socket.socket, address: str) -> dict[str, Any]:
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ)
    watched.register(0, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            running = key.data
            if key.fileobj == 0:
                folder = Path(address).parent
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # another one is in use
                    folder.parent.rmdir()
                os._exit(0)
            elif key.fileobj is listener:
                order = _accept(listener, watched)
                if order is not None:
                    return order
            elif key.fileobj is running.connection:
                _pass_on(running)
            else:
                _finish(key.fd, running, watched)


def _accept(listener: socket.socket, watched: selectors.BaseSelector) -> dict[str, Any] | None:
    """Take an order and fork; return the order in the forked process, nothing in this one."""
    connection, _ = listener.accept()
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    body = bytearray()
    while len(body) < int.from_bytes(head, "little"):
        body += connection.recv(1 << 20)
    order: dict[str, Any] = json.loads(body.decode("utf-8", "surrogateescape"))
    pid = os.fork()
    if pid == 0:
        watched.close()
        listener.close()
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
        for file in files:
            os.close(file)
        return order
    for file in files:
        os.close(file)
    running = Running(pid, connection)
    watched.register(connection, selectors.EVENT_READ, running)
    watched.register(os.pidfd_open(pid), selectors.EVENT_READ, running)
    return None


def _pass_on(running: Running) -> None:
    """Send a command the signals that its stand-in was sent; without one it has been killed."""
    numbers = running.connection.recv(64)
    for number in numbers or [signal.SIGKILL]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)


def _finish(pidfd: int, running: Running, watched: selectors.BaseSelector) -> None:
    watched.unregister(pidfd)
    os.close(pidfd)
    watched.unregister(running.connection)
    _, status = os.waitpid(running.pid, 0)
    with contextlib.suppress(OSError):
        running.connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
    running.connection.close()


def become(order: dict[str, Any]) -> None:
    """Give this process, newly forked, all that the stand-in has."""
    with contextlib.suppress(OSError):
        os.setpgid(0, order["group"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in order["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.umask(order["umask"])
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    forked_program.draw_anew()


def run(order: dict[str, Any]) -> None:
    """Run the program as the interpreter would."""
    sys.modules["__main__"] = main_module = forked_program.new_main()
    first, kind = order["first"], order["kind"]
    if kind == "file":
        first = str(Path(first).absolute())
    sys.argv = ["-c" if kind == "code" else order["first"], *order["words"]]
    if kind == "module":
        sys.path[0] = order["folder"]
        sys.argv[0] = "-m"
        runpy._run_module_as_main(first)  # type: ignore[attr-defined]
        return
    sys.path[0] = "" if kind == "code" else str(Path(first).resolve().parent)
    source = first
    if kind == "file":
        main_module.__file__ = first
        try:
            source = Path(first).read_text(encoding="utf-8")
        except OSError as error:
            reason = f"[Errno {error.errno}] {error.strerror}"
            sys.stderr.write(f"{sys.executable}: can't open file '{first}': {reason}\n")
            sys.exit(2)
    exec(compile(source, first if kind == "file" else "<string>", "exec"), main_module.__dict__)


if __name__ == "__main__":
    ORDER = main(sys.argv[1])
    become(ORDER)
    forked_program.leave(forked_program.ended(lambda: run(ORDER)))
