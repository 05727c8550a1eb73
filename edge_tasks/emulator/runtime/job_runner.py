"""Runs one custom job: fetch its packages, start it, read what it prints, and end it with its whole tree."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code
from edge_tasks.emulator.runtime import images, packages, processes
from edge_tasks.emulator.runtime.bucket import Location, Storage, parse_uri, safe_join
from edge_tasks.emulator.runtime.job_environment import JobFolder, Servers, expand, variables
from edge_tasks.emulator.runtime.job_log import JobLog, LineReader

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.store.database import Database

# How long a job has between SIGTERM and SIGKILL.
GRACE = 3.0
SECONDS_TO_READ = 2.0
REPLICA = "workerpool0-0"
# A path below /gcs, in an argument or inside a shell command.
GCS_PATH = re.compile(r"(?<![\w./-])/gcs/([a-z0-9][\w.-]*)(/[^\s\"'`;&|<>()$]*)?")
PLAIN_PATH = re.compile(r"[\w@%+=:,./-]+")


class JobFailedError(Exception):
    """The job ends as FAILED, with this as its error."""

    def __init__(self, message: str, code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


@dataclass(frozen=True)
class Job:
    """What the runner needs to know of a job."""

    job_id: str
    project: str
    location: str
    spec: Message
    spec_json: dict[str, Any]
    folder: JobFolder
    trial_id: str = ""

    @property
    def pool(self) -> Message:
        """The worker pool that runs."""
        return self.spec.worker_pool_specs[0]

    @property
    def timeout(self) -> float | None:
        """The limit in seconds, if one was set."""
        seconds: float = self.spec.scheduling.timeout.seconds + self.spec.scheduling.timeout.nanos / 1e9
        return seconds or None


class JobRunner:
    """Runs jobs against one storage server."""

    def __init__(self, servers: Servers, storage: Storage, database: Database) -> None:
        self._servers = servers
        self._storage = storage
        self._database = database

    async def run(self, job: Job, on_running: Callable[[], None]) -> None:
        """Run a job to its end; JobFailedError when it fails. Cancelling this task ends its processes."""
        log = JobLog(job.folder.log)
        try:
            command = await asyncio.to_thread(self._prepare, job)
            await self._execute(job, command, log, on_running)
        except JobFailedError as failure:
            # What the job printed is in the log already.
            log.write(("ERROR", failure.message.partition("\n")[0]))
            raise
        finally:
            log.close()
            await asyncio.shield(asyncio.to_thread(job.folder.clear))

    def _prepare(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment, with everything they name in place."""
        job.folder.create()
        pool = job.pool
        container = pool.WhichOneof("task") == "container_spec"
        task = pool.container_spec if container else pool.python_package_spec
        image = task.image_uri if container else task.executor_image_uri
        if not images.runs_local_python(image):
            raise JobFailedError(
                f"The image {image} cannot run here: it needs Docker, which this emulator does not use yet."
                " Prebuilt Vertex AI training images and plain python images run in the local Python environment.",
                Code.UNIMPLEMENTED,
            )
        environment = variables(
            folder=job.folder,
            servers=self._servers,
            project=job.project,
            location=job.location,
            job_id=job.job_id,
            trial_id=job.trial_id,
            base_output=job.spec.base_output_directory.output_uri_prefix,
            spec_env=task.env,
            job_spec=job.spec_json,
        )
        try:
            if container:
                words = [expand(word, environment) for word in [*task.command, *task.args]]
                return self._with_gcs(words or ["python3"], job.folder), environment
            self._install(list(task.package_uris), job.folder)
            arguments = self._with_gcs(list(task.args), job.folder)
        except (packages.PackageError, ApiError) as error:
            raise JobFailedError(str(error)) from error
        return [sys.executable, "-m", task.python_module, *arguments], environment

    def _install(self, uris: list[str], folder: JobFolder) -> None:
        found = []
        for uri in uris:
            location = parse_uri(uri, "package_uris")
            name = location.path.rpartition("/")[2]
            archive = folder.path / "packages" / name
            if name in {"", ".", ".."} or not self._storage.download(location.bucket, location.path, archive):
                raise JobFailedError(f"The package {uri} does not exist.", Code.NOT_FOUND)
            found.append(packages.unpack(archive, folder.site))
        for distribution in found:
            packages.check(distribution.requirements, f"{distribution.name} {distribution.version}", folder.site)

    def _with_gcs(self, words: list[str], folder: JobFolder) -> list[str]:
        """Fetch what the words name below /gcs and let them name the copies: reading only."""
        mount = folder.gcs
        if not PLAIN_PATH.fullmatch(str(mount)) and any(GCS_PATH.search(word) for word in words):
            # The path may stand unquoted inside a shell command, so it must not need quotes.
            mount = folder.link_gcs()

        def fetch(match: re.Match[str]) -> str:
            bucket, path = match.group(1), (match.group(2) or "").strip("/")
            target = safe_join(folder.gcs / bucket, path) if path else folder.gcs / bucket
            if not path or not self._storage.download(bucket, path, target):
                self._storage.download_folder(Location(bucket, path), target)
            return f"{mount}/{bucket}{match.group(2) or ''}"

        return [GCS_PATH.sub(fetch, word) for word in words]

    async def _execute(
        self, job: Job, command: tuple[list[str], dict[str, str]], log: JobLog, on_running: Callable[[], None]
    ) -> None:
        arguments, environment = command
        output, errors = await _Output.open(LineReader(log, "INFO")), await _Output.open(LineReader(log, "ERROR"))
        try:
            child = await processes.start(
                arguments,
                role=f"job {job.job_id}",
                environment=environment,
                folder=job.folder.work,
                database=self._database,
                stdout=output.write_end,
                stderr=errors.write_end,
            )
        finally:
            # Only the job's processes write, so that their end is the end of the pipe.
            os.close(output.write_end)
            os.close(errors.write_end)
        on_running()
        try:
            status = await asyncio.wait_for(child.wait(), job.timeout)
        except asyncio.TimeoutError:
            raise JobFailedError(
                f"The job has exceeded its timeout of {job.timeout:g} s and was stopped.", Code.DEADLINE_EXCEEDED
            ) from None
        finally:
            await asyncio.shield(_end(child, output, errors))
        if status != 0:
            raise JobFailedError(_exit_message(status, errors.lines.last_lines or output.lines.last_lines))


