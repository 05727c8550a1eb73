"""Containers, when there is a Docker engine on this machine: made and ended with the `docker` program.

A container shares the network of this machine (`--network host`, which Docker Desktop has to be told to allow), since
nothing here listens beyond 127.0.0.1: in it the emulator is where it is for everybody else. The program's process is a
child like any other: what the container prints it prints, with the container's status it ends, and SIGTERM it passes
on. When the emulator is killed, the child's watcher ends the container. Containers carry a label, too, by which those
that were left behind all the same, such as by a machine that lost its power, are found at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.runtime import processes, watchers
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_tasks.emulator.store.database import Database

SECONDS_TO_ANSWER = 10.0
SECONDS_TO_PULL = 3600.0
DATA_LABEL = "vertex-emulator.data"
RUN_LABEL = "vertex-emulator.run"
# What tells the program which engine to use, and who may.
OWN_VARIABLES = ("HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
NO_DOCKER = "there is no `docker` program on the PATH"


class DockerError(Exception):
    """There is no engine, or it does not do what it was asked for."""


@dataclass(frozen=True)
class Image:
    """An image that is on this machine."""

    uri: str
    environment: Mapping[str, str]
    # Whom its program runs as; empty for root.
    user: str = ""


@dataclass(frozen=True)
class Run:
    """How a container is run: `command` takes the place of the image's entrypoint, `arguments` that of its command."""

    image: str
    command: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    # Paths of this machine, by where they are seen in the container.
    mounts: Mapping[str, Path] = field(default_factory=dict)


def is_installed() -> bool:
    """Whether there is a `docker` program; whether there is an engine only the engine can tell."""
    return shutil.which("docker") is not None


class Docker:
    """The engine, for the emulator of one data folder."""

    def __init__(self, data: Path, database: Database) -> None:
        self._database = database
        self._folder = data
        self._data_label = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]
        self._run_label = secrets.token_hex(8)

    async def image(self, uri: str) -> Image:
        """Return an image, pulled unless it is here; DockerError when that is not possible."""
        inspect = ("image", "inspect", "--format", "{{json .Config}}", uri)
        await self.check()
        try:
            text = await self._ask(*inspect)
        except DockerError:
            await self._ask("pull", "--quiet", uri, seconds=SECONDS_TO_PULL)
            text = await self._ask(*inspect)
        config: dict[str, Any] = json.loads(text or "null") or {}
        pairs: list[str] = config.get("Env") or []
        environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return Image(uri, environment, config.get("User") or "")

    async def has(self, uri: str) -> bool:
        """Whether an image is on this machine; nothing is pulled."""
        if not is_installed():
            return False
        try:
            await self._ask("image", "inspect", "--format", "{{.Id}}", uri)
        except DockerError:
            return False
        return True

    async def start(self, name: str, run: Run, *, role: str, stdout: int, stderr: int) -> processes.Child:
        """Start a container whose image is here."""
        return await processes.start(
            ["docker", *self._arguments(name, run)],
            role=role,
            environment={**_environment(), watchers.CONTAINER: name},
            folder=self._folder,
            database=self._database,
            stdout=stdout,
            stderr=stderr,
            make=functools.partial(Container, docker=self, name=name),
            command_line=watchers.SUPERVISED_CONTAINER,
        )

    async def remove(self, *names: str) -> None:
        """End containers at once; those that are gone are not an error."""
        with contextlib.suppress(DockerError):
            await self._ask("rm", "--force", "--volumes", *names)

    async def remove_left_overs(self) -> None:
        """End the containers that an earlier emulator of the same data folder has left behind."""
        if not is_installed():
            return
        listing = ("ps", "--all", "--filter", f"label={DATA_LABEL}={self._data_label}", "--format")
        with contextlib.suppress(DockerError):
            lines = await self._ask(*listing, f'{{{{.ID}}}} {{{{.Label "{RUN_LABEL}"}}}}')
            found = [line.split() for line in lines.splitlines()]
            left = [words[0] for words in found if words and words[-1] != self._run_label]
            if left:
                await self.remove(*left)

    async def check(self) -> None:
        """Refuse to continue without an engine that answers, with DockerError."""
        if not is_installed():
            raise DockerError(NO_DOCKER)
        try:
            await self._ask("version", "--format", "{{.Server.Version}}")
        except DockerError as error:
            raise DockerError(f"the Docker engine does not answer: {error}") from None

    def _arguments(self, name: str, run: Run) -> list[str]:
        labels = (f"{DATA_LABEL}={self._data_label}", f"{RUN_LABEL}={self._run_label}")
        # Variables stand on the command line, since a file of them could not hold lines.
        return [
            *("run", "--rm", "--name", name, "--network", "host"),
            *(word for label in labels for word in ("--label", label)),
            *(word for item in run.environment.items() for word in ("--env", "=".join(item))),
            *(word for inside, path in run.mounts.items() for word in ("--volume", f"{path.resolve()}:{inside}")),
            *(("--entrypoint", run.command[0]) if run.command else ()),
            run.image,
            *run.command[1:],
            *run.arguments,
        ]

    async def _ask(self, *arguments: str, seconds: float = SECONDS_TO_ANSWER) -> str:
        """Return what `docker` prints; DockerError with its last line when it fails."""
        try:
            process = await asyncio.create_subprocess_exec(
                "docker",
                *arguments,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise DockerError(str(error)) from error
        try:
            async with time_limit(seconds):
                output, errors = await process.communicate()
        except asyncio.TimeoutError:
            raise DockerError(f"`docker {arguments[0]}` has not ended within {seconds:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = errors.decode(errors="replace").strip().splitlines()
            raise DockerError(lines[-1] if lines else f"`docker {arguments[0]}` ended with {process.returncode}")
        return output.decode(errors="replace")


class Container(processes.Child):
    """A container, by the `docker run` that is attached to it."""

    def __init__(self, *arguments: Any, docker: Docker, name: str) -> None:
        super().__init__(*arguments)
        self._docker = docker
        self._name = name

    async def stop(self, grace: float) -> None:
        """End the container: SIGTERM is passed on to it, and it is removed when that is not enough."""
        await super().stop(grace)
        await self._docker.remove(self._name)


def _environment() -> dict[str, str]:
    own = {name: os.environ[name] for name in OWN_VARIABLES if name in os.environ}
    return watchers.clean_environment() | own
