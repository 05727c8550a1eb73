"""JobService, batch predictions.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs

A job has its own model server, which ends with it. Each input file gives one file of results and one of errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

import orjson

from edge_tasks.emulator.batch import instances
from edge_tasks.emulator.batch.results import Shard, batches
from edge_tasks.emulator.data_folder import remove_others
from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition, unimplemented
from edge_tasks.emulator.runtime.bucket import Location, dated_folder, parse_uri
from edge_tasks.emulator.services.machines import Use, check_machine
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_labels,
    check_parent,
    new_id,
    parse_model,
)
from edge_tasks.emulator.services.predictions import read_answer
from edge_tasks.emulator.services.runs import Runs

if TYPE_CHECKING:
    from pathlib import Path

    from edge_tasks.emulator.batch.instances import Instance
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.deployments import Deployments
    from edge_tasks.emulator.services.models import Models
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.serving.model_server import ModelServer
    from edge_tasks.emulator.store.filters import Predicate

KIND = "BatchPredictionJob"
CREATE = "google.cloud.aiplatform.v1.JobService.CreateBatchPredictionJob"
INPUT_FORMATS = ("jsonl", "csv")
OTHER_INPUT_FORMATS = ("bigquery", "tf-record", "tf-record-gzip", "file-list")
OTHER_OUTPUT_FORMATS = ("csv", "bigquery")
INSTANCE_TYPES = ("", "object", "array")
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ManualBatchTuningParameters
BATCH_SIZE = 64
# A model that has failed so often and predicted nothing is asked no more.
MOST_FAILURES = 1000
MOST_PARTIAL_FAILURES = 20
OUTPUT_ONLY = ("model_version_id", "output_info", "partial_failures", "resources_consumed", "completion_stats")


class BatchPredictions:
    """Batch prediction jobs: kept in the store, each with a model server while it runs."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, context: Context, operations: Operations, models: Models, deployments: Deployments) -> None:
        self._context = context
        self._models = models
        self._deployments = deployments
        self._runs = Runs(context, operations, KIND, "JobState")

    async def create_batch_prediction_job(self, request: Message) -> Message:
        """Store a job and start it."""
        check_parent(request.parent)
        job = request.batch_prediction_job
        check_display_name(job)
        check_labels(job)
        _check_input(job)
        _check_output(job.output_config)
        _check_options(job)
        name = parse_model(job.model, "batch_prediction_job.model")
        if name.parent != request.parent:
            raise invalid(f"The model {job.model!r} is not in {request.parent}.")
        version = self._models.version(job.model)
        await self._deployments.check(version)
        for field in OUTPUT_ONLY:
            job.ClearField(field)
        job.name = f"{request.parent}/batchPredictionJobs/{new_id()}"
        job.model, job.model_version_id = name.name, version.message.version_id
        return self._runs.start(job, request.parent, self._run)

    async def get_batch_prediction_job(self, request: Message) -> Message:
        """Return a job."""
        return self._runs.get(request.name)

    async def list_batch_prediction_jobs(self, request: Message) -> Message:
        """Return the jobs of a location, newest first."""
        of_model = dict.fromkeys(("model_display_name", "modelDisplayName"), self._is_of_model)
        return self._runs.listed(request, of_model)

    async def cancel_batch_prediction_job(self, request: Message) -> Message:
        """End a job and its model server; a job that has ended stays as it is."""
        return self._runs.cancel(request.name)

    async def delete_batch_prediction_job(self, request: Message) -> Message:
        """Forget a job that has ended; what it wrote stays."""
        return await self._runs.delete(request)

    def recover(self) -> None:
        """Fail the jobs that an earlier run of the emulator could not finish."""
        self._runs.recover()
        remove_others(self._context.data / "batch", ())

    async def close(self) -> None:
        """End all jobs."""
        await self._runs.close()

    def _is_of_model(self, display_name: str) -> Predicate:
        """Tell jobs by their models' display names; a model that was deleted has none."""

        def is_of_model(job: Message) -> bool:
            try:
                return bool(self._models.version(_model(job)).message.display_name == display_name)
            except ApiError:
                return False

        return is_of_model

    async def _run(self, name: str) -> None:
        job = self._runs.get(name)
        version = self._models.version(_model(job)).message
        deployed = self._context.surface.new(
            "DeployedModel", id="1", model=version.name, model_version_id=version.version_id
        )
        deployed.dedicated_resources.machine_spec.CopyFrom(job.dedicated_resources.machine_spec)
        folder = self._context.data / "batch" / name.rpartition("/")[2]
        self._runs.set_running(name)
        try:
            uris = [parse_uri(uri, "gcs_source.uris") for uri in job.input_config.gcs_source.uris]
            files = await asyncio.to_thread(lambda: list(instances.find(self._context.storage, uris)))
            if not files:
                raise invalid(f"No file matches the gcs_source {', '.join(job.input_config.gcs_source.uris)}.")
            await self._deployments.start(name, deployed)
            folder.mkdir(parents=True)
            await self._predict(name, files, self._deployments.server(name, deployed), folder, version.display_name)
        finally:
            await asyncio.shield(self._deployments.stop(name, deployed.id))
            self._deployments.forget_logs(name)
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def _predict(
        self, name: str, files: list[Location], server: ModelServer, folder: Path, display_name: str
    ) -> None:
        """Predict file by file; the job fails when nothing could be predicted."""
        output = _output_folder(self._runs.get(name), display_name)
        work = _Work(self._runs.get(name), server)
        unread: list[ApiError] = []
        for index, source in enumerate(files):
            path = folder / "input"
            if not await asyncio.to_thread(self._context.storage.download, source.bucket, source.path, path):
                unread.append(ApiError(Code.NOT_FOUND, f"The file gs://{source.bucket}/{source.path} does not exist."))
            else:
                with contextlib.closing(Shard(folder, index, len(files))) as shard:
                    await work.predict(path, shard)
                for written in shard.paths:
                    target = f"{output.path}/{written.name}"
                    await asyncio.to_thread(self._context.storage.upload, written, output.bucket, target)
                    written.unlink()
            self._note(name, work, unread, output)
        if not work.successful and unread:
            raise unread[0]
        if not work.successful and work.first_error is not None:
            raise ApiError(
                work.first_error.code,
                f"All of the {work.failed} instances that were tried failed, the first one with:"
                f" {work.first_error.message}",
            )

    def _note(self, name: str, work: _Work, unread: list[ApiError], output: Location) -> None:
        """Write into the job how far it has come."""
        job = self._runs.get(name)
        job.completion_stats.successful_count = work.successful
        job.completion_stats.failed_count = work.failed
        job.completion_stats.incomplete_count = -1 if work.given_up else 0
        job.output_info.gcs_output_directory = f"gs://{output.bucket}/{output.path}"
        del job.partial_failures[:]
        for error in unread[:MOST_PARTIAL_FAILURES]:
            job.partial_failures.add(code=error.code.number, message=error.message)
        self._runs.save(job)


