"""How the process of a model server comes to be: by a fork, started again, or in a container."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from edge_tasks.emulator.errors import precondition
from edge_tasks.emulator.http.server import bind
from edge_tasks.emulator.runtime import docker, processes
from edge_tasks.emulator.runtime.job_environment import expand
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from edge_tasks.emulator.serving.plan import Address, CustomContainer, ServerPlan
    from edge_tasks.emulator.store.database import Database

# macOS's own libraries do not survive a fork: https://github.com/python/cpython/issues/77906.
CAN_FORK = sys.platform == "linux"
# https://man7.org/linux/man-pages/man7/unix.7.html: the abstract socket namespace is Linux's own.
HAS_NAMES_WITHOUT_FILES = sys.platform == "linux"
SECONDS_TO_IMPORT = 120.0
SECONDS_TO_FORK = 10.0
SECONDS_BETWEEN_LOOKS = 1.0
ATTEMPTS_TO_GET_A_PORT = 100
LOG = logging.getLogger(__name__)


class ForkError(Exception):
    """The fork server is not there, or did not fork."""


class Launcher:
    """Starts the processes of model servers."""

    def __init__(self, database: Database, engine: docker.Docker) -> None:
        self._database = database
        self._engine = engine
        self._ports = _Ports()
        self._fork_servers: dict[str, ForkServer] = {}

    def prepare(self, framework: str) -> None:
        """Let a framework be imported in the background: a model that needs it is about to be deployed."""
        if CAN_FORK:
            self._fork_server(framework).prepare()

    async def start(self, plan: ServerPlan, output: int) -> tuple[processes.Child, Address]:
        """Start the process of a model server, with `output` as its log, and return where it will listen."""
        if plan.container is not None:
            return await self._start_container(plan, plan.container, output)
        if CAN_FORK and not plan.own_interpreter:
            try:
                return await self._fork_server(plan.framework).fork(plan, output), str(plan.socket)
            except ForkError as error:
                # Started by itself, the server tells in its log what keeps the framework from being imported.
                LOG.warning("the server of a model is started without a fork: %s", error)
        child = await processes.start(
            [sys.executable, "-m", *_program(plan)],
            role=plan.role,
            environment=_environment(plan),
            folder=Path.cwd(),
            database=self._database,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        return child, str(plan.socket)

    async def _start_container(
        self, plan: ServerPlan, container: CustomContainer, output: int
    ) -> tuple[processes.Child, Address]:
        try:
            image = await self._engine.image(container.image)
        except docker.DockerError as error:
            raise precondition(f"The image {container.image} cannot be run here: {error}.") from error
        port = self._ports.take(container.port)
        environment = plan.environment | {"AIP_HTTP_PORT": str(port)}
        run = docker.Run(
            image.uri,
            [expand(word, environment) for word in container.command],
            [expand(word, environment) for word in container.arguments],
            environment,
        )
        # A container that was ended may take a moment to be gone, with its name.
        name = f"vertex-emulator-{plan.key}-{secrets.token_hex(4)}"
        try:
            child = await self._engine.start(name, run, role=plan.role, stdout=output, stderr=subprocess.STDOUT)
        except BaseException:
            self._ports.give_back(port)
            raise
        self._ports.keep(port, child)
        return child, port

    async def stop(self) -> None:
        """End the fork servers; each model server is ended by its starter."""
        await asyncio.gather(*(server.stop() for server in self._fork_servers.values()))

    def _fork_server(self, framework: str) -> ForkServer:
        if framework not in self._fork_servers:
            self._fork_servers[framework] = ForkServer(framework, self._database)
        return self._fork_servers[framework]


class ForkServer:
    """The process that has imported one framework. It starts on demand and comes back when it has died."""

    def __init__(self, framework: str, database: Database) -> None:
        self._framework = framework
        self._database = database
        self._socket = Path("sockets") / f"{framework}.sock"
        self._child: processes.Child | None = None
        self._starting: asyncio.Task[None] | None = None

    def prepare(self) -> asyncio.Task[None]:
        """Start the process unless it runs; return what tells that it is ready."""
        running = self._child is not None and self._child.running
        if self._starting is None or (self._starting.done() and not running):
            self._starting = asyncio.ensure_future(self._start())
            # The waiting task has the exception; there may be none.
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._starting

    async def fork(self, plan: ServerPlan, output: int) -> processes.Child:
        """Fork a model server; ForkError when that is not possible."""
        for last_try in (False, True):
            await asyncio.shield(self.prepare())
            child = self._child
            try:
                async with time_limit(SECONDS_TO_FORK):
                    return await self._fork(plan, output)
            except (ForkError, asyncio.TimeoutError) as error:
                if last_try:
                    raise ForkError(f"the fork server of {self._framework} does not answer: {error}") from error
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
            self._socket.unlink()

    async def _start(self) -> None:
        log = Path("servers") / f"{self._framework}.log"
        try:
            for folder in (self._socket.parent, log.parent):
                folder.mkdir(exist_ok=True)
            for path in (self._socket, Path(f"{self._socket}.new")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise ForkError(str(error)) from error
        with log.open("wb") as output:
            self._child = child = await processes.start(
                [sys.executable, "-m", "edge_tasks.emulator.serving.fork_server", self._framework, str(self._socket)],
                role=f"models of {self._framework}",
                environment=processes.clean_environment() | {"PYTHONPATH": str(processes.ROOT)},
                folder=Path.cwd(),
                database=self._database,
                stdout=output.fileno(),
                stderr=subprocess.STDOUT,
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SECONDS_TO_IMPORT
        while child.running and loop.time() < deadline:
            if self._socket.exists():
                return
            await asyncio.sleep(0.005)
        await child.stop(0)
        raise ForkError(f"{self._framework} was not imported; see {log.resolve()}")

    async def _fork(self, plan: ServerPlan, output: int) -> processes.Child:
        order = {"arguments": _arguments(plan), "environment": _environment(plan)}
        read_end, watch_pipe = os.pipe()
        try:
            connection = _give(self._socket, json.dumps(order).encode(), [output, read_end])
            loop = asyncio.get_running_loop()
            _, forked = await loop.create_unix_connection(_Forked, sock=connection)
            await forked.started
        except BaseException:
            # Its watcher ends a server that was forked all the same.
            os.close(watch_pipe)
            raise
        finally:
            os.close(read_end)
        return processes.adopt(forked, watch_pipe, role=plan.role, database=self._database)


def _give(path: Path, order: bytes, descriptors: list[int]) -> socket.socket:
    """Send an order with its descriptors. This waits for nobody: an order fits into the socket's buffer."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(str(path))
        socket.send_fds(connection, [order], descriptors)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        connection.close()
        raise ForkError(str(error)) from error
    return connection