class _Output(asyncio.Protocol):
    """A pipe that a job prints to, read as it comes."""

    def __init__(self, lines: LineReader, write_end: int) -> None:
        self.lines = lines
        self.write_end = write_end
        self.ended = asyncio.Event()
        self.transport: asyncio.BaseTransport | None = None

    @classmethod
    async def open(cls, lines: LineReader) -> _Output:
        """Make a pipe and read from it."""
        read_end, write_end = os.pipe()
        file = os.fdopen(read_end, "rb", buffering=0)
        _, output = await asyncio.get_running_loop().connect_read_pipe(lambda: cls(lines, write_end), file)
        return output

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.lines.feed(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.lines.end()
        self.ended.set()

    async def close(self) -> None:
        """Read to the end: it comes at once, unless a process of the job lives on outside of its group."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ended.wait(), SECONDS_TO_READ)
        assert self.transport is not None
        self.transport.close()
        await self.ended.wait()


async def _end(child: processes.Child, *outputs: _Output) -> None:
    await child.stop(GRACE)
    await asyncio.gather(*(output.close() for output in outputs))


def _exit_message(status: int, last_lines: Iterable[str]) -> str:
    """Return Vertex AI's own words, and the end of what the job printed."""
    message = f"The replica {REPLICA} exited with a non-zero status of {status}. Termination reason: Error."
    tail = "\n".join(last_lines)[-4000:]
    return f"{message}\n{tail}" if tail.strip() else message
