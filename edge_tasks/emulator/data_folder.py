"""The data folder: one emulator at a time, the ports it used last, and where it can be reached."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from edge_tasks import __version__
from edge_tasks.emulator.errors import StartError

FORMAT_VERSION = 1


class DataFolder:
    """A locked data folder. The lock is the kernel's: it is gone when the process is, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock = self._acquire()

    @property
    def _servers_file(self) -> Path:
        return self.path / "servers.json"

    @property
    def _ports_file(self) -> Path:
        return self.path / "ports.json"

    def last_ports(self) -> tuple[int, int, int]:
        """Return the ports (Vertex AI, Cloud Storage, gRPC) used last; 0 when there are none."""
        try:
            ports = json.loads(self._ports_file.read_text())
            return int(ports["vertex"]), int(ports["storage"]), int(ports.get("grpc", 0))
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0, 0

    def announce(self, started: float, vertex_port: int, storage_port: int, grpc_port: int, environments: str) -> None:
        """Write where the servers are, for the programs that look for them."""
        write(self._ports_file, {"vertex": vertex_port, "storage": storage_port, "grpc": grpc_port})
        servers = {
            "pid": os.getpid(),
            "started": started,
            "data": str(self.path),
            "vertex_url": f"http://127.0.0.1:{vertex_port}",
            "storage_url": f"http://127.0.0.1:{storage_port}",
            "grpc_address": f"127.0.0.1:{grpc_port}",
            "environments": environments,
            "prefix": sys.prefix,
            "release": __version__,
            "version": FORMAT_VERSION,
        }
        write(self._servers_file, servers)

    def announce_environments(self, kind: str) -> None:
        """Write that jobs and models get another kind of environments from now on."""
        # An emulator that is being stopped has withdrawn it.
        with contextlib.suppress(FileNotFoundError):
            card = json.loads(self._servers_file.read_text())
            write(self._servers_file, {**card, "environments": kind})

    def withdraw(self) -> None:
        """Remove the announcement: also one that an emulator which was killed has left."""
        self._servers_file.unlink(missing_ok=True)

    def release(self) -> None:
        """Let the next emulator in."""
        self._lock.close()

    def _acquire(self) -> IO[bytes]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("ab")
        except OSError as error:
            raise StartError(
                f"the data folder {self.path} cannot be used: {error.strerror}",
                "choose a folder that you can write to: --data DIR",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StartError(
                f"another emulator runs with the data folder {self.path}{self._who()}",
                "stop it first, or start this one with another folder: --data DIR",
            ) from None
        return lock

    def _who(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            servers = json.loads(self._servers_file.read_text())
            return f" (pid {servers['pid']}, {servers['vertex_url']})"
        return ""


def check_new(file: Path, what: str, *folders: Path) -> None:
    """Raise StartError when `file`, which is new or empty, is to tell of what lies in `folders`: it was lost.

    What it does not tell of would be removed.
    """
    for folder in folders:
        if folder.is_dir() and any(path.is_file() for path in folder.rglob("*")):
            raise StartError(
                f"{what} cannot be opened: {file}: it is missing or empty, and there are files in {folder}",
                "put it back from a copy, or start with another data folder: --data DIR",
            )


def remove_others(folder: Path, kept: Collection[str]) -> None:
    """Remove the subfolders that nothing in the store belongs to."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def write(path: Path, value: Any) -> None:
    """Write a value as JSON so that a reader sees all of it or nothing."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value) + "\n")
    new.replace(path)
