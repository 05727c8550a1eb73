"""Processes that are forked from one that has imported their libraries, instead of starting an interpreter each.

A fork has what takes an interpreter seconds: `fork_server` is the process to fork from, `forked_program` what a fork
does first. Whatever keeps one from being had is a ForkError, and the program is started by itself then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from edge_tasks.emulator.runtime import early_start, processes
from edge_tasks.emulator.runtime.early_start import CAN_FORK, EarlyServer
from edge_tasks.emulator.runtime.fork_order import Order
from edge_tasks.emulator.runtime.watchers import MARK, ROOT, clean_environment
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from edge_tasks.emulator.runtime.environments import Environment
    from edge_tasks.emulator.store.database import Database

LOG = logging.getLogger(__name__)
ROLE = "fork server"
SECONDS_TO_START = 20.0
# The first order for a library waits until it is imported.
SECONDS_TO_FORK = 120.0
SECONDS_BETWEEN_LOOKS = 1.0
# What surely fits into the buffer of a socket.
LARGEST_ORDER = 64 * 1024


class ForkError(Exception):
    """The fork server is not there, or did not fork."""


@dataclass(frozen=True)
class Interpreter:
    """What runs a program: the emulator's own Python, or that of an isolated environment."""

    python: str
    # Where the fork server finds the modules of the emulator, and no others.
    root: str
    name: str = early_start.NAME
    # Whose packages may be installed, upgraded and removed while the emulator runs; an isolated environment stays.
    changes: bool = False

    @classmethod
    def of(cls, environment: Environment, root: Path) -> Interpreter:
        """Return that of an environment, in which nothing of ours is installed."""
        return cls(str(environment.python), str(root), f"python-{environment.folder.name}")


SHARED_INTERPRETER = Interpreter(sys.executable, str(ROOT), changes=True)


class Forks:
    """The fork servers of an emulator, one for each interpreter; `early` is one that runs already."""

    def __init__(self, database: Database, early: EarlyServer | None = None) -> None:
        self._database = database
        self._servers: dict[str, ForkServer] = {}
        if early is not None:
            self._server(SHARED_INTERPRETER).take_over(early)

    def prepare(self, interpreter: Interpreter, modules: Sequence[str]) -> None:
        """Let modules be imported in the background, for those who are about to be started."""
        if CAN_FORK:
            self._server(interpreter).prepare(modules)

    async def start(
        self,
        interpreter: Interpreter,
        order: Order,
        command: Sequence[str],
        *,
        role: str,
        stdout: int,
        stderr: int,
        may_fork: bool = True,
    ) -> processes.Child:
        """Start a process with an order; by `command`, which does the same, where it may not or cannot be forked."""
        if CAN_FORK and may_fork:
            try:
                return await self._server(interpreter).fork(order, role, stdout, stderr)
            except ForkError as error:
                # Started by itself, it tells in its own log what keeps it from starting.
                LOG.warning("%s is started without a fork: %s", role, error)
        return await processes.start(
            command,
            role=role,
            environment=order.environment,
            folder=Path(order.folder),
            database=self._database,
            stdout=stdout,
            stderr=stderr,
        )

    async def stop(self) -> None:
        """End the fork servers; what was forked is ended by its starter."""
        await asyncio.gather(*(server.stop() for server in self._servers.values()))

    def _server(self, interpreter: Interpreter) -> ForkServer:
        if interpreter.name not in self._servers:
            self._servers[interpreter.name] = ForkServer(interpreter, self._database)
        return self._servers[interpreter.name]


