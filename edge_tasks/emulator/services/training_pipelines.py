"""PipelineService, training pipelines.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.trainingPipelines

A pipeline of the custom task runs a custom job, and registers what the job has left in AIP_MODEL_DIR as a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from edge_tasks.emulator.errors import ApiError, Code, invalid, unimplemented
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.services.names import check_display_name, check_labels, check_parent, new_id
from edge_tasks.emulator.services.runs import Runs

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.datasets import Datasets
    from edge_tasks.emulator.services.jobs import Jobs
    from edge_tasks.emulator.services.models import Models
    from edge_tasks.emulator.services.operations import Operations

KIND = "TrainingPipeline"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
CREATE = "google.cloud.aiplatform.v1.PipelineService.CreateTrainingPipeline"


class TrainingPipelines:
    """Training pipelines of the custom task: a job, and then its model."""

    service = "google.cloud.aiplatform.v1.PipelineService"

    def __init__(
        self, context: Context, operations: Operations, jobs: Jobs, models: Models, datasets: Datasets
    ) -> None:
        self._context = context
        self._datasets = datasets
        self._jobs = jobs
        self._models = models
        self._runs = Runs(context, operations, KIND, "PipelineState")

    async def create_training_pipeline(self, request: Message) -> Message:
        """Store a pipeline and start it."""
        check_parent(request.parent)
        pipeline = request.training_pipeline
        check_display_name(pipeline)
        check_labels(pipeline)
        _check_task(pipeline)
        spec = self._job_spec(pipeline)
        await self._jobs.check_spec(spec, request.parent)
        if pipeline.HasField("input_data_config"):
            self._datasets.check_training(request.parent, pipeline.input_data_config)
        pipeline.name = f"{request.parent}/trainingPipelines/{new_id()}"
        if pipeline.HasField("model_to_upload"):
            check_labels(pipeline.model_to_upload, "training_pipeline.model_to_upload.labels")
            pipeline.model_to_upload.ClearField("name")
            pipeline.model_to_upload.ClearField("version_id")
            pipeline.model_to_upload.artifact_uri = _model_folder(pipeline, spec)
            self._models.check_upload(self._upload_request(pipeline))
        elif pipeline.model_id or pipeline.parent_model:
            raise invalid("model_id and parent_model are about the model_to_upload, which is missing.")
        pipeline.ClearField("training_task_metadata")
        return self._runs.start(pipeline, request.parent, self._run)

    async def get_training_pipeline(self, request: Message) -> Message:
        """Return a pipeline."""
        return self._runs.get(request.name)

    async def list_training_pipelines(self, request: Message) -> Message:
        """Return the pipelines of a location, newest first."""
        return self._runs.listed(request)

    async def cancel_training_pipeline(self, request: Message) -> Message:
        """End a pipeline and its job; a pipeline that has ended stays as it is."""
        return self._runs.cancel(request.name)

    async def delete_training_pipeline(self, request: Message) -> Message:
        """Forget a pipeline that has ended; its job and its model stay."""
        return await self._runs.delete(request)

    def recover(self) -> None:
        """Fail the pipelines that an earlier run of the emulator could not finish."""
        self._runs.recover()

    async def close(self) -> None:
        """End all pipelines."""
        await self._runs.close()

    async def _run(self, name: str) -> None:
        job = self._start_job(name, await self._data(name))
        ended = await self._jobs.ended(job.name)
        if ended.HasField("error"):
            raise ApiError(Code.of(ended.error.code), ended.error.message)
        pipeline = self._runs.get(name)
        if pipeline.HasField("model_to_upload"):
            await self._upload(pipeline)

    async def _data(self, name: str) -> dict[str, str]:
        """Return the variables that lead to the pipeline's share of its dataset."""
        pipeline = self._runs.get(name)
        if not pipeline.HasField("input_data_config"):
            return {}
        parent = name.partition("/trainingPipelines/")[0]
        return await self._datasets.training_variables(parent, pipeline.input_data_config)

    def _start_job(self, name: str, data: dict[str, str]) -> Message:
        pipeline = self._runs.get(name)
        job = self._context.surface.new("CustomJob", display_name=f"{pipeline.display_name[:117]}-custom-job")
        job.job_spec.CopyFrom(self._job_spec(pipeline))
        for pool in job.job_spec.worker_pool_specs:
            task = pool.container_spec if pool.WhichOneof("task") == "container_spec" else pool.python_package_spec
            for variable, value in data.items():
                task.env.add(name=variable, value=value)
        job.labels.update(pipeline.labels)
        if pipeline.HasField("encryption_spec"):
            job.encryption_spec.CopyFrom(pipeline.encryption_spec)
        started = self._jobs.start(name.partition("/trainingPipelines/")[0], job)
        json_format.ParseDict({"backingCustomJob": started.name}, pipeline.training_task_metadata)
        self._runs.save(pipeline)
        self._runs.set_running(name)
        return started

    async def _upload(self, pipeline: Message) -> None:
        request = self._upload_request(pipeline)
        self._models.check_upload(request)
        response = await self._models.upload(request)
        pipeline.model_to_upload.name = response.model
        pipeline.model_to_upload.version_id = response.model_version_id
        self._runs.save(pipeline)

    def _upload_request(self, pipeline: Message) -> Message:
        request = self._context.surface.new("UploadModelRequest")
        request.parent = pipeline.name.partition("/trainingPipelines/")[0]
        request.model.CopyFrom(pipeline.model_to_upload)
        request.model.training_pipeline = pipeline.name
        request.model_id, request.parent_model = pipeline.model_id, pipeline.parent_model
        return request

    def _job_spec(self, pipeline: Message) -> Message:
        """Read the inputs of the custom task, which are a CustomJobSpec as JSON."""
        inputs = self._context.transcoder.to_json(pipeline.training_task_inputs, enum_numbers=False)
        spec = self._context.surface.new("CustomJobSpec")
        try:
            json_format.ParseDict(_without_nulls(inputs), spec)
        except (json_format.ParseError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise invalid(
                "Unable to parse `training_pipeline.training_task_inputs` into custom task `inputs` defined in the"
                f" file: {CUSTOM_TASK}: {str(error)[:500]}"
            ) from None
        return spec


def _check_task(pipeline: Message) -> None:
    definition = pipeline.training_task_definition
    if not definition:
        raise invalid("training_task_definition is required.")
    if definition != CUSTOM_TASK:
        raise unimplemented(
            f"{CREATE} with the training_task_definition {definition[:200]!r} is not implemented by this emulator:"
            f" it trains by your own code only ({CUSTOM_TASK}), AutoML is a service of Google's."
        )
    if not pipeline.HasField("training_task_inputs"):
        raise invalid("training_task_inputs is required.")


def _model_folder(pipeline: Message, spec: Message) -> str:
    """Return where the job leaves its model: AIP_MODEL_DIR."""
    base = spec.base_output_directory.output_uri_prefix
    if base:
        return f"{base.rstrip('/')}/model"
    if not pipeline.model_to_upload.artifact_uri:
        raise invalid("A model_to_upload needs base_output_directory.output_uri_prefix in the training_task_inputs.")
    parse_uri(pipeline.model_to_upload.artifact_uri, "model_to_upload.artifact_uri")
    return str(pipeline.model_to_upload.artifact_uri)


def _without_nulls(value: Any) -> Any:
    """Drop the null values that clients send for what is not set, such as the SDK's scheduling."""
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