class _Forked(asyncio.Protocol):
    """A process that is not our child: its connection says which one it is, and that it has ended, not how."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Wait for the end.

        The fork server may have been stopped just when it had forked, and then holds the connection open, too: so the
        process itself is looked at as well.
        """
        while not self._ended.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                async with time_limit(SECONDS_BETWEEN_LOOKS):
                    await self._ended.wait()
            if not psutil.pid_exists(self.pid):
                self._end()
        return 0

    def data_received(self, data: bytes) -> None:
        self.pid = int(data)
        if not self.started.done():
            self.started.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.started.done():
            self.started.set_exception(ForkError("it closed the connection"))
        self._end()

    def _end(self) -> None:
        self.returncode = 0
        self._ended.set()


class _Ports:
    """The ports that containers were given: one may take its time until it listens."""

    def __init__(self) -> None:
        self._given: dict[int, _Given] = {}

    def take(self, wanted: int) -> int:
        """Return the wanted port if nobody has it, else one that is free."""
        for port, given in list(self._given.items()):
            if given.child is not None and not given.child.running:
                self.give_back(port)
        for _ in range(ATTEMPTS_TO_GET_A_PORT):
            for port in (wanted, 0):
                with contextlib.suppress(OSError), bind(port) as listener:
                    taken = int(listener.getsockname()[1])
                    self._given[taken] = _Given(_claim(taken))
                    return taken
        raise precondition("There is no free port for the container.")

    def keep(self, port: int, child: processes.Child) -> None:
        """Leave a port to a container for as long as it runs."""
        self._given[port].child = child

    def give_back(self, port: int) -> None:
        """Let others have a port."""
        self._given.pop(port).claim.close()


@dataclass
class _Given:
    """A port that was given away, and what keeps the emulators from giving it again."""

    claim: socket.socket
    child: processes.Child | None = None


def _claim(port: int) -> socket.socket:
    """Claim a port among all emulators of this machine until the socket is closed; OSError when another has it.

    A name that no file stands for lasts as long as its process, and has the scope of the ports: the network namespace.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        if HAS_NAMES_WITHOUT_FILES:
            claim.bind(f"\0vertex-emulator-port-{port}")
    except OSError:
        claim.close()
        raise
    return claim


def _program(plan: ServerPlan) -> list[str]:
    """Return the module that stands for the plan's image, and its arguments."""
    if plan.framework == "predictor":
        # The image's own program, told where the copy of the artifact lies.
        return ["edge_tasks.serving", "--artifacts", str(plan.artifacts), "--socket", str(plan.socket)]
    return ["edge_tasks.emulator.serving.prebuilt", *_arguments(plan)]


def _arguments(plan: ServerPlan) -> list[str]:
    return [plan.framework, str(plan.artifacts), str(plan.socket)]


def _environment(plan: ServerPlan) -> dict[str, str]:
    return processes.clean_environment() | plan.environment | {"PYTHONPATH": str(processes.ROOT)}