class ForkServer:
    """The process to fork from. It starts on demand and comes back when it has died."""

    def __init__(self, interpreter: Interpreter, database: Database) -> None:
        self._interpreter = interpreter
        self._database = database
        self._files = early_start.Files.of(interpreter.name)
        self._child: processes.Child | None = None
        self._starting: asyncio.Task[None] | None = None
        self._packages = _state_of_packages()

    def take_over(self, early: EarlyServer) -> None:
        """Have a process that was started already."""
        self._child = processes.adopt(
            _Early(early.process), early.watch_pipe, role=ROLE, database=self._database, mark=early.mark
        )

    def prepare(self, modules: Sequence[str]) -> None:
        """Start the process unless it runs, and let it import."""

        async def prepared() -> None:
            with contextlib.suppress(ForkError):
                await self._end_if_outdated()
                await asyncio.shield(self._started())
                _give(self._files.socket, Order("", (), {}, "", modules), []).close()

        _background(prepared())

    async def fork(self, order: Order, role: str, stdout: int, stderr: int) -> processes.Child:
        """Fork a process; ForkError when that is not possible."""
        await self._end_if_outdated()
        for last_try in (False, True):
            await asyncio.shield(self._started())
            child = self._child
            try:
                async with time_limit(SECONDS_TO_FORK):
                    return await self._fork(order, role, stdout, stderr)
            except (ForkError, asyncio.TimeoutError) as error:
                if last_try:
                    raise ForkError(f"the fork server does not answer: {error}") from error
                assert child is not None
                await child.stop(0)
        raise AssertionError("unreachable")

    async def stop(self) -> None:
        """End the process."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._child is not None:
            await self._child.stop(0)
        with contextlib.suppress(OSError):
            self._files.socket.unlink()

    async def _end_if_outdated(self) -> None:
        """End a process that may have imported packages which are others by now; what it has forked lives on."""
        if self._interpreter.changes and self._child is not None and self._packages != _state_of_packages():
            await self._child.stop(0)

    def _started(self) -> asyncio.Task[None]:
        """Start the process unless it runs; return what tells that it is ready."""
        running = self._child is not None and self._child.running
        if self._starting is None or (self._starting.done() and not running):
            self._starting = _background(self._start())
        return self._starting

    async def _start(self) -> None:
        child = self._child
        if child is None or not child.running:
            self._child = child = await self._new()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SECONDS_TO_START
        while child.running and loop.time() < deadline:
            if self._files.socket.exists():
                return
            await asyncio.sleep(0.005)
        await child.stop(0)
        raise ForkError(f"the fork server did not start; see {self._files.log.resolve()}")

    async def _new(self) -> processes.Child:
        try:
            self._files.clear(Path.cwd())
        except OSError as error:
            raise ForkError(str(error)) from error
        self._packages = _state_of_packages()
        with self._files.log.open("wb") as output:
            return await processes.start(
                [self._interpreter.python, str(early_start.PROGRAM), self._interpreter.root, str(self._files.socket)],
                role=ROLE,
                environment=clean_environment(),
                folder=Path.cwd(),
                database=self._database,
                stdout=output.fileno(),
                stderr=subprocess.STDOUT,
            )

    async def _fork(self, order: Order, role: str, stdout: int, stderr: int) -> processes.Child:
        mark = secrets.token_hex(8)
        read_end, watch_pipe = os.pipe()
        try:
            marked = order._replace(environment={**order.environment, MARK: mark}, mark=mark)
            connection = _give(self._files.socket, marked, [stdout, stderr, read_end])
            loop = asyncio.get_running_loop()
            _, forked = await loop.create_unix_connection(lambda: _Forked(order.supervised), sock=connection)
            await forked.started
        except BaseException:
            # Its watcher ends a process that was forked all the same.
            os.close(watch_pipe)
            raise
        finally:
            os.close(read_end)
        return processes.adopt(forked, watch_pipe, role=role, database=self._database, mark=mark)


def _state_of_packages() -> dict[str, int]:
    """Return what changes when pip or uv installs, upgrades or removes a package for this interpreter."""
    state = {}
    for place in map(Path, sys.path):
        if place.name in ("site-packages", "dist-packages"):
            with contextlib.suppress(OSError):
                state[str(place)] = place.stat().st_mtime_ns
    return state


class _Early:
    """A process that asyncio has not started: `processes.Process`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait for its end."""
        return await asyncio.to_thread(self._process.wait)


def _background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin some work; who waits for it has its exception, and there may be nobody."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


def _give(path: Path, order: Order, descriptors: list[int]) -> socket.socket:
    """Send an order with its descriptors. This waits for nobody: an order fits into the socket's buffer."""
    text = order.to_json()
    if len(text) > LARGEST_ORDER:
        raise ForkError("its arguments and variables are too long")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(str(path))
        socket.send_fds(connection, [text], descriptors)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        connection.close()
        raise ForkError(str(error)) from error
    return connection


class _Forked(asyncio.Protocol):
    """A process that is not our child: its connection says which one it is, that it has ended, and, supervised, how."""

    def __init__(self, supervised: bool = False) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Of one that is supervised and tells nothing, only SIGKILL can be the cause.
        self._untold = -signal.SIGKILL if supervised else 0
        self._ended = asyncio.Event()
        self._told = bytearray()

    async def wait(self) -> int:
        """Wait for the end.

        The fork server may have been stopped just when it had forked, and then holds the connection open, too: so the
        process itself is looked at as well.
        """
        while not await self._ends():
            # What it has told before is read first.
            if not psutil.pid_exists(self.pid) and not await self._ends():
                self._end(self._untold)
        assert self.returncode is not None
        return self.returncode

    async def _ends(self) -> bool:
        """Say whether it has ended, after some waiting."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(SECONDS_BETWEEN_LOOKS):
                await self._ended.wait()
        return self._ended.is_set()

    def data_received(self, data: bytes) -> None:
        self._told += data
        *numbers, rest = self._told.split(b"\n")
        self._told = bytearray(rest)
        for number in map(int, numbers):
            if self.started.done():
                self._end(number)
            else:
                self.pid = number
                self.started.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.started.done():
            self.started.set_exception(ForkError("it closed the connection"))
        self._end(self._untold)

    def _end(self, status: int) -> None:
        if not self._ended.is_set():
            self.returncode = status
            self._ended.set()
