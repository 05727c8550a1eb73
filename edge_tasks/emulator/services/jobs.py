"""JobService, custom jobs: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs."""

from __future__ import annotations

import asyncio
import logging
import shutil
from typing import TYPE_CHECKING

from edge_tasks.emulator.data_folder import remove_others
from edge_tasks.emulator.errors import Code, invalid, precondition, stopping, unimplemented
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.runtime.job_environment import JobFolder
from edge_tasks.emulator.runtime.job_runner import Job, JobFailedError, JobRunner
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_labels,
    check_parent,
    new_id,
    project_and_location,
)
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from pathlib import Path

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

KIND = "CustomJob"
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
MOST_PACKAGES = 100
MOST_VARIABLES = 100
LOG = logging.getLogger(__name__)


class Jobs:
    """Custom jobs: kept in the store, run by the job runner, several side by side."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, context: Context, operations: Operations, runner: JobRunner) -> None:
        self._context = context
        self._operations = operations
        self._runner = runner
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    async def create_custom_job(self, request: Message) -> Message:
        """Store a job and start it."""
        check_parent(request.parent)
        job = request.custom_job
        _check(job)
        if self._closing:
            raise stopping()
        job_id = new_id()
        job.name = f"{request.parent}/customJobs/{job_id}"
        for output_only in ("start_time", "end_time", "error", "web_access_uris"):
            job.ClearField(output_only)
        job.state = self._state("PENDING")
        job.create_time.GetCurrentTime()
        job.update_time.CopyFrom(job.create_time)
        self._context.database.insert(KIND, job.name, request.parent, job)
        task = asyncio.ensure_future(self._run(job))
        self._running[job.name] = task
        task.add_done_callback(lambda _: self._running.pop(job.name, None))
        return self._context.database.get(KIND, job.name)

    async def get_custom_job(self, request: Message) -> Message:
        """Return a job."""
        return self._context.database.get(KIND, request.name)

    async def list_custom_jobs(self, request: Message) -> Message:
        """Return the jobs of a location, newest first."""
        check_parent(request.parent)
        rows = self._context.database.children(KIND, request.parent)
        jobs, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new("ListCustomJobsResponse", custom_jobs=jobs, next_page_token=token)

    async def cancel_custom_job(self, request: Message) -> Message:
        """End a job's processes; a job that has ended stays as it is."""
        job = self._context.database.get(KIND, request.name)
        if not self._is_final(job) and job.state != self._state("CANCELLING"):
            job.state = self._state("CANCELLING")
            self._save(job)
            task = self._running.get(request.name)
            if task is not None:
                task.cancel()
        return self._context.surface.new("google.protobuf.Empty")

    async def delete_custom_job(self, request: Message) -> Message:
        """Forget a job that has ended, and its log."""
        job = self._context.database.get(KIND, request.name)
        if not self._is_final(job):
            raise precondition(f"CustomJob `{job.name}` has not ended yet: cancel it first.")

        async def work() -> Message:
            self._context.database.delete(job.name)
            await asyncio.to_thread(shutil.rmtree, self._folder(job.name), ignore_errors=True)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("JobService.DeleteCustomJob", job.name, work())

    def log_of(self, project: str, job_id: str) -> Path | None:
        """Return the log file of a job of a project."""
        folder = JobFolder(self._context.data / "jobs" / job_id)
        owner = folder.path / "project"
        return folder.log if owner.is_file() and owner.read_text() == project else None

    def recover(self) -> None:
        """Fail the jobs that an earlier run of the emulator could not finish: their processes are gone."""
        rows = self._context.database.every(KIND)
        for row in rows:
            if not self._is_final(row.message):
                cancelled = row.message.state == self._state("CANCELLING")
                self._end(
                    row.message,
                    "CANCELLED" if cancelled else "FAILED",
                    Code.CANCELLED if cancelled else Code.ABORTED,
                    "The job was cancelled." if cancelled else "The emulator was stopped while the job ran.",
                )
                JobFolder(self._folder(row.message.name)).clear()
        remove_others(self._context.data / "jobs", {row.message.name.rpartition("/")[2] for row in rows})

    async def close(self) -> None:
        """End all jobs."""
        self._closing = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Message) -> None:
        name = job.name
        try:
            project, location = project_and_location(name)
            folder = self._folder(name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "project").write_text(project)
            plan = Job(
                job_id=name.rpartition("/")[2],
                project=project,
                location=location,
                spec=job.job_spec,
                spec_json=self._context.transcoder.to_json(job.job_spec, enum_numbers=False),
                folder=JobFolder(folder),
            )
            await self._runner.run(plan, lambda: self._set_running(name))
        except JobFailedError as failure:
            self._end(self._current(name), "FAILED", failure.code, failure.message)
        except asyncio.CancelledError:
            if self._closing:
                message = "The emulator was stopped while the job ran."
                self._end(self._current(name), "FAILED", Code.ABORTED, message)
            else:
                self._end(self._current(name), "CANCELLED", Code.CANCELLED, "The job was cancelled.")
        except Exception:
            LOG.exception("job %s", name)
            message = "Internal error occurred for the current attempt; see the emulator's log."
            self._end(self._current(name), "FAILED", Code.INTERNAL, message)
        else:
            self._end(self._current(name), "SUCCEEDED")

    def _set_running(self, name: str) -> None:
        job = self._current(name)
        if job.state == self._state("PENDING"):
            job.state = self._state("RUNNING")
            job.start_time.GetCurrentTime()
            self._save(job)

    def _end(self, job: Message, state: str, code: Code | None = None, message: str = "") -> None:
        job.state = self._state(state)
        job.end_time.GetCurrentTime()
        if code is not None:
            job.error.code = code.number
            job.error.message = message
        self._save(job)

    def _save(self, job: Message) -> None:
        job.update_time.GetCurrentTime()
        self._context.database.update(job.name, job)

    def _current(self, name: str) -> Message:
        return self._context.database.get(KIND, name)

    def _folder(self, name: str) -> Path:
        return self._context.data / "jobs" / name.rpartition("/")[2]

    def _state(self, name: str) -> int:
        return self._context.surface.enum_value("JobState", f"JOB_STATE_{name}")

    def _is_final(self, job: Message) -> bool:
        return job.state in {self._state(name) for name in FINAL}