class _Work:
    """The predictions of one job."""

    def __init__(self, job: Message, server: ModelServer) -> None:
        self._format = job.input_config.instances_format
        self._config = job.instance_config
        self._size = job.manual_batch_tuning_parameters.batch_size or BATCH_SIZE
        self._server = server
        self._parameters = orjson.loads(_json(job.model_parameters)) if job.HasField("model_parameters") else None
        self.successful = 0
        self.failed = 0
        self.first_error: ApiError | None = None
        self.given_up = False

    async def predict(self, path: Path, shard: Shard) -> None:
        """Predict what a file holds."""
        for batch in batches(instances.read(path, self._format, self._config), self._size):
            self.given_up = self.given_up or (not self.successful and self.failed >= MOST_FAILURES)
            if self.given_up:
                return
            for instance in batch:
                if instance.error:
                    self._fail(shard, instance, invalid(instance.error))
            readable = [instance for instance in batch if not instance.error]
            if readable:
                await self._ask(shard, readable)

    async def _ask(self, shard: Shard, batch: list[Instance]) -> None:
        """Ask for a batch; when it fails, for each of its instances, so that only the bad ones fail."""
        body = {"instances": [instance.sent for instance in batch]}
        if self._parameters is not None:
            body["parameters"] = self._parameters
        try:
            predictions = read_answer(await self._server.predict(orjson.dumps(body)))["predictions"]
            if len(predictions) != len(batch):
                raise precondition(
                    f"Prediction failed: the model server answered {len(predictions)} predictions to"
                    f" {len(batch)} instances."
                )
        except ApiError as error:
            if len(batch) == 1:
                self._fail(shard, batch[0], error)
                return
            for instance in batch:
                await self._ask(shard, [instance])
            return
        for instance, prediction in zip(batch, predictions, strict=True):
            shard.add(instance, prediction)
        self.successful += len(batch)

    def _fail(self, shard: Shard, instance: Instance, error: ApiError) -> None:
        shard.add_error(instance, error)
        self.failed += 1
        self.first_error = self.first_error or error


