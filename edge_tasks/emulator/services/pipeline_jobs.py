"""PipelineService, pipeline jobs: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs.

A job is a pipeline that kfp has compiled, run task by task; what its tasks have given is kept, so that the next start
continues a job whose emulator was ended.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from edge_tasks.emulator.data_folder import remove_others
from edge_tasks.emulator.errors import ApiError, Code, invalid, unimplemented
from edge_tasks.emulator.pipelines import ir, values
from edge_tasks.emulator.pipelines.graph import GraphRun
from edge_tasks.emulator.pipelines.steps import CANCELLED, DONE, FAILED, Artifacts, Outcome, Step
from edge_tasks.emulator.projects import project_id, project_number
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.runtime.kfp_library import KfpLibrary
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_labels,
    check_parent,
    new_id,
    project_and_location,
)
from edge_tasks.emulator.services.pipeline_details import KIND, Details
from edge_tasks.emulator.services.pipeline_lineage import Lineage
from edge_tasks.emulator.services.pipeline_tasks import BILLING, Parts, TaskWorker
from edge_tasks.emulator.services.runs import Runs

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.jobs import Jobs
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.services.pipeline_operators import Operators

JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")
FAILS_FAST = "PIPELINE_FAILURE_POLICY_FAIL_FAST"
DEPLOYMENT = "type.googleapis.com/ml_pipelines.PipelineDeploymentConfig"
OUTPUT_ONLY = ("job_detail", "template_metadata", "schedule_name")
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs/batchDelete
MOST_OF_A_BATCH = 32


class PipelineJobs:
    """Pipeline jobs: kept in the store, run by this process, as many tasks at once as the machine has cores."""

    service = "google.cloud.aiplatform.v1.PipelineService"

    def __init__(self, context: Context, operations: Operations, jobs: Jobs, operators: Operators) -> None:
        self._context = context
        self._operations = operations
        self._runs = Runs(context, operations, KIND, "PipelineState", resumes=True, chosen_ids=True)
        slots = asyncio.Semaphore(os.cpu_count() or 1)
        self._parts = Parts(context, jobs, operators, KfpLibrary(context.environments), slots)

    async def create_pipeline_job(self, request: Message) -> Message:
        """Store a pipeline job and start it."""
        check_parent(request.parent)
        return self.start(request.parent, request.pipeline_job, request.pipeline_job_id)

    async def get_pipeline_job(self, request: Message) -> Message:
        """Return a pipeline job."""
        return self._with_contexts(self._runs.get(request.name))

    async def list_pipeline_jobs(self, request: Message) -> Message:
        """Return the pipeline jobs of a location, newest first."""
        return self._runs.listed(request)

    async def cancel_pipeline_job(self, request: Message) -> Message:
        """End a pipeline job and the processes of its tasks; one that has ended stays as it is."""
        return self._runs.cancel(request.name)

    async def delete_pipeline_job(self, request: Message) -> Message:
        """Forget a pipeline job that has ended; its lineage, its artifacts and its custom jobs stay."""
        return await self._runs.delete(request, self._remove_folder)

    async def batch_cancel_pipeline_jobs(self, request: Message) -> Message:
        """Cancel several pipeline jobs, and answer when all of them have ended."""
        names = self._batch(request)

        async def work() -> Message:
            for name in names:
                self._runs.cancel(name)
            ended = [await self._runs.ended(name) for name in names]
            return self._context.surface.new("BatchCancelPipelineJobsResponse", pipeline_jobs=ended)

        return await self._operations.start("PipelineService.BatchCancelPipelineJobs", request.parent, work())

    async def batch_delete_pipeline_jobs(self, request: Message) -> Message:
        """Forget several pipeline jobs; when one of them has not ended, none is."""
        names = self._batch(request)
        found = [self._runs.get(name) for name in names]
        for job in found:
            if not self._runs.is_final(job):
                raise ApiError(
                    Code.FAILED_PRECONDITION, f"PipelineJob `{job.name}` has not ended yet: cancel it first."
                )

        async def work() -> Message:
            with self._context.database.transaction():
                for job in found:
                    self._context.database.delete(job.name)
            for job in found:
                await self._remove_folder(job)
            return self._context.surface.new("BatchDeletePipelineJobsResponse", pipeline_jobs=found)

        return await self._operations.start("PipelineService.BatchDeletePipelineJobs", request.parent, work())

    def start(self, parent: str, job: Message, job_id: str = "", schedule: str = "") -> Message:
        """Check a pipeline job, store it and start it, for a client or for the schedule of this name."""
        for field in OUTPUT_ONLY:
            job.ClearField(field)
        self.check(parent, job)
        pipeline = self._pipeline(job)
        job_id = job_id or f"{re.sub(r'[^a-z0-9-]', '-', pipeline.name.lower())[:100].strip('-')}-{new_id()}"
        if not JOB_ID.fullmatch(job_id):
            raise invalid(f"Invalid pipeline_job_id {job_id!r}: it must match {JOB_ID.pattern}.")
        uuid = new_id()
        job.name = f"{parent}/pipelineJobs/{job_id}"
        job.display_name = job.display_name or job_id
        job.labels[BILLING] = uuid
        job.schedule_name = schedule
        job.service_account = job.service_account or f"{_number(job.name)}-compute@developer.gserviceaccount.com"
        job.job_detail.SetInParent()
        deployment = job.pipeline_spec.fields["deploymentSpec"].struct_value
        if "@type" not in deployment.fields:
            deployment.fields["@type"].string_value = DEPLOYMENT
        return self._runs.start(job, parent, self._run, uuid=uuid)

    def check(self, parent: str, job: Message) -> None:
        """Refuse a pipeline job that Vertex AI would refuse, and one that this emulator cannot run as asked."""
        check_display_name(job, required=False)
        check_labels(job)
        if job.template_uri and not job.pipeline_spec.fields:
            raise unimplemented(
                f"A pipeline job by its template_uri {job.template_uri!r} alone is not implemented by this emulator: it"
                " reads no registry. The SDK sends the pipeline_spec, too."
            )
        try:
            pipeline = self._pipeline(job)
            values.given(pipeline.root.parameters, self._given(job))
        except values.ValueTypeError as error:
            raise invalid(str(error)) from None
        root = self._root(job, pipeline)
        if not root:
            raise invalid("runtime_config.gcs_output_directory is required: the pipeline has no root of its own.")
        parse_uri(root, "runtime_config.gcs_output_directory")
        self._input_artifacts(parent, job, pipeline)
        for executor in pipeline.executors:
            self._check_executor(executor)

    def _check_executor(self, executor: Mapping[str, Any]) -> None:
        """Refuse at once what no task could do."""
        if "container" not in executor and "importer" not in executor:
            kinds = ", ".join(executor) or "(none)"
            raise unimplemented(f"An executor of the kind {kinds} is not implemented by this emulator.")
        self._parts.operators.find(executor.get("container") or {})

    def running(self, name: str) -> bool:
        """Whether a pipeline job is there and has not ended."""
        row = self._context.database.find(KIND, name)
        return row is not None and not self._runs.is_final(row.message)

    def recover(self) -> None:
        """Continue the pipeline jobs that an earlier run of the emulator could not finish."""
        rows = self._context.database.every(KIND)
        remove_others(self._folder(""), {"cache", *(row.private["uuid"] for row in rows)})
        self._runs.resume(self._run)

    async def close(self) -> None:
        """Stop; the next start continues what runs."""
        await self._runs.close()

    def _with_contexts(self, job: Message) -> Message:
        """Return a job with its contexts as they are now: `submit(experiment=...)` makes them children of another."""
        detail = job.job_detail
        for context in (detail.pipeline_context, detail.pipeline_run_context):
            row = self._context.database.find("Context", context.name) if context.name else None
            if row is not None:
                context.CopyFrom(row.message)
        return job

    def _batch(self, request: Message) -> list[str]:
        check_parent(request.parent)
        names = list(dict.fromkeys(request.names))
        if not 1 <= len(names) <= MOST_OF_A_BATCH:
            raise invalid(f"names must hold 1 to {MOST_OF_A_BATCH} pipeline jobs.")
        for name in names:
            if not name.startswith(f"{request.parent}/pipelineJobs/"):
                raise invalid(f"{name!r} is not a pipeline job of {request.parent}.")
            self._runs.get(name)
        return names

    def _pipeline(self, job: Message) -> ir.Pipeline:
        spec = self._context.transcoder.to_json(job.pipeline_spec, enum_numbers=False)
        try:
            return ir.read(spec)
        except ir.UnsupportedError as error:
            raise unimplemented(str(error)) from None
        except ir.SpecError as error:
            raise invalid(str(error)) from None

    def _given(self, job: Message) -> dict[str, Any]:
        """Return the parameter values of a request, in today's form or in the older one with types."""
        config = job.runtime_config
        found = {name: json_format.MessageToDict(value) for name, value in config.parameter_values.items()}
        for name, value in config.parameters.items():
            kind = value.WhichOneof("value")
            if kind is not None:
                found.setdefault(name, getattr(value, kind))
        return found

    def _root(self, job: Message, pipeline: ir.Pipeline) -> str:
        return str(job.runtime_config.gcs_output_directory or pipeline.default_root)

    def _input_artifacts(self, parent: str, job: Message, pipeline: ir.Pipeline) -> Artifacts:
        """Return the artifacts of the metadata store that a job is given."""
        found: Artifacts = {}
        lineage = Lineage(self._context, parent)
        for name, given in job.runtime_config.input_artifacts.items():
            if name not in pipeline.root.artifacts:
                raise invalid(f"The pipeline has no input artifact {name!r}.")
            artifact = lineage.named(given.artifact_id)
            if artifact is None:
                raise invalid(f"The input artifact {name!r} is {given.artifact_id!r}, which is not in the store.")
            found[name] = [artifact]
        for name, slot in pipeline.root.artifacts.items():
            if name not in found and not slot.optional:
                raise invalid(f"The input artifact {name!r} is required.")
        return found

    def _folder(self, uuid: str) -> Path:
        return self._context.data / "pipelines" / uuid if uuid else self._context.data / "pipelines"

    async def _remove_folder(self, job: Message) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder(job.labels[BILLING]), ignore_errors=True)

    async def _run(self, name: str) -> None:
        """Run a pipeline job to its end; ApiError when a task failed."""
        job = self._runs.get(name)
        parent = name.rpartition("/pipelineJobs/")[0]
        pipeline = self._pipeline(job)
        parameters = values.given(pipeline.root.parameters, self._given(job))
        artifacts = self._input_artifacts(parent, job, pipeline)
        job_id = name.rpartition("/")[2]
        details, lineage = Details(self._context, name), Lineage(self._context, parent)
        root = Step("", job_id, pipeline.root, parameters, artifacts)
        details.add(root)
        execution = details.execution(root)
        above, run, execution = lineage.begin_run(pipeline.name, job_id, parameters, execution)
        self._runs.set_running(name)
        self._note_contexts(name, above, run)
        details.begin(root, execution)
        uuid = job.labels[BILLING]
        project, location = project_and_location(name)
        names = {
            "pipeline_job_name": job_id,
            "pipeline_job_resource_name": name,
            "pipeline_job_uuid": uuid,
            "pipeline_root": self._root(job, pipeline),
            "pipeline_job_create_time_utc": job.create_time.ToJsonString(),
            "pipeline_job_schedule_time_utc": job.create_time.ToJsonString(),
            "pipeline_service_account": job.service_account,
            "pipeline_google_cloud_project_id": project_id(project),
            "pipeline_google_cloud_location": location,
            "pipeline_network": job.network,
            "pipeline_encryption_key_name": job.encryption_spec.kms_key_name,
            # There is none here.
            "pipeline_persistent_resource_id": "",
        }
        folder = self._folder(uuid)
        worker = TaskWorker(
            self._parts, pipeline, name, self._root(job, pipeline), folder, names, details, lineage, run.name
        )
        policy = job.runtime_config.failure_policy
        fast = policy == self._context.surface.enum_value("PipelineFailurePolicy", FAILS_FAST)
        try:
            outcome = await GraphRun(pipeline, worker, name, fails_fast=fast).run(parameters, artifacts)
        except asyncio.CancelledError:
            if self._runs.get(name).state == self._runs.state("CANCELLING"):
                self._finish(details, lineage, root, run.name, execution, Outcome(CANCELLED))
            raise
        self._finish(details, lineage, root, run.name, execution, outcome)
        if outcome.state == FAILED:
            raise ApiError(Code.FAILED_PRECONDITION, _failure(outcome, name, uuid))

    def _finish(
        self, details: Details, lineage: Lineage, root: Step, run: str, execution: str, outcome: Outcome
    ) -> None:
        lineage.end(run, execution, outcome)
        details.end(root, outcome)
        assert outcome.state in {DONE, FAILED, CANCELLED}

    def _note_contexts(self, name: str, above: Message, run: Message) -> None:
        job = self._runs.get(name)
        job.job_detail.pipeline_context.CopyFrom(above)
        job.job_detail.pipeline_run_context.CopyFrom(run)
        self._runs.save(job)


def _number(name: str) -> str:
    return str(project_number(project_and_location(name)[0]))


def _failure(outcome: Outcome, name: str, uuid: str) -> str:
    """Return why a pipeline failed, in Vertex AI's own words."""
    project, _ = project_and_location(name)
    return (
        f"{outcome.message}; Job (project_id = {project_id(project)}, job_id = {uuid}) is failed due to the above"
        f" error.; Failed to handle the job: {{project_number = {_number(name)}, job_id = {uuid}}}"
    )
