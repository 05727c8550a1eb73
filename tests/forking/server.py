"""The program that others are forked from: it imports what they import, and never computes.

    python server.py FOLDER NAME

NAME says what is forked: commands, emulators, the fork servers of these, or gcloud. FOLDER is where the stand-ins are,
and where it listens, by its name.

A connection is one process: its order as JSON with the files 0, 1, 2; then the numbers of signals that it is sent. It
answers with the process's number, or closes the connection if it cannot fork; then with its exit status. Who closes
the connection before has been killed, and so is the process. It ends with its input.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import selectors
import shutil
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Sequence
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
OF_EMULATORS = (
    *("edge_tasks.emulator.emulator", "edge_tasks.emulator.snapshots", "grpc.aio", "uvloop", "cryptography.x509"),
    *("cryptography.hazmat.primitives.serialization", "cryptography.hazmat.backends.openssl.backend"),
)
# What emulators ask their fork servers for; tests/test_forking.py looks there.
OF_FORK_SERVERS = (
    *("joblib", "sklearn.compose", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "sklearn.datasets"),
    *("sklearn.model_selection", "sklearn.metrics", "sklearn.preprocessing", "sklearn.svm", "pandas", "sacred"),
    *("google.cloud.storage", "google.auth.transport.requests", "ruamel.yaml", "yaml", "pydantic.main"),
    *("pydantic.dataclasses", "pydantic.json_schema", "pydantic.types", "termios", "httptools", "orjson", "uvloop"),
    *("edge_tasks.emulator.runtime.pip_shim", "edge_tasks.serving.joining", "edge_tasks.serving.server"),
    *("edge_tasks.emulator.serving.pickled", "edge_tasks.serving.predictor_model"),
    # What they import themselves.
    *("edge_tasks.emulator.runtime.forked_program", "edge_tasks.emulator.runtime.gcs_mount"),
)
# What the commands of gcloud import that tests run; each of its commands is compiled when it is run.
OF_GCLOUD = (
    *("api_lib.ai", "api_lib.storage", "api_lib.util", "command_lib.ai", "command_lib.storage", "core", "calliope"),
    *("generated_clients.apis.aiplatform", "generated_clients.apis.storage", "generated_clients.apis.logging"),
)
OURS = os.environ.get("PYTHONPATH")
PR_SET_MM, PR_SET_MM_MAP = 35, 14
SHOWN_BY_NAME = ("emulators", "fork-servers")
_kept: list[Any] = []


@dataclass
class Running:
    """A command, and who waits for it."""

    pid: int
    connection: socket.socket
    # Whether it has no use without this process.
    ends_with_us: bool


def main(folder: str, name: str) -> dict[str, Any]:
    """Import, then fork for each order. Returns in the forked processes only, each with its order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, name))
    listener.listen(64)
    # Who connects from now on waits for the imports.
    os.write(1, b"ready\n")
    os.dup2(2, 1)
    packages = state_of_packages()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.disable()
        {
            "commands": _import_for_commands,
            "emulators": _import_for_emulators,
            "fork-servers": _import_for_fork_servers,
            "gcloud": _import_for_gcloud,
        }[name](folder)
        # It looks for the file of every module and keeps it; Sacred looks for each experiment.
        inspect.stack()
        gc.enable()
    gc.collect()
    gc.freeze()
    return _forked(listener, folder, packages)


def _import(names: Sequence[str]) -> None:
    """Import; what cannot be is left to those who need it."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _import_for_emulators(folder: str) -> None:
    _import(OF_EMULATORS)
    from edge_tasks.emulator.runtime import early_start

    # Their fork servers are forked, too.
    early_start.PROGRAM = Path(folder) / early_start.PROGRAM.name


def _import_for_fork_servers(_: str) -> None:
    folders = list(sys.path)
    _import(OF_FORK_SERVERS)
    # Jobs are to find what they would find if nothing had been imported.
    sys.path[:] = folders


def _import_for_commands(folder: str) -> None:
    # What they start by it is forked, too.
    sys.executable = os.path.join(folder, "python")
    _import(MODULES)
    import edge_tasks

    for module in pkgutil.walk_packages(edge_tasks.__path__, "edge_tasks."):
        if not module.name.startswith(NOT_IMPORTED) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from edge_tasks.cloud import vertex_sdk

    for service in SERVICES:
        vertex_sdk.client_class(service)


def _import_for_gcloud(_: str) -> None:
    """Import what gcloud brings along; this interpreter knows, by -S, nothing else but Python's own modules."""
    gcloud = Path(shutil.which("gcloud") or "/nowhere").resolve().parent.parent / "lib"
    sys.path[:] = [str(gcloud / "third_party"), str(gcloud), *(folder for folder in sys.path if folder != OURS)]
    _import(["googlecloudsdk.gcloud_main"])
    for name in OF_GCLOUD:
        package = f"googlecloudsdk.{name}"
        folder = gcloud / package.replace(".", "/")
        _import([package, *(module.name for module in pkgutil.walk_packages([str(folder)], f"{package}."))])