def _model(job: Message) -> str:
    """Return the name of the version that a job predicts with."""
    return f"{job.model}@{job.model_version_id}"


def _output_folder(job: Message, display_name: str) -> Location:
    destination = parse_uri(job.output_config.gcs_destination.output_uri_prefix, "gcs_destination.output_uri_prefix")
    return dated_folder(destination, f"prediction-{display_name}", job.create_time.ToDatetime())


def _json(value: Message) -> str:
    from google.protobuf import json_format

    return str(json_format.MessageToJson(value))


def _check_input(job: Message) -> None:
    config = job.input_config
    source = config.WhichOneof("source")
    if source is None:
        raise invalid("input_config needs a source, such as gcs_source.")
    if source != "gcs_source" or config.instances_format in OTHER_INPUT_FORMATS:
        shown = config.instances_format if source == "gcs_source" else source
        raise unimplemented(
            f"{CREATE} with input of the kind {shown!r} is not implemented by this emulator: it reads"
            f" {' and '.join(INPUT_FORMATS)} from a gcs_source."
        )
    if config.instances_format not in INPUT_FORMATS:
        raise invalid(f"Invalid input_config.instances_format {config.instances_format!r}.")
    if not config.gcs_source.uris:
        raise invalid("input_config.gcs_source.uris is required.")
    for uri in config.gcs_source.uris:
        if not parse_uri(uri, "input_config.gcs_source.uris").path:
            raise invalid(f"input_config.gcs_source.uris must name files, not the bucket {uri!r}.")
    if job.instance_config.instance_type not in INSTANCE_TYPES:
        raise invalid(f"Invalid instance_config.instance_type {job.instance_config.instance_type!r}: object or array.")
    if job.instance_config.included_fields and job.instance_config.excluded_fields:
        raise invalid("instance_config.included_fields and excluded_fields exclude each other.")


def _check_output(config: Message) -> None:
    destination = config.WhichOneof("destination")
    if destination is None:
        raise invalid("output_config needs a destination, such as gcs_destination.")
    if destination != "gcs_destination" or config.predictions_format in OTHER_OUTPUT_FORMATS:
        shown = config.predictions_format if destination == "gcs_destination" else destination
        raise unimplemented(
            f"{CREATE} with output of the kind {shown!r} is not implemented by this emulator: it writes jsonl to a"
            " gcs_destination."
        )
    if config.predictions_format != "jsonl":
        raise invalid(f"Invalid output_config.predictions_format {config.predictions_format!r}.")
    parse_uri(config.gcs_destination.output_uri_prefix, "output_config.gcs_destination.output_uri_prefix")


def _check_options(job: Message) -> None:
    if job.HasField("unmanaged_container_model"):
        raise unimplemented(f"{CREATE} with an unmanaged_container_model is not implemented by this emulator.")
    if not job.model:
        raise invalid("model is required.")
    if job.generate_explanation:
        raise unimplemented(f"{CREATE} with generate_explanation is not implemented by this emulator.")
    if job.manual_batch_tuning_parameters.batch_size < 0:
        raise invalid("manual_batch_tuning_parameters.batch_size must not be negative.")
    # The models of this emulator support DEDICATED_RESOURCES only, and then the field is required.
    resources, field = job.dedicated_resources, "batch_prediction_job.dedicated_resources"
    check_machine(resources.machine_spec, f"{field}.machine_spec", Use.SERVING)
    if resources.starting_replica_count < 0 or resources.max_replica_count < 0:
        raise invalid(f"{field}: the numbers of replicas must not be negative.")
