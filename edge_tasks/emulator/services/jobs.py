"""JobService, custom jobs: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from edge_tasks.emulator.data_folder import remove_others
from edge_tasks.emulator.errors import invalid, unimplemented
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.runtime.job_environment import JobFolder
from edge_tasks.emulator.runtime.job_runner import Job, JobRunner
from edge_tasks.emulator.services import experiments
from edge_tasks.emulator.services.buckets import check_bucket
from edge_tasks.emulator.services.machines import Use, check_disk, check_machine, complete_disk
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_labels,
    check_numeric_name,
    check_parent,
    check_variables,
    new_id,
    project_and_location,
)
from edge_tasks.emulator.services.runs import Runs

if TYPE_CHECKING:
    from pathlib import Path

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

KIND = "CustomJob"
MOST_PACKAGES = 100
MOST_VARIABLES = 100
MOST_POOLS = 4
# Of one job; one machine does not run more.
MOST_REPLICAS = 32


class Jobs:
    """Custom jobs: kept in the store, run by the job runner, several side by side."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, context: Context, operations: Operations, runner: JobRunner) -> None:
        self._context = context
        self._runner = runner
        self._runs = Runs(context, operations, KIND, "JobState")

    async def create_custom_job(self, request: Message) -> Message:
        """Store a job and start it."""
        check_parent(request.parent)
        check_display_name(request.custom_job)
        check_labels(request.custom_job)
        await self.check_spec(request.custom_job.job_spec, request.parent)
        experiments.join(self._context, request.custom_job.job_spec)
        started = self.start(request.parent, request.custom_job)
        experiments.note_job(self._context, started)
        return started

    async def get_custom_job(self, request: Message) -> Message:
        """Return a job."""
        return self._runs.get(request.name)

    async def list_custom_jobs(self, request: Message) -> Message:
        """Return the jobs of a location, newest first."""
        return self._runs.listed(request)

    async def cancel_custom_job(self, request: Message) -> Message:
        """End a job's processes; a job that has ended stays as it is."""
        return self._runs.cancel(request.name)

    async def delete_custom_job(self, request: Message) -> Message:
        """Forget a job that has ended, and its log."""
        return await self._runs.delete(request, lambda job: self._remove_folder(job.name))

    async def check_spec(self, spec: Message, parent: str) -> None:
        """Refuse a job that Vertex AI would refuse, and one that this emulator cannot run as asked."""
        _check_spec(spec)
        uri = spec.base_output_directory.output_uri_prefix
        if uri:
            await check_bucket(self._context.storage, uri, "base_output_directory.output_uri_prefix", parent)
        if spec.tensorboard:
            check_numeric_name("Tensorboard", spec.tensorboard)
            self._context.database.get("Tensorboard", spec.tensorboard)
            if project_and_location(spec.tensorboard)[1] != project_and_location(parent)[1]:
                raise invalid(f"The tensorboard {spec.tensorboard!r} is not in the location of {parent}.")

    def start(self, parent: str, job: Message, trial_id: str = "") -> Message:
        """Store a checked job and start it, for a client or for a job of another kind.

        `trial_id` tells the job which trial of a hyperparameter tuning job it is.
        """
        job.name = f"{parent}/customJobs/{new_id()}"
        job.ClearField("web_access_uris")
        for pool in job.job_spec.worker_pool_specs:
            complete_disk(pool.disk_spec, pool.machine_spec.machine_type)
        return self._runs.start(job, parent, lambda name: self._run(name, trial_id))

    async def ended(self, name: str) -> Message:
        """Return a job once it has ended; cancelling this wait cancels the job."""
        return await self._runs.ended(name)

    async def delete(self, name: str) -> None:
        """Forget a job, and its log."""
        self._context.database.delete(name)
        await self._remove_folder(name)

    def folder(self, name: str) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self._context.data / "jobs" / name.rpartition("/")[2])

    def logs_of(self, project: str, job_id: str) -> list[Path]:
        """Return the log file of a job of a project, those of its trials when it tunes hyperparameters."""
        folder = self.folder(job_id)
        owner = folder.path / "project"
        if owner.is_file():
            return [folder.log] if owner.read_text() == project else []
        for row in self._context.database.every("HyperparameterTuningJob"):
            if row.message.name.startswith(f"projects/{project}/") and row.message.name.endswith(f"/{job_id}"):
                return [self.folder(trial.custom_job).log for trial in row.message.trials]
        return []

    async def _remove_folder(self, name: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self.folder(name).path, ignore_errors=True)

    def recover(self) -> None:
        """Fail the jobs that an earlier run of the emulator could not finish: their processes are gone."""
        for job in self._runs.recover():
            self.folder(job.name).clear()
        rows = self._context.database.every(KIND)
        remove_others(self._context.data / "jobs", {row.message.name.rpartition("/")[2] for row in rows})

    async def close(self) -> None:
        """End all jobs."""
        await self._runs.close()

    async def _run(self, name: str, trial_id: str) -> None:
        job = self._runs.get(name)
        project, location = project_and_location(name)
        folder = self.folder(name)
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "project").write_text(project)
        plan = Job(
            job_id=name.rpartition("/")[2],
            project=project,
            location=location,
            spec=job.job_spec,
            spec_json=self._context.transcoder.to_json(job.job_spec, enum_numbers=False),
            folder=folder,
            trial_id=trial_id,
        )
        await self._runner.run(plan, lambda: self._runs.set_running(name))


def _check_spec(spec: Message) -> None:
    pools = spec.worker_pool_specs
    if not pools:
        raise invalid("worker_pool_specs is required.")
    if len(pools) > MOST_POOLS:
        raise invalid(f"A job has at most {MOST_POOLS} worker_pool_specs.")
    if any(pool.replica_count < 0 for pool in pools):
        raise invalid("replica_count must not be negative.")
    # https://cloud.google.com/vertex-ai/docs/training/distributed-training
    if pools[0].replica_count > 1:
        raise invalid("worker_pool_specs[0].replica_count must be 1: that pool is the primary replica.")
    if sum(pool.replica_count for pool in pools) > MOST_REPLICAS:
        raise unimplemented(
            f"A job with more than {MOST_REPLICAS} replicas is not implemented by this emulator: all of them run on"
            " this machine."
        )
    if spec.tensorboard and not spec.service_account:
        raise invalid("custom_job.job_spec.service_account must be specified when uploading to TensorBoard")
    if spec.scheduling.timeout.seconds < 0 or spec.scheduling.timeout.nanos < 0:
        raise invalid("scheduling.timeout must not be negative.")
    for index, pool in enumerate(pools):
        # Pools after the first may be left empty.
        if pool.replica_count or not index:
            _check_pool(pool, f"job_spec.worker_pool_specs[{index}]")


def _check_pool(pool: Message, field: str) -> None:
    kind = pool.WhichOneof("task")
    if kind is None:
        raise invalid(f"{field} needs a container_spec or a python_package_spec.")
    check_machine(pool.machine_spec, f"{field}.machine_spec", Use.TRAINING)
    check_disk(pool.disk_spec, f"{field}.disk_spec")
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
    check_variables(variables)


def _check_package(spec: Message) -> None:
    if not spec.executor_image_uri:
        raise invalid("python_package_spec.executor_image_uri is required.")
    if not spec.python_module:
        raise invalid("python_package_spec.python_module is required.")
    if not 1 <= len(spec.package_uris) <= MOST_PACKAGES:
        raise invalid(f"python_package_spec.package_uris must name 1 to {MOST_PACKAGES} packages.")
    for uri in spec.package_uris:
        parse_uri(uri, "python_package_spec.package_uris")
