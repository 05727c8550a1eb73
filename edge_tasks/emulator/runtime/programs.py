"""What each replica of a job runs: a process of this machine, or a container.

Prebuilt training images and plain python images stand for the local Python environment. Other images run with Docker,
when there is an engine.
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edge_tasks.emulator.errors import ApiError, Code
from edge_tasks.emulator.runtime import docker, image_contents, images, packages, processes, shell_line
from edge_tasks.emulator.runtime.bucket import Storage, parse_uri
from edge_tasks.emulator.runtime.environments import Environments, MakeError
from edge_tasks.emulator.runtime.fork_order import Order
from edge_tasks.emulator.runtime.forks import SHARED_INTERPRETER, Forks
from edge_tasks.emulator.runtime.gcs_folder import GcsFolder, GcsMount
from edge_tasks.emulator.runtime.google_front import BUNDLE_VARIABLE, GoogleFront
from edge_tasks.emulator.runtime.job_environment import (
    CLIENT_HOOK,
    JobFolder,
    Servers,
    add_variables,
    expand,
    local_environment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.store.database import Database

# What most trainings import, of Python packages: see `fork_server` for what that may be.
PRELOADED = (
    *images.SKLEARN.preloaded,
    *("sklearn.datasets", "sklearn.model_selection", "sklearn.metrics", "sklearn.preprocessing", "sklearn.svm"),
    *("pandas", "sacred", "google.cloud.storage", "google.auth.transport.requests", "ruamel.yaml", "yaml"),
    *("pydantic.main", "pydantic.dataclasses", "pydantic.json_schema", "pydantic.types", "termios"),
    "edge_tasks.emulator.runtime.pip_shim",
)
PLAIN_PATH = re.compile(r"[\w@%+=:,./-]+")
# Where a container sees what it is given, and where cloudml-hypertune writes by itself.
HOOK_IN_CONTAINER = "/usr/lib/vertex-emulator/sdk_patch"
BUNDLE_IN_CONTAINER = "/usr/lib/vertex-emulator/google-front.pem"
METRICS_IN_CONTAINER = "/var/hypertune/output.metrics"


class ProgramError(Exception):
    """A replica cannot run what it was asked to run."""

    def __init__(self, message: str, code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


@dataclass(frozen=True)
class LocalProgram:
    """A process of this machine."""

    arguments: list[str]
    environment: Mapping[str, str]
    folder: JobFolder
    gcs: GcsFolder
    database: Database
    forks: Forks = field(repr=False)
    # How it is forked, where it may be; its arguments say the same.
    order: Order | None = None
    # What is not as in its image, for the log.
    notice: str = ""

    async def start(self, role: str, stdout: int, stderr: int) -> processes.Child:
        """Start the process in the job's working directory."""
        if self.order is not None:
            return await self.forks.start(
                SHARED_INTERPRETER, self.order, self.arguments, role=role, stdout=stdout, stderr=stderr
            )
        return await processes.start(
            self.arguments,
            role=role,
            environment=self.environment,
            folder=self.folder.work,
            database=self.database,
            stdout=stdout,
            stderr=stderr,
        )


@dataclass(frozen=True)
class ContainerProgram:
    """A container of an image that is on this machine."""

    name: str
    run: docker.Run
    gcs: GcsFolder
    engine: docker.Docker = field(repr=False)
    notice: str = ""

    async def start(self, role: str, stdout: int, stderr: int) -> processes.Child:
        """Start the container."""
        return await self.engine.start(self.name, self.run, role=role, stdout=stdout, stderr=stderr)


# Something to run, with everything that it names in place.
Program: TypeAlias = LocalProgram | ContainerProgram


