"""Runs one custom job: all its replicas side by side, until the primary one ends well or any of them fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code
from edge_tasks.emulator.runtime.cluster import Cluster, Replica, replicas
from edge_tasks.emulator.runtime.job_environment import JobFolder, variables
from edge_tasks.emulator.runtime.job_log import JobLog, LineReader
from edge_tasks.emulator.runtime.programs import Program, ProgramError, Programs
from edge_tasks.emulator.time_limit import time_limit, to_the_end

if TYPE_CHECKING:
    from edge_tasks.emulator.runtime import processes
    from edge_tasks.emulator.schema.surface import Message

# How long a job has between SIGTERM and SIGKILL.
GRACE = 3.0
# How long the other replicas have once the primary one has ended well: those that did the same work are about to end.
LAST_MOMENT = 1.0
SECONDS_TO_READ = 2.0
# The task under which Vertex AI logs what it says itself of a job.
SERVICE = "service"
# Vertex AI's own words, which continue with a link to Cloud Logging: here the log is a file.
WHERE_TO_LOOK = "\n\nTo find out more about why your job exited please check the logs: {log}"
LARGEST_READ = 256 * 1024


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
    def timeout(self) -> float | None:
        """The limit in seconds, if one was set."""
        seconds: float = self.spec.scheduling.timeout.seconds + self.spec.scheduling.timeout.nanos / 1e9
        return seconds or None


class JobRunner:
    """Runs jobs."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def run(self, job: Job, on_running: Callable[[], None]) -> None:
        """Run a job to its end; JobFailedError when it fails. Cancelling this task ends its processes."""
        log = JobLog(job.folder.log)
        try:
            await _execute_and_upload(job, await self._make(job), log, on_running)
        except JobFailedError as failure:
            # What the job printed is in the log already.
            log.write(("ERROR", failure.message.partition("\n")[0].rstrip(), SERVICE))
            raise
        finally:
            log.close()
            await asyncio.shield(asyncio.to_thread(job.folder.clear))

    async def _make(self, job: Job) -> dict[Replica, Program]:
        """Return what each replica is to run, the primary one first."""
        common = variables(
            servers=self._programs.servers,
            project=job.project,
            location=job.location,
            job_id=job.job_id,
            trial_id=job.trial_id,
            base_output=job.spec.base_output_directory.output_uri_prefix,
            job_spec=job.spec_json,
        )
        cluster = Cluster(replicas(job.spec))
        made = {}
        try:
            for replica in cluster.replicas:
                given = common | cluster.variables(replica, job.trial_id, job.spec_json)
                pool = job.spec.worker_pool_specs[replica.pool]
                name = f"{job.job_id}-{replica.name}"
                made[replica] = await self._programs.make(name, pool, job.folder.of_replica(replica), given)
        except ProgramError as error:
            raise JobFailedError(error.message, error.code) from error
        return made


async def _execute_and_upload(
    job: Job, programs: dict[Replica, Program], log: JobLog, on_running: Callable[[], None]
) -> None:
    """Run all replicas, and upload what they have written; JobFailedError when either fails."""
    try:
        await _execute(job, programs, log, on_running)
    finally:
        uploads = [_upload(replica, program, log) for replica, program in programs.items()]
        lost = await to_the_end(asyncio.gather(*uploads))
    if any(lost):
        raise JobFailedError(next(filter(None, lost)))


async def _execute(job: Job, programs: dict[Replica, Program], log: JobLog, on_running: Callable[[], None]) -> None:
    """Run all replicas until the primary one ends or one fails, and end the others then."""
    running: list[_Running] = []
    try:
        for notice in dict.fromkeys(program.notice for program in programs.values() if program.notice):
            log.write(("WARNING", notice, SERVICE))
        for replica, program in programs.items():
            running.append(await _Running.start(job.job_id, replica, program, log))
        on_running()
        try:
            async with time_limit(job.timeout):
                failed = await _first_failure(running)
        except asyncio.TimeoutError:
            raise JobFailedError(
                f"The job has exceeded its timeout of {job.timeout:g} s and was stopped.", Code.DEADLINE_EXCEEDED
            ) from None
    finally:
        await to_the_end(asyncio.gather(*(each.end() for each in running)))
    if failed is not None:
        raise JobFailedError(failed.exit_message() + WHERE_TO_LOOK.format(log=job.folder.log))


async def _first_failure(running: list[_Running]) -> _Running | None:
    """Return the replica that has failed first; None when the primary one, the first, ends well before."""
    waiting = {asyncio.ensure_future(each.child.wait()): each for each in running}
    primary = next(iter(waiting))
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (status := task.result()) != 0:
                    waiting[task].status = status
                    return waiting[task]
            for task in done:
                del waiting[task]
            if primary in done:
                if waiting:
                    await asyncio.wait(waiting, timeout=LAST_MOMENT)
                return None
    finally:
        for task in waiting:
            task.cancel()


async def _upload(replica: Replica, program: Program, log: JobLog) -> str:
    """Upload what was written below /gcs; return what cannot be uploaded, which is said in the log, too."""
    try:
        await asyncio.to_thread(program.gcs.upload_changes)
    except ApiError as error:
        lost = f"What was written below /gcs could not be uploaded: {error.message}"
        log.write(("ERROR", lost, replica.name))
        return lost
    return ""


class _Running:
    """A replica that runs, and what it prints."""

    def __init__(self, replica: Replica, child: processes.Child, output: _Output, errors: _Output) -> None:
        self.replica = replica
        self.child = child
        self.status = 0
        self._output = output
        self._errors = errors

    @classmethod
    async def start(cls, job_id: str, replica: Replica, program: Program, log: JobLog) -> _Running:
        """Start a program with its output led into the log."""
        output = _Output(LineReader(log, "INFO", replica.name))
        errors = _Output(LineReader(log, "ERROR", replica.name))
        try:
            child = await program.start(f"job {job_id} {replica.name}", output.write_end, errors.write_end)
        except BaseException:
            output.stop()
            errors.stop()
            raise
        finally:
            # Only the job's processes write, so that their end is the end of the pipe.
            os.close(output.write_end)
            os.close(errors.write_end)
        return cls(replica, child, output, errors)

    async def end(self) -> None:
        """End the processes, and read what is left."""
        await self.child.stop(GRACE)
        await asyncio.gather(self._output.close(), self._errors.close())

    def exit_message(self) -> str:
        """Return Vertex AI's own words, and the end of what the replica printed."""
        message = (
            f"The replica {self.replica.name} exited with a non-zero status of {self.status}."
            " Termination reason: Error. "
        )
        tail = "\n".join(self._errors.lines.last_lines or self._output.lines.last_lines)[-4000:]
        return f"{message}\n{tail}" if tail.strip() else message


class _Output:
    """A pipe that a replica prints to, read as it comes.

    A transport of asyncio is not used: that of uvloop closes the pipe's file twice, and in between another thread may
    have opened one with the same number.
    """

    def __init__(self, lines: LineReader) -> None:
        self.lines = lines
        self._read_end, self.write_end = os.pipe()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        os.set_blocking(self._read_end, False)
        self._loop.add_reader(self._read_end, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._read_end, LARGEST_READ)
            if data:
                self.lines.feed(data)
            else:
                self.stop()

    async def close(self) -> None:
        """Read to the end: it comes at once, unless a process of the job lives on outside of its group."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(SECONDS_TO_READ):
                await self._ended.wait()
        self.stop()

    def stop(self) -> None:
        """Read no more."""
        if not self._ended.is_set():
            self._ended.set()
            self._loop.remove_reader(self._read_end)
            os.close(self._read_end)
            self.lines.end()