def state_of_packages() -> list[int]:
    """Return what changes when a package is installed or removed."""
    return [os.stat(folder).st_mtime_ns for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))]


def _forked(listener: socket.socket, folder: str, packages: list[int]) -> dict[str, Any]:
    watched = selectors.DefaultSelector()
    watched.register(listener, selectors.EVENT_READ)
    watched.register(0, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            running = key.data
            if key.fileobj == 0:
                _end(watched)
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # another one is in use
                    os.rmdir(os.path.dirname(folder))
                os._exit(0)
            elif key.fileobj is listener:
                order = _accept(listener, watched, packages)
                if order is not None:
                    return order
            elif key.fileobj is running.connection:
                _pass_on(running)
            else:
                _finish(key.fd, running, watched)


def _accept(listener: socket.socket, watched: selectors.BaseSelector, packages: list[int]) -> dict[str, Any] | None:
    """Take an order and fork; return the order in the forked process, nothing in this one."""
    connection, _ = listener.accept()
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    body = bytearray()
    while len(body) < int.from_bytes(head, "little"):
        body += connection.recv(1 << 20)
    order: dict[str, Any] = json.loads(body.decode("utf-8", "surrogateescape"))
    if order["server"] == "fork-servers" and packages != state_of_packages():
        # What jobs import may be another version by now.
        for file in (*files, connection.detach()):
            os.close(file)
        return None
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
    with contextlib.suppress(OSError):
        connection.sendall(pid.to_bytes(4, "little"))
    running = Running(pid, connection, order["server"] == "fork-servers")
    watched.register(connection, selectors.EVENT_READ, running)
    watched.register(os.pidfd_open(pid), selectors.EVENT_READ, running)
    return None


def _pass_on(running: Running) -> None:
    """Send a command the signals that its stand-in was sent; without one it has been killed."""
    if running.connection.fileno() < 0:  # it has ended in the same moment
        return
    try:
        numbers = running.connection.recv(64)
    except ConnectionError:
        numbers = b""
    for number in numbers or [signal.SIGKILL]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)


def _end(watched: selectors.BaseSelector) -> None:
    """Kill what is of no use to anybody."""
    for key in watched.get_map().values():
        if key.data and key.data.ends_with_us:
            with contextlib.suppress(ProcessLookupError):
                os.kill(key.data.pid, signal.SIGKILL)


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
    if order["group"]:
        with contextlib.suppress(OSError):
            os.setpgid(0, order["group"])
    else:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in order["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.umask(order["umask"])
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    if order["server"] in SHOWN_BY_NAME:
        show(order["shown"])
    forked_program.draw_anew()


def show(words: Sequence[str]) -> None:
    """Let lists of processes show other words for this one: https://man7.org/linux/man-pages/man2/pr_set_mm.2const.html."""
    text = ctypes.create_string_buffer(b"\0".join(os.fsencode(word) for word in words))
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    with open("/proc/self/stat", "rb") as file:
        # From the third on; the second may hold anything.
        fields = [0, 0, 0, *file.read().rpartition(b")")[2].split()]
    code, data, start_of_heap, stack, environment = fields[26:28], fields[45:47], fields[47], fields[28], fields[50:52]
    here = ctypes.addressof(text)
    places = (*code, *data, start_of_heap, libc.sbrk(0), stack, here, here + len(text), *environment)
    table = struct.pack("=12QIi", *map(int, places), 0, 0, -1)
    libc.prctl(PR_SET_MM, PR_SET_MM_MAP, table, ctypes.c_ulong(len(table)), ctypes.c_ulong(0))
    _kept.append(text)


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
            sys.stderr.write(f"{order['python']}: can't open file '{first}': {reason}\n")
            sys.exit(2)
    exec(compile(source, first if kind == "file" else "<string>", "exec"), main_module.__dict__)


if __name__ == "__main__":
    ORDER = main(*sys.argv[1:])
    become(ORDER)
    forked_program.leave(forked_program.ended(lambda: run(ORDER)))
