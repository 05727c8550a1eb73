"""An environment whose `invoke`, `edge`, `dvc` and `python` are forked."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
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
    if sys.platform != "linux" or os.environ.get("EDGE_TESTS_FORK") == "no":
        return environment
    folders = environment.get("PATH", "").split(os.pathsep)
    folders = [folder for folder in folders if not folder.startswith(str(_folder()))]
    if str(BIN) not in folders:
        return environment
    chosen = {key: value for key, value in environment.items() if key.startswith(_READ_AT_IMPORT)}
    programs = _programs(tuple(sorted(chosen.items())))
    if programs is None:
        return environment
    folders.insert(folders.index(str(BIN)), str(programs))
    return {**environment, "PATH": os.pathsep.join(folders)}


def forked(*command: str | Path, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return a command and its environment so that it is forked, also if it is the path of a program of this Python."""
    environment = with_forks(environment)
    program = Path(command[0])
    if program.parent == BIN and program.name in PROGRAMS:
        program = Path(shutil.which(program.name, path=environment["PATH"]) or program)
    return [str(program), *map(str, command[1:])], environment


@functools.cache
def _programs(chosen: tuple[tuple[str, str], ...]) -> Path | None:
    """Start the process to fork from, once in this one, and write the programs that ask it."""
    name = hashlib.sha256(repr(chosen).encode()).hexdigest()[:8]
    folder = _folder() / name
    folder.mkdir()
    socket = folder / "socket"
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
    # It ends with its input, which ends with this process, however that ends.
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(socket)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**kept, **dict(chosen)},
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    with server.stdout as answer:
        if answer.readline() != b"ready\n":
            return None
    atexit.register(_end, server, os.getpid())
    source = (HERE / "command.py").read_text(encoding="utf-8")
    for program in PROGRAMS:
        facts = {"address": str(socket), "program": str(BIN / program), "python": str(BIN / "python"), **_place()}
        text = f"#!{BIN / 'python'} -IS\n{source}\nmain({json.dumps(json.dumps(facts))})\n"
        (folder / program).write_text(text, encoding="utf-8")
        (folder / program).chmod(0o755)
    return folder


def _end(server: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner and server.stdin is not None:
        server.stdin.close()
        server.wait()


@functools.cache
def _folder() -> Path:
    """Return where the programs are written; the processes that they ask remove it at their end."""
    return Path(tempfile.mkdtemp(prefix="edge-fork-"))


def _place() -> dict[str, object]:
    """Return what a fork has of the process that it was forked from, and cannot change."""
    return {
        "session": os.getsid(0),
        "user": os.geteuid(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES},
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS},
    }