def _check(job: Message) -> None:
    """Refuse a job that Vertex AI would refuse, and one that this emulator cannot run as asked."""
    check_display_name(job)
    check_labels(job.labels)
    pools = job.job_spec.worker_pool_specs
    if not pools:
        raise invalid("job_spec.worker_pool_specs is required.")
    if any(pool.replica_count < 0 for pool in pools):
        raise invalid("replica_count must not be negative.")
    used = [pool for pool in pools if pool.replica_count or pool is pools[0]]
    if len(used) > 1 or used[0].replica_count > 1:
        raise unimplemented(
            "google.cloud.aiplatform.v1.JobService.CreateCustomJob with more than one replica is not implemented"
            " by this emulator: it runs one replica of one worker pool."
        )
    if job.job_spec.base_output_directory.output_uri_prefix:
        parse_uri(job.job_spec.base_output_directory.output_uri_prefix, "base_output_directory.output_uri_prefix")
    if job.job_spec.scheduling.timeout.seconds < 0 or job.job_spec.scheduling.timeout.nanos < 0:
        raise invalid("scheduling.timeout must not be negative.")
    pool = pools[0]
    kind = pool.WhichOneof("task")
    if kind is None:
        raise invalid("worker_pool_specs[0] needs a container_spec or a python_package_spec.")
    if kind == "container_spec":
        if not pool.container_spec.image_uri:
            raise invalid("container_spec.image_uri is required.")
        variables, words = pool.container_spec.env, [*pool.container_spec.command, *pool.container_spec.args]
    else:
        _check_package(pool.python_package_spec)
        variables, words = pool.python_package_spec.env, list(pool.python_package_spec.args)
    if any("\0" in word for word in words):
        raise invalid("Commands and arguments must not hold NUL characters.")
    if len(variables) > MOST_VARIABLES:
        raise invalid(f"At most {MOST_VARIABLES} environment variables can be specified.")
    for variable in variables:
        if not variable.name or "=" in variable.name or "\0" in variable.name + variable.value:
            raise invalid(f"Invalid environment variable {variable.name!r}.")


def _check_package(spec: Message) -> None:
    if not spec.executor_image_uri:
        raise invalid("python_package_spec.executor_image_uri is required.")
    if not spec.python_module:
        raise invalid("python_package_spec.python_module is required.")
    if not 1 <= len(spec.package_uris) <= MOST_PACKAGES:
        raise invalid(f"python_package_spec.package_uris must name 1 to {MOST_PACKAGES} packages.")
    for uri in spec.package_uris:
        parse_uri(uri, "python_package_spec.package_uris")
