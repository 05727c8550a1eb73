"""How the process of a model server comes to be: by a fork, started again, or in a container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import precondition
from edge_tasks.emulator.http.server import bind
from edge_tasks.emulator.runtime import docker, early_start, processes
from edge_tasks.emulator.runtime.environments import Environments, MakeError
from edge_tasks.emulator.runtime.fork_order import Order
from edge_tasks.emulator.runtime.forks import SHARED_INTERPRETER, Forks, Interpreter
from edge_tasks.emulator.runtime.images import BY_NAME
from edge_tasks.emulator.runtime.job_environment import expand
from edge_tasks.emulator.runtime.watchers import ROOT, clean_environment
from edge_tasks.emulator.serving import program_files

if TYPE_CHECKING:
    from collections.abc import Collection

    from edge_tasks.emulator.serving.plan import Address, CustomContainer, ServerPlan
    from edge_tasks.emulator.store.database import Database

# https://man7.org/linux/man-pages/man7/unix.7.html: the abstract socket namespace is Linux's own.
HAS_NAMES_WITHOUT_FILES = sys.platform == "linux"
ATTEMPTS_TO_GET_A_PORT = 100
# What every server needs; uvloop is not there on every platform.
SERVER = (
    *("httptools", "orjson", "uvloop", "edge_tasks.serving.joining", "edge_tasks.serving.server"),
    "edge_tasks.emulator.serving.pickled",
)


class Launcher:
    """Starts the processes of model servers."""

    def __init__(self, database: Database, engine: docker.Docker, environments: Environments, forks: Forks) -> None:
        self._database = database
        self._engine = engine
        self._environments = environments
        self._ports = _Ports()
        self._forks = forks
        self._used: set[str] = set()

    def prepare(self, frameworks: Collection[str]) -> None:
        """Let the frameworks of the deployed models be imported in the background."""
        # An isolated one is known only when its environment is there.
        self._use([] if self._environments.isolated else frameworks)
        if self._used:
            self._forks.prepare(SHARED_INTERPRETER, _preloaded(*self._used))

    def _use(self, frameworks: Collection[str]) -> None:
        self._used.update(frameworks)
        early_start.note(_preloaded(*self._used) if self._used else ())

    async def start(self, plan: ServerPlan, output: int) -> tuple[processes.Child, Address]:
        """Start the process of a model server, with `output` as its log, and return where it will listen."""
        container = plan.container
        if container is None and plan.built is not None and await self._engine.has(plan.built.image):
            container = plan.built
        if container is not None:
            return await self._start_container(plan, container, output)
        interpreter = await self._interpreter(plan, output)
        module, *arguments = _program(plan)
        environment = clean_environment() | plan.environment | {"PYTHONPATH": str(_own_path(plan))}
        if interpreter is SHARED_INTERPRETER and not plan.own_interpreter:
            self._use([plan.framework])
        order = Order(module, arguments, environment, str(Path.cwd()), _preloaded(plan.framework))
        command = [interpreter.python, "-m", module, *arguments]
        child = await self._forks.start(
            interpreter,
            order,
            command,
            role=plan.role,
            stdout=output,
            stderr=output,
            may_fork=not plan.own_interpreter,
        )
        return child, str(plan.socket)

    async def _interpreter(self, plan: ServerPlan, output: int) -> Interpreter:
        """Return what runs the server; what is not as in its image is told in the server's log."""
        if plan.contents is None:
            return SHARED_INTERPRETER
        try:
            environment = await asyncio.to_thread(self._environments.ensure, plan.contents)
        except MakeError as error:
            raise precondition(f"The environment of the model server cannot be made. {error}") from error
        if environment.notice:
            os.write(output, f"{environment.notice}\n".encode())
        return Interpreter.of(environment, program_files.folder(Path.cwd(), "prebuilt"))

    async def _start_container(
        self, plan: ServerPlan, container: CustomContainer, output: int
    ) -> tuple[processes.Child, Address]:
        try:
            image = await self._engine.image(container.image)
        except docker.DockerError as error:
            raise precondition(f"The image {container.image} cannot be run here: {error}.") from error
        port = self._ports.take(container.port)
        # Nothing here listens beyond this machine; our own image can be told so.
        environment = plan.environment | {"AIP_HTTP_PORT": str(port), "EDGE_SERVING_HOST": "127.0.0.1"}
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
    return ["edge_tasks.emulator.serving.prebuilt", plan.framework, str(plan.artifacts), str(plan.socket)]


def _own_path(plan: ServerPlan) -> Path:
    """Return where a server finds the modules of ours: in an isolated environment those that it has in its image."""
    return ROOT if plan.contents is None else program_files.folder(Path.cwd(), plan.framework)


def _preloaded(*frameworks: str) -> tuple[str, ...]:
    """Return what the servers of frameworks import; what else a model needs it imports by itself."""
    own = (module for framework in sorted(frameworks) for module in BY_NAME[framework].preloaded)
    return tuple(dict.fromkeys((*own, *SERVER)))