class Programs:
    """Makes programs of the specs of worker pools."""

    def __init__(
        self,
        servers: Servers,
        storage: Storage,
        database: Database,
        engine: docker.Docker,
        environments: Environments,
        forks: Forks,
        front: GoogleFront | None = None,
    ) -> None:
        self.servers = servers
        self._environments = environments
        self._storage = storage
        self._database = database
        self._engine = engine
        self._forks = forks
        self._front = front
        self._mount = GcsMount(servers.storage_url)

    async def make(self, name: str, pool: Message, folder: JobFolder, given: Mapping[str, str]) -> Program:
        """Return the program of one replica, called `name`; `given` are the variables that Vertex AI sets."""
        image = pool.container_spec.image_uri or pool.python_package_spec.executor_image_uri
        if self._front is not None:
            given = {**given, **await self._front.variables()}
        try:
            if images.runs_local_python(image):
                return await asyncio.to_thread(self._local, pool, folder, given)
            return await self._container(name, pool.container_spec, folder, given)
        except (packages.PackageError, MakeError, ApiError) as error:
            raise ProgramError(str(error)) from error

    def _local(self, pool: Message, folder: JobFolder, given: Mapping[str, str]) -> LocalProgram:
        is_container = pool.WhichOneof("task") == "container_spec"
        task = pool.container_spec if is_container else pool.python_package_spec
        image = task.image_uri if is_container else task.executor_image_uri
        contents = image_contents.of_training(image) if self._environments.isolated else None
        folder.create(isolated=contents is not None)
        environment = local_environment(folder, given, task.env, contents)
        python, notice = sys.executable, ""
        gcs = GcsFolder(folder.gcs, self._storage)
        if is_container:
            words = [expand(word, environment) for word in [*task.command, *task.args]] or ["python3"]
        else:
            found = self._unpack(list(task.package_uris), folder)
            words = list(task.args)
            if contents is None:
                for each in found:
                    packages.check(each.requirements, f"{each.name} {each.version}", folder.site)
            else:
                wanted = dict.fromkeys(text for each in found for text in each.requirements)
                contents = contents._replace(requirements=tuple(wanted))
        if contents is not None:
            isolated = self._environments.ensure(contents)
            folder.isolate(isolated, contents, self.servers.vertex_url)
            python, notice = str(isolated.python), isolated.notice
        refusal = self._mount.refusal()
        if refusal:
            words, environment = _without_mount(gcs, folder, words, environment, refusal)
        order = None
        # What a library reads of the variables when it is imported would come too late in a fork.
        if contents is None and not task.env:
            step = shell_line.read(words) if is_container else shell_line.ShellLine([], task.python_module, words)
            if step is not None:
                mount = None if refusal else (self.servers.storage_url, str(folder.root))
                pip = [str(folder.site), "", *step.pip] if step.pip else None
                order = Order(
                    step.module, step.arguments, environment, str(folder.work), PRELOADED, mount, pip, supervised=True
                )
        if not is_container:
            words = [python, "-m", task.python_module, *words]
        if not refusal:
            words = self._mount.given(folder.root, words)
        return LocalProgram(words, environment, folder, gcs, self._database, self._forks, order, notice)

    def _unpack(self, uris: list[str], folder: JobFolder) -> list[packages.Distribution]:
        found = []
        for uri in uris:
            location = parse_uri(uri, "package_uris")
            name = location.path.rpartition("/")[2]
            archive = folder.path / "packages" / name
            if name in {"", ".", ".."} or not self._storage.download(location.bucket, location.path, archive):
                raise ProgramError(f"The package {uri} does not exist.", Code.NOT_FOUND)
            found.append(packages.unpack(archive, folder.site))
        return found

    async def _container(self, name: str, task: Any, folder: JobFolder, given: Mapping[str, str]) -> ContainerProgram:
        if not task.image_uri:
            raise ProgramError(
                "Python packages run in prebuilt training images only, see"
                " https://cloud.google.com/vertex-ai/docs/training/pre-built-containers."
            )
        try:
            image = await self._engine.image(task.image_uri)
        except docker.DockerError as error:
            raise ProgramError(
                f"The image {task.image_uri} cannot run here: it needs Docker, and {error}. Without Docker, prebuilt"
                " Vertex AI training images and plain python images run in the local Python environment.",
                Code.UNIMPLEMENTED,
            ) from error
        environment = {**given, "CLOUD_ML_HP_METRIC_FILE": METRICS_IN_CONTAINER}
        environment["PYTHONPATH"] = image.environment.get("PYTHONPATH", "")
        add_variables(environment, task.env)
        environment["PYTHONPATH"] = ":".join(filter(None, (HOOK_IN_CONTAINER, environment["PYTHONPATH"])))
        command, arguments = ([expand(word, environment) for word in words] for words in (task.command, task.args))
        gcs = GcsFolder(folder.gcs, self._storage)
        await asyncio.to_thread(_make_mounts, folder)
        await asyncio.to_thread(gcs.fetch, [*command, *arguments, *environment.values()])
        if image.user:
            await asyncio.to_thread(_open, folder)
        mounts = {"/gcs": folder.gcs, METRICS_IN_CONTAINER: folder.metrics, f"{HOOK_IN_CONTAINER}:ro": CLIENT_HOOK}
        if BUNDLE_VARIABLE in environment and self._front is not None:
            environment[BUNDLE_VARIABLE] = BUNDLE_IN_CONTAINER
            mounts[f"{BUNDLE_IN_CONTAINER}:ro"] = self._front.bundle
        run = docker.Run(image.uri, command, arguments, environment, mounts)
        return ContainerProgram(f"vertex-emulator-{name}", run, gcs, self._engine)


def _without_mount(
    gcs: GcsFolder, folder: JobFolder, words: list[str], environment: dict[str, str], refusal: str
) -> tuple[list[str], dict[str, str]]:
    """Return a command and its variables led from /gcs to a folder, by their words and by Python's functions."""
    environment = environment | gcs.hook(refusal)
    if not gcs.fetch([*words, *environment.values()]):
        return words, environment
    # The path may stand unquoted inside a shell command, so it must not need quotes.
    mount = str(folder.gcs if PLAIN_PATH.fullmatch(str(folder.gcs)) else folder.link_gcs())
    moved = {name: gcs.moved(value, mount) for name, value in environment.items()}
    return [gcs.moved(word, mount) for word in words], moved


def _make_mounts(folder: JobFolder) -> None:
    folder.gcs.mkdir(parents=True, exist_ok=True)
    folder.metrics.touch()


def _open(folder: JobFolder) -> None:
    """Let a container that runs as somebody else than we write what it is given."""
    for path in (folder.metrics, folder.gcs, *folder.gcs.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
