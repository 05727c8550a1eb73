"""An environment whose `invoke`, `edge`, `dvc` and `python` are forked."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import edge_tasks
from edge_tasks.emulator.runtime import early_start

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
OF_EMULATORS = ("emulators", "fork-servers")
SERVERS = ("commands", *OF_EMULATORS)
PROGRAMS = ("invoke", "edge", "dvc", "cookiecutter", "python", "python3")

# What libraries read when they are imported: commands that differ in these are forked from different processes.
_READ_AT_IMPORT = (
    *("LANG", "LANGUAGE", "TZ", "LC_", "NO_GCE_CHECK", "GCE_METADATA", "GCSFS_", "FSSPEC_", "SKLEARN_", "SACRED_"),
    *("OMP_", "OPENBLAS_", "MKL_", "GRPC_", "PROTOCOL_BUFFERS_", "GOOGLE_API_", "MPL"),
)
_NAMESPACES = ("net", "mnt", "user", "pid")
_LIMITS = ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CPU", "RLIMIT_CORE")


def with_forks(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment with the forked programs on its PATH, in front of those that they stand for."""
    if not _may_fork():
        return environment
    folders = environment.get("PATH", "").split(os.pathsep)
    folders = [folder for folder in folders if not folder.startswith(str(_folder()))]
    if str(BIN) not in folders:
        return environment
    programs = _programs_for(environment, SERVERS)
    if programs is None:
        return environment
    folders.insert(folders.index(str(BIN)), str(programs))
    return {**environment, "PATH": os.pathsep.join(folders)}


def read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment libraries read when they are imported."""
    return {key: value for key, value in environment.items() if key.startswith(_READ_AT_IMPORT)}


def forked(*command: str | Path, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return a command and its environment so that it is forked, also if it is the path of a program of this Python."""
    environment = with_forks(environment)
    program = Path(command[0])
    if program.parent == BIN and program.name in PROGRAMS:
        program = Path(shutil.which(program.name, path=environment["PATH"]) or program)
    return [str(program), *map(str, command[1:])], environment


@contextlib.contextmanager
def forking_interpreter() -> Iterator[None]:
    """Let this process start its own interpreter by a fork."""
    folder = _programs_for(os.environ, OF_EMULATORS) if _may_fork() else None
    own = sys.executable
    sys.executable = str(folder / "python") if folder else own
    try:
        yield
    finally:
        sys.executable = own


def gcloud_s_interpreter() -> dict[str, str]:
    """Return the variable that lets gcloud be forked; nothing when there is no process to fork from."""
    folder = _programs_for(os.environ, ("gcloud",)) if _may_fork() else None
    return {"CLOUDSDK_PYTHON": str(folder / "python")} if folder else {}


def facts_for(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what is known of the interpreter of a command that starts an emulator, when it is this one."""
    may_fork = _may_fork() and list(words[:3]) == [sys.executable, "-m", "edge_tasks.emulator"]
    folder = _programs_for(environment, OF_EMULATORS) if may_fork else None
    return _facts(folder, BIN / "python") if folder else None


def _may_fork() -> bool:
    return sys.platform == "linux" and os.environ.get("EDGE_TESTS_FORK") != "no"


def _programs_for(environment: Mapping[str, str], servers: Sequence[str]) -> Path | None:
    """Return the folder of the forked programs for an environment; None when there is no process to fork from."""
    chosen = tuple(sorted(read_at_import(environment).items()))
    folder = _programs(chosen)
    started = [_start(server, folder, chosen) for server in servers]
    return folder if all(started) else None


@functools.cache
def _programs(chosen: tuple[tuple[str, str], ...]) -> Path:
    """Write the programs that ask for forks."""
    name = hashlib.sha256(repr(chosen).encode()).hexdigest()[:8]
    folder = _folder() / name
    folder.mkdir()
    source = (HERE / "command.py").read_text(encoding="utf-8")
    for program in PROGRAMS:
        text = f"#!{BIN / 'python'} -IS\n{source}\nmain({json.dumps(json.dumps(_facts(folder, BIN / program)))})\n"
        (folder / program).write_text(text, encoding="utf-8")
        (folder / program).chmod(0o755)
    text = f"{source}\nmain({json.dumps(json.dumps(_facts(folder, early_start.PROGRAM)))})\n"
    (folder / early_start.PROGRAM.name).write_text(text, encoding="utf-8")
    return folder


@functools.cache
def _start(name: str, folder: Path, chosen: tuple[tuple[str, str], ...]) -> bool:
    """Start a process to fork from, once in this one."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
    options = []
    if name == "gcloud":  # it must not meet what is installed here
        options = ["-S"]
        kept["PYTHONPATH"] = str(Path(edge_tasks.__file__).parent.parent)
    # It ends with its input, which ends with this process, however that ends.
    server = subprocess.Popen(
        [sys.executable, *options, str(HERE / "server.py"), str(folder), name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**kept, **dict(chosen)},
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    with server.stdout as answer:
        if answer.readline() != b"ready\n":
            return False
    atexit.register(_end, server, os.getpid())
    return True


def _end(server: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner and server.stdin is not None:
        server.stdin.close()
        server.wait()


@functools.cache
def _folder() -> Path:
    """Return where the programs are written; the processes that they ask remove it at their end."""
    return Path(tempfile.mkdtemp(prefix="edge-fork-"))


def _facts(folder: Path, program: Path) -> dict[str, Any]:
    """Return what is known of a program, and what a fork has of the process that it was forked from."""
    return {
        "folder": str(folder),
        "program": str(program),
        "python": str(BIN / "python"),
        "session": os.getsid(0),
        "user": os.geteuid(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES},
        "limits": {name: list(resource.getrlimit(getattr(resource, name))) for name in _LIMITS},
    }
