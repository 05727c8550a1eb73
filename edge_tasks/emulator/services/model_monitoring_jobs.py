"""ModelMonitoringService of v1beta1: jobs of model monitors, and the search in what they found.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.modelMonitors.modelMonitoringJobs. A
job compares a target with a baseline, once: its distances are computed of the rows themselves. It writes no files, no
mail and no log; attributions are not monitored.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format

from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition, stopping
from edge_tasks.emulator.monitoring import inputs
from edge_tasks.emulator.monitoring.distance import JENSEN_SHANNON, L_INFINITY, are_numbers, of_categories, of_numbers
from edge_tasks.emulator.monitoring.inputs import NUMERIC, Data, Fields, Source
from edge_tasks.emulator.monitoring.statistics import described
from edge_tasks.emulator.services import datasets, request_logs
from edge_tasks.emulator.services.model_monitors import JOB as KIND
from edge_tasks.emulator.services.model_monitors import KIND as MONITOR
from edge_tasks.emulator.services.model_monitors import STATS, check_input, check_objective, given_id
from edge_tasks.emulator.services.names import check_display_name
from edge_tasks.emulator.services.operations import HOLD
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_tasks.emulator.monitoring.samples import Features
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

FEATURES, PREDICTIONS = "raw-feature-drift", "prediction-output-drift"
LARGEST_PAGE = 100
LOG = logging.getLogger(__name__)


class Compared(NamedTuple):
    """What one objective is about: its specification, the columns of both datasets, and the types of the schema."""

    objective: str
    spec: Message
    before: Features
    now: Features
    types: Mapping[str, str]


class ModelMonitoringJobs:
    """Monitoring jobs: each runs once, as soon as it is made, by a client or by a schedule."""

    service = "google.cloud.aiplatform.v1.ModelMonitoringService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    async def create_model_monitoring_job(self, request: Message) -> Message:
        """Store a job and start it; what it does not say itself is its monitor's."""
        check_display_name(request.model_monitoring_job)
        return self.start(request.parent, request.model_monitoring_job, request.model_monitoring_job_id)

    async def get_model_monitoring_job(self, request: Message) -> Message:
        """Return a job, held back until it has ended: the SDK would sleep between its looks."""
        task = self._running.get(request.name)
        if task is not None:
            await asyncio.wait([task], timeout=HOLD)
        return self._context.database.get(KIND, request.name)

    async def list_model_monitoring_jobs(self, request: Message) -> Message:
        """Return the jobs of a monitor, newest first."""
        self._context.database.get(MONITOR, request.parent)
        rows = self._context.database.children(KIND, request.parent)
        jobs, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new(
            "ListModelMonitoringJobsResponse", model_monitoring_jobs=jobs, next_page_token=token
        )

    async def delete_model_monitoring_job(self, request: Message) -> Message:
        """Forget a job that has ended, and what it found."""
        job = self._context.database.get(KIND, request.name)
        if job.name in self._running:
            raise precondition(f"{KIND} `{job.name}` has not ended yet.")

        async def work() -> Message:
            with self._context.database.transaction():
                self._context.database.delete(_stats_name(job.name))
                self._context.database.delete(job.name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("ModelMonitoringService.DeleteModelMonitoringJob", job.name, work())

    async def search_model_monitoring_stats(self, request: Message) -> Message:
        """Return what the jobs of a monitor found: for each feature and measure its points, the newest first."""
        wanted = request.stats_filter.tabular_stats_filter
        found: dict[tuple[str, str, str], Message] = {}
        for stats, point in self._points(request.model_monitor, request.time_interval):
            key = (stats.stats_name, stats.objective_type, point.algorithm)
            origin = (wanted.model_monitoring_job, wanted.model_monitoring_schedule)
            asked = (wanted.stats_name, wanted.objective_type, wanted.algorithm, *origin)
            given = (*key, point.model_monitoring_job, point.schedule)
            if all(wish in {"", value} for wish, value in zip(asked, given, strict=True)):
                if key not in found:
                    found[key] = self._context.surface.new("ModelMonitoringStats")
                    found[key].tabular_stats.stats_name, found[key].tabular_stats.objective_type = key[:2]
                found[key].tabular_stats.data_points.append(point)
        shown, token = _page(list(found.values()), request)
        return self._context.surface.new(STATS, monitoring_stats=shown, next_page_token=token)

    async def search_model_monitoring_alerts(self, request: Message) -> Message:
        """Return the points above their thresholds, the newest first."""
        found = []
        for stats, point in self._points(request.model_monitor, request.alert_time_interval):
            asked = (request.stats_name, request.objective_type, request.model_monitoring_job)
            given = (stats.stats_name, stats.objective_type, point.model_monitoring_job)
            if point.has_anomaly and all(wish in {"", value} for wish, value in zip(asked, given, strict=True)):
                found.append(self._alert(stats, point))
        shown, token = _page(found, request)
        return self._context.surface.new(
            "SearchModelMonitoringAlertsResponse",
            model_monitoring_alerts=shown,
            total_number_alerts=len(found),
            next_page_token=token,
        )

    def start(
        self, parent: str, job: Message, job_id: str = "", schedule: str = "", moment: datetime | None = None
    ) -> Message:
        """Store a job of a monitor and start it, for a client or for a schedule at the moment when it was due."""
        if self._closing:
            raise stopping()
        monitor = self._context.database.get(MONITOR, parent)
        now = self._context.clock.now()
        self._complete(job, monitor, moment or now)
        for field in ("schedule", "job_execution_detail", "schedule_time"):
            job.ClearField(field)
        job.name = f"{monitor.name}/modelMonitoringJobs/{given_id(job_id, 'job id')}"
        job.state = self._state("PENDING")
        job.schedule = schedule
        if moment is not None:
            job.schedule_time.FromDatetime(moment)
        for stamp in (job.create_time, job.update_time):
            stamp.FromDatetime(now)
        self._context.database.insert(KIND, job.name, monitor.name, job)
        task = asyncio.ensure_future(self._run(job.name, Fields.of(monitor.model_monitoring_schema)))
        self._running[job.name] = task
        task.add_done_callback(lambda _: self._running.pop(job.name, None))
        return job

    def check(self, parent: str, job: Message) -> None:
        """Refuse a job that could not be started."""
        completed = type(job)()
        completed.CopyFrom(job)
        self._complete(completed, self._context.database.get(MONITOR, parent), self._context.clock.now())

    def active(self, parent: str, schedule: str) -> int:
        """Return how many jobs of a monitor that a schedule has started run."""
        rows = self._context.database.children(KIND, parent)
        return sum(row.message.schedule == schedule and row.message.name in self._running for row in rows)

    def recover(self) -> None:
        """Fail the jobs that an earlier run of the emulator could not finish."""
        for row in self._context.database.every(KIND):
            if row.message.state in {self._state("PENDING"), self._state("RUNNING")}:
                self._end(row.message, Code.ABORTED, "The emulator was stopped while the job ran.")

    async def close(self) -> None:
        """End what runs."""
        self._closing = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What a job is about

    def _complete(self, job: Message, monitor: Message, now: datetime) -> None:
        spec = job.model_monitoring_spec
        objective = spec.objective_spec
        for target, name, source in (
            (objective, "tabular_objective", monitor.tabular_objective),
            (objective, "baseline_dataset", monitor.training_dataset),
            (objective, "explanation_spec", monitor.explanation_spec),
            (spec, "output_spec", monitor.output_spec),
            (spec, "notification_spec", monitor.notification_spec),
        ):
            if not target.HasField(name) and source.ByteSize():
                getattr(target, name).CopyFrom(source)
        for name in ("baseline_dataset", "target_dataset"):
            if not objective.HasField(name):
                raise invalid(f"model_monitoring_spec.objective_spec.{name} is required.")
            given = getattr(objective, name)
            check_input(given, name)
            # A name that there is not, or a time that cannot be, is told now, not by a job that fails.
            self._source(given, now)
        if not objective.tabular_objective.ByteSize():
            raise invalid(
                "model_monitoring_spec.objective_spec.tabular_objective is required: it says what to compare."
            )
        check_objective(objective.tabular_objective, Fields.of(monitor.model_monitoring_schema))

    def _source(self, given: Message, cutoff: datetime) -> Source:
        """Return where the rows of an input are."""
        time = inputs.times(given, cutoff)
        which = given.WhichOneof("dataset")
        if which == "vertex_endpoint_logs":
            return Source(inputs.LOGS, [self._log(name) for name in given.vertex_endpoint_logs.endpoints], "", *time)
        if which == "batch_prediction_output":
            job = self._context.database.get("BatchPredictionJob", given.batch_prediction_output.batch_prediction_job)
            if job.state != self._state("SUCCEEDED"):
                raise precondition(f"BatchPredictionJob `{job.name}` has not succeeded.")
            return Source(inputs.PREDICTIONS, [job.output_info.gcs_output_directory], "", *time)
        dataset = given.columnized_dataset
        place = dataset.WhichOneof("data_location")
        if place == "bigquery_source":
            return Source(inputs.TABLE, [dataset.bigquery_source.table_uri], dataset.timestamp_field, *time)
        if place == "vertex_dataset":
            uris = datasets.uris(self._context.database.get("Dataset", dataset.vertex_dataset))
            return Source(inputs.CSV, uris, dataset.timestamp_field, *time)
        source = dataset.gcs_source
        form = inputs.CSV if type(source).DataFormat.Name(source.format_) == "CSV" else inputs.JSONL
        return Source(form, [source.gcs_uri], dataset.timestamp_field, *time)

    def _log(self, name: str) -> str:
        endpoint = self._context.database.get("Endpoint", name)
        destination = request_logs.destination_of(endpoint)
        if destination is None:
            raise precondition(f"Endpoint `{name}` does not log: set its predict_request_response_logging_config.")
        return f"{destination.bucket}/{destination.folder}"

    # Looking

    async def _run(self, name: str, fields: Fields) -> None:
        job = self._context.database.get(KIND, name)
        job.state = self._state("RUNNING")
        self._context.database.update(name, job)
        # Of a scheduled job the time that it was scheduled for counts: https://cloud.google.com/vertex-ai/docs/reference/
        # rest/v1beta1/ModelMonitoringInput#TimeOffset
        cutoff = (job.schedule_time if job.schedule else job.create_time).ToDatetime(timezone.utc)
        try:
            objective = job.model_monitoring_spec.objective_spec
            sources = [self._source(one, cutoff) for one in (objective.baseline_dataset, objective.target_dataset)]
            detail = job.job_execution_detail
            for processed, source in zip((detail.baseline_datasets, detail.target_datasets), sources, strict=True):
                for place in source.places:
                    _describe(processed.add(), place, source)
            before, now = [
                await asyncio.to_thread(inputs.read, self._context.storage, source, fields) for source in sources
            ]
            found = await asyncio.to_thread(self._compare, job, before, now, fields)
        except ApiError as error:
            self._end(job, error.code, error.message)
        except asyncio.CancelledError:
            self._end(job, Code.ABORTED, "The emulator was stopped while the job ran.")
            raise
        except Exception:
            LOG.exception("%s", name)
            self._end(job, Code.INTERNAL, "Internal error; see the emulator's log.")
        else:
            with self._context.database.transaction():
                self._context.database.insert(
                    STATS, _stats_name(name), name.partition("/modelMonitoringJobs/")[0], found
                )
                self._end(job)

    def _compare(self, job: Message, before: Data, now: Data, fields: Fields) -> Message:
        """Return the distances of all objectives; the state of each goes into the job."""
        objective = job.model_monitoring_spec.objective_spec.tabular_objective
        parts = [
            Compared(FEATURES, objective.feature_drift_spec, before.features, now.features, fields.features),
            Compared(
                PREDICTIONS, objective.prediction_output_drift_spec, before.predictions, now.predictions,
                fields.predictions,
            ),
        ]  # fmt: skip
        found = self._context.surface.new(STATS)
        for part, name in zip(parts, ("feature_drift_spec", "prediction_output_drift_spec"), strict=True):
            if not objective.HasField(name):
                continue
            status = job.job_execution_detail.objective_status[part.objective]
            try:
                found.monitoring_stats.extend(self._distances(job, part))
            except ApiError as error:
                status.code, status.message = error.code.number, error.message
        return found

    def _distances(self, job: Message, part: Compared) -> list[Message]:
        names = list(part.spec.features) or list(part.types) or [name for name in part.now if name in part.before]
        if not names:
            raise precondition("The two datasets have no column in common: set a model_monitoring_schema.")
        inputs.refuse_missing(names, part.before, "baseline dataset")
        inputs.refuse_missing(names, part.now, "target dataset")
        return [self._distance(job, part, name) for name in names]

    def _distance(self, job: Message, part: Compared, name: str) -> Message:
        sides = [part.now[name], part.before[name]]
        now, before = ([value for value in side if value is not None] for side in sides)
        data_type = part.types.get(name, "")
        numeric = data_type in NUMERIC if data_type else are_numbers((*before, *now))
        if numeric:
            measure, distance = JENSEN_SHANNON, of_numbers(before, now)
        else:
            measure = part.spec.categorical_metric_type or L_INFINITY
            distance = of_categories(before, now, measure)
        threshold = _threshold(part.spec, name, numeric=numeric)
        stats = self._context.surface.new("ModelMonitoringStats")
        stats.tabular_stats.stats_name, stats.tabular_stats.objective_type = name, part.objective
        point = stats.tabular_stats.data_points.add(
            model_monitoring_job=job.name, schedule=job.schedule, algorithm=measure
        )
        for target, side in zip((point.current_stats, point.baseline_stats), sides, strict=True):
            values = described(name, side, numeric=numeric)
            json_format.ParseDict(values, target.distribution_value.distribution)
        point.current_stats.distribution_value.distribution_deviation = distance
        if threshold is not None:
            point.threshold_value, point.has_anomaly = threshold, distance > threshold
        point.create_time.CopyFrom(job.create_time)
        return stats

    def _end(self, job: Message, code: Code | None = None, message: str = "") -> None:
        statuses = [status.code for status in job.job_execution_detail.objective_status.values()]
        state = "SUCCEEDED"
        if code is not None:
            job.job_execution_detail.error.code, job.job_execution_detail.error.message = code.number, message
            state = "FAILED"
        elif statuses and all(statuses):
            # By name: the order of a message's map is any.
            by_objective = job.job_execution_detail.objective_status
            first = next(name for name in (FEATURES, PREDICTIONS) if name in by_objective)
            job.job_execution_detail.error.CopyFrom(by_objective[first])
            state = "FAILED"
        elif any(statuses):
            state = "PARTIALLY_SUCCEEDED"
        job.state = self._state(state)
        job.update_time.FromDatetime(self._context.clock.now())
        self._context.database.update(job.name, job)

    # What was found

    def _points(self, monitor: str, interval: Message) -> list[tuple[Message, Message]]:
        """Return the points of all jobs of a monitor within a time, the newest job first."""
        self._context.database.get(MONITOR, monitor)
        start, end = (
            getattr(interval, name).ToDatetime(timezone.utc) if interval.HasField(name) else None
            for name in ("start_time", "end_time")
        )
        return [
            (stats.tabular_stats, point)
            for row in self._context.database.children(STATS, monitor)
            for stats in row.message.monitoring_stats
            for point in stats.tabular_stats.data_points
            if (start is None or point.create_time.ToDatetime(timezone.utc) >= start)
            and (end is None or point.create_time.ToDatetime(timezone.utc) < end)
        ]

    def _alert(self, stats: Message, point: Message) -> Message:
        alert = self._context.surface.new(
            "ModelMonitoringAlert", stats_name=stats.stats_name, objective_type=stats.objective_type
        )
        alert.alert_time.CopyFrom(point.create_time)
        alert.anomaly.model_monitoring_job, alert.anomaly.algorithm = point.model_monitoring_job, point.algorithm
        anomaly = alert.anomaly.tabular_anomaly
        deviation = point.current_stats.distribution_value.distribution_deviation
        limit = f"above the threshold {point.threshold_value:.6g}"
        anomaly.summary = f"{point.algorithm} of {stats.stats_name} is {deviation:.6g}, {limit}."
        anomaly.trigger_time.CopyFrom(point.create_time)
        anomaly.condition.threshold = point.threshold_value
        return alert

    def _state(self, name: str) -> int:
        return self._context.surface.enum_value("JobState", f"JOB_STATE_{name}")


def _stats_name(job: str) -> str:
    return f"{job}/stats"


def _threshold(spec: Message, name: str, *, numeric: bool) -> float | None:
    """Return the threshold of a feature: its own, or that of its kind; None when there is neither."""
    default = spec.default_numeric_alert_condition if numeric else spec.default_categorical_alert_condition
    condition = spec.feature_alert_conditions.get(name, default)
    return float(condition.threshold) if condition.WhichOneof("condition") else None


def _describe(processed: Message, place: str, source: Source) -> None:
    """Say where the rows of a dataset were, and of which time they are."""
    bucket, _, folder = place.partition("/")
    table = f"bq://{bucket.removesuffix('-bigquery-tables')}.{folder.replace('/', '.')}"
    processed.location = table if source.form == inputs.LOGS else place
    for name, moment in (("start_time", source.start), ("end_time", source.end)):
        if moment is not None:
            getattr(processed.time_range, name).FromDatetime(moment)


def _page(found: Sequence[Any], request: Message) -> tuple[Sequence[Any], str]:
    if request.page_size < 0:
        raise invalid("page_size must not be negative.")
    if request.page_token and not request.page_token.isdecimal():
        raise invalid("The page_token is not one of this search.")
    start, size = int(request.page_token or 0), min(request.page_size or LARGEST_PAGE, LARGEST_PAGE)
    token = str(start + size) if start + size < len(found) else ""
    return found[start : start + size], token
