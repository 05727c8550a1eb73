"""JobService, monitoring of endpoints.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.modelDeploymentMonitoringJobs. A job waits
(PENDING) until its endpoint is asked. Then, by the emulator's clock, it compares what the endpoint was asked in the
last window with the training data (skew) and with the window before (drift). Windows that have passed are looked at
when somebody asks for the job. It writes no mail and no log; attributions are not monitored.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from edge_tasks.emulator.errors import ApiError, invalid, invalid_field, not_found, precondition, unimplemented
from edge_tasks.emulator.monitoring import samples
from edge_tasks.emulator.monitoring.distance import deviation
from edge_tasks.emulator.projects import project_id
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_labels,
    check_parent,
    new_id,
)
from edge_tasks.emulator.services.request_logs import Destination
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_tasks.emulator.monitoring.samples import Asked, Features
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

KIND, STATS = "ModelDeploymentMonitoringJob", "ModelMonitoringStatsAnomalies"
RPC = "google.cloud.aiplatform.v1.JobService.CreateModelDeploymentMonitoringJob"
MUTABLE = frozenset(
    {"display_name", "model_deployment_monitoring_objective_configs", "model_deployment_monitoring_schedule_config"}
    | {"logging_sampling_strategy", "model_monitoring_alert_config", "labels", "log_ttl"}
    | {"predict_instance_schema_uri", "analysis_instance_schema_uri", "stats_anomalies_base_directory"}
    | {"enable_monitoring_pipeline_logs"}
)
# Windows that have passed are looked at so many at once, the newest; and so many are remembered of each feature.
MOST_WINDOWS, MOST_STATS = 48, 500
SKEW, DRIFT = "RAW_FEATURE_SKEW", "RAW_FEATURE_DRIFT"
LARGEST_PAGE = 100


class Window(NamedTuple):
    """A time of requests, after its start and up to its end."""

    start: datetime
    end: datetime

    @property
    def before(self) -> Window:
        """The window of the same length before."""
        return Window(self.start - (self.end - self.start), self.start)


def destination_of(job: Message) -> Destination:
    """Return where what a job's endpoint is asked is kept for it."""
    _, project, *_ = job.name.split("/")
    folder = f"model_deployment_monitoring_{job.endpoint.rpartition('/')[2].replace('-', '_')}/serving_predict"
    rate = job.logging_sampling_strategy.random_sample_config.sample_rate
    return Destination(f"{project_id(project).replace(':', '-')}-bigquery-tables", folder, rate)


class MonitoringJobs:
    """Monitoring jobs, what they have found, and the search in it."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations
        self._locks: dict[str, asyncio.Lock] = {}

    async def create_model_deployment_monitoring_job(self, request: Message) -> Message:
        """Store a job; its first window ends an interval from now."""
        check_parent(request.parent)
        job = request.model_deployment_monitoring_job
        self._check(job, request.parent)
        for field in ("state", "schedule_state", "latest_monitoring_pipeline_metadata", "bigquery_tables", "error"):
            job.ClearField(field)
        job.name = f"{request.parent}/modelDeploymentMonitoringJobs/{new_id()}"
        job.state = self._state("JOB_STATE_PENDING")
        job.schedule_state = self._schedule_state("PENDING")
        destination = destination_of(job)
        job.bigquery_tables.add(
            log_source=self._enum("ModelDeploymentMonitoringBigQueryTable.LogSource", "SERVING"),
            log_type=self._enum("ModelDeploymentMonitoringBigQueryTable.LogType", "PREDICT"),
            bigquery_table_path=f"bq://{project_id(job.name.split('/')[1])}.{destination.folder.replace('/', '.')}",
        )
        now = self._context.clock.now()
        for moment in (job.create_time, job.update_time):
            moment.FromDatetime(now)
        job.next_schedule_time.FromDatetime(now + _interval(job))
        self._context.database.insert(KIND, job.name, request.parent, job)
        return job

    async def get_model_deployment_monitoring_job(self, request: Message) -> Message:
        """Return a job, after it has looked at the windows that have passed."""
        return await self._caught_up(request.name)

    async def list_model_deployment_monitoring_jobs(self, request: Message) -> Message:
        """Return the jobs of a location, newest first."""
        check_parent(request.parent)
        for row in self._context.database.children(KIND, request.parent):
            await self._caught_up(row.message.name)
        rows = self._context.database.children(KIND, request.parent)
        jobs, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new(
            "ListModelDeploymentMonitoringJobsResponse", model_deployment_monitoring_jobs=jobs, next_page_token=token
        )

    async def update_model_deployment_monitoring_job(self, request: Message) -> Message:
        """Change a job that is at work."""
        given = request.model_deployment_monitoring_job
        job = await self._caught_up(given.name)
        if job.state == self._state("JOB_STATE_PENDING"):
            raise precondition(f"{KIND} {job.name} is in the state JOB_STATE_PENDING: it can be changed when it runs.")
        apply_mask(job, given, request.update_mask.paths, MUTABLE)
        self._check(job, job.name.partition("/modelDeploymentMonitoringJobs/")[0])
        job.update_time.FromDatetime(self._context.clock.now())

        async def work() -> Message:
            self._context.database.get(KIND, job.name)
            self._context.database.update(job.name, job)
            return job

        return await self._operations.start("JobService.UpdateModelDeploymentMonitoringJob", job.name, work())

    async def pause_model_deployment_monitoring_job(self, request: Message) -> Message:
        """Keep nothing more for a job, and look at no window."""
        job = await self._caught_up(request.name)
        job.state = self._state("JOB_STATE_PAUSED")
        job.schedule_state = self._schedule_state("OFFLINE")
        self._save(job)
        return self._context.surface.new("google.protobuf.Empty")

    async def resume_model_deployment_monitoring_job(self, request: Message) -> Message:
        """Let a paused job work again; the windows of the pause are not looked at."""
        job = await self._caught_up(request.name)
        if job.state != self._state("JOB_STATE_PAUSED"):
            raise precondition(f"{KIND} {job.name} is not paused.")
        job.state = self._state("JOB_STATE_RUNNING")
        job.schedule_state = self._schedule_state("RUNNING")
        job.next_schedule_time.FromDatetime(self._context.clock.now() + _interval(job))
        self._save(job)
        return self._context.surface.new("google.protobuf.Empty")

    async def delete_model_deployment_monitoring_job(self, request: Message) -> Message:
        """Forget a job and what it found; what it kept of requests stays."""
        job = self._context.database.get(KIND, request.name)

        async def work() -> Message:
            with self._context.database.transaction():
                for row in self._context.database.children(STATS, job.name):
                    self._context.database.delete(_stats_name(job, row.message))
                self._context.database.delete(job.name)
            self._locks.pop(job.name, None)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("JobService.DeleteModelDeploymentMonitoringJob", job.name, work())

    async def search_model_deployment_monitoring_stats_anomalies(self, request: Message) -> Message:
        """Return what a job found, by deployed model and objective: distances of features, window by window."""
        job = await self._caught_up(request.model_deployment_monitoring_job)
        if request.deployed_model_id and request.deployed_model_id not in _deployed(job):
            raise not_found("DeployedModel", request.deployed_model_id)
        wanted = {objective.type_: objective.top_feature_count for objective in request.objectives}
        found = []
        for row in reversed(self._context.database.children(STATS, job.name)):
            stats = row.message
            if request.deployed_model_id not in {"", stats.deployed_model_id}:
                continue
            if wanted and stats.objective not in wanted:
                continue
            found.append(_selected(stats, request, wanted.get(stats.objective, 0)))
        offset, size = _offset(request), min(request.page_size or LARGEST_PAGE, LARGEST_PAGE)
        token = str(offset + size) if offset + size < len(found) else ""
        return self._context.surface.new(
            "SearchModelDeploymentMonitoringStatsAnomaliesResponse",
            monitoring_stats=found[offset : offset + size],
            next_page_token=token,
        )

    # What a job may be

    def _check(self, job: Message, parent: str) -> None:
        check_display_name(job)
        check_labels(job)
        configs = job.model_deployment_monitoring_objective_configs
        if not configs:
            # In Google's words: https://github.com/googleapis/python-aiplatform/issues/2361.
            raise invalid_field(
                "model_deployment_monitoring_job",
                "model_deployment_monitoring_objective_configs is empty in ModelDeploymentMonitoringJob.",
            )
        if not job.endpoint.startswith(f"{parent}/endpoints/"):
            raise invalid(f"endpoint must be an endpoint of {parent}, not {job.endpoint[:200]!r}.")
        endpoint = self._context.database.get("Endpoint", job.endpoint)
        known = {deployed.id for deployed in endpoint.deployed_models}
        for config in configs:
            if config.deployed_model_id not in known:
                raise invalid(f"The endpoint {job.endpoint} has no deployed model {config.deployed_model_id!r}.")
            _check_objective(config.objective_config)
        schedule = job.model_deployment_monitoring_schedule_config
        if schedule.monitor_interval.ToTimedelta() <= timedelta():
            raise invalid("model_deployment_monitoring_schedule_config.monitor_interval is required.")
        # https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelDeploymentMonitoringScheduleConfig: rounded up.
        hours = -(-schedule.monitor_interval.ToTimedelta() // timedelta(hours=1))
        schedule.monitor_interval.FromTimedelta(timedelta(hours=hours))
        if not 0 < job.logging_sampling_strategy.random_sample_config.sample_rate <= 1:
            raise invalid("logging_sampling_strategy.random_sample_config.sample_rate must be in the range (0, 1].")
        for field in ("predict_instance_schema_uri", "analysis_instance_schema_uri"):
            if getattr(job, field):
                parse_uri(getattr(job, field), field)

    # Looking at windows

    async def _caught_up(self, name: str) -> Message:
        """Return a job that has looked at every window that has passed."""
        self._context.database.get(KIND, name)
        async with self._locks.setdefault(name, asyncio.Lock()):
            job = self._context.database.get(KIND, name)
            now = self._context.clock.now()
            if job.state == self._state("JOB_STATE_PENDING") and await asyncio.to_thread(self._is_asked, job, now):
                job.state = self._state("JOB_STATE_RUNNING")
                job.schedule_state = self._schedule_state("RUNNING")
                self._save(job)
            due = job.next_schedule_time.ToDatetime(timezone.utc)
            if job.state == self._state("JOB_STATE_PAUSED") or due > now:
                return job
            windows = int((now - due) / _interval(job)) + 1
            due += _interval(job) * max(0, windows - MOST_WINDOWS)
            while due <= now:
                if job.state == self._state("JOB_STATE_RUNNING"):
                    await self._look(job, Window(due - _length(job), due))
                due += _interval(job)
            job.next_schedule_time.FromDatetime(due)
            # It may have been deleted meanwhile.
            self._context.database.get(KIND, name)
            self._save(job)
            return job

    def _is_asked(self, job: Message, now: datetime) -> bool:
        return any(self._asked(job, Window(job.create_time.ToDatetime(timezone.utc), now)))

    def _asked(self, job: Message, window: Window) -> Iterable[Asked]:
        destination = destination_of(job)
        return samples.asked(self._context.storage, destination.bucket, destination.folder, window.start, window.end)

    async def _look(self, job: Message, window: Window) -> None:
        status = job.latest_monitoring_pipeline_metadata
        status.run_time.FromDatetime(window.end)
        status.ClearField("status")
        try:
            found = await asyncio.to_thread(self._compare, job, window)
        except ApiError as error:
            status.status.code, status.status.message = error.code.number, error.message
            return
        for stats in found:
            self._remember(job, stats)

    def _compare(self, job: Message, window: Window) -> list[Message]:
        """Return what one window shows, by deployed model and objective."""
        rows = list(self._asked(job, Window(window.before.start, window.end)))
        border = window.start.isoformat(timespec="microseconds")
        names = samples.schema_names(self._context.storage, job.analysis_instance_schema_uri)
        found = []
        for config in job.model_deployment_monitoring_objective_configs:
            own = [row for row in rows if row.deployed_model_id == config.deployed_model_id]
            now = samples.features_of((row for row in own if row.time > border), names)
            if not now:
                continue
            objective = config.objective_config
            skew, drift = (
                objective.training_prediction_skew_detection_config,
                objective.prediction_drift_detection_config,
            )
            if objective.HasField("training_prediction_skew_detection_config"):
                training = samples.training_features(self._context.storage, objective.training_dataset)
                thresholds = _thresholds(skew.skew_thresholds, skew.default_skew_threshold, now)
                found.append(self._stats(config.deployed_model_id, SKEW, training, now, thresholds, window))
            if objective.HasField("prediction_drift_detection_config"):
                before = samples.features_of((row for row in own if row.time <= border), names)
                thresholds = _thresholds(drift.drift_thresholds, drift.default_drift_threshold, now)
                found.append(self._stats(config.deployed_model_id, DRIFT, before, now, thresholds, window))
        return found

    def _stats(
        self,
        deployed: str,
        objective: str,
        before: Features,
        now: Features,
        thresholds: Mapping[str, float],
        window: Window,
    ) -> Message:
        stats = self._context.surface.new(
            STATS, deployed_model_id=deployed, objective=self._enum("ModelDeploymentMonitoringObjectiveType", objective)
        )
        for name, threshold in thresholds.items():
            distance = deviation(before.get(name, []), now.get(name, []))
            if distance is None:
                continue
            feature = stats.feature_stats.add(feature_display_name=name)
            feature.threshold.value = threshold
            one = feature.prediction_stats.add(distribution_deviation=distance, anomaly_detection_threshold=threshold)
            one.start_time.FromDatetime(window.start)
            one.end_time.FromDatetime(window.end)
            stats.anomaly_count += distance > threshold
        return stats

    def _remember(self, job: Message, new: Message) -> None:
        """Add what a window shows to what is known of a deployed model."""
        name = _stats_name(job, new)
        row = self._context.database.find(STATS, name)
        if row is None:
            self._context.database.insert(STATS, name, job.name, new)
            return
        known = row.message
        features = {feature.feature_display_name: feature for feature in known.feature_stats}
        for feature in new.feature_stats:
            target = features.get(feature.feature_display_name)
            if target is None:
                target = known.feature_stats.add(feature_display_name=feature.feature_display_name)
            target.threshold.CopyFrom(feature.threshold)
            target.prediction_stats.extend(feature.prediction_stats)
            del target.prediction_stats[:-MOST_STATS]
        known.anomaly_count = _anomalies(known.feature_stats)
        self._context.database.update(name, known)

    def _save(self, job: Message) -> None:
        job.update_time.FromDatetime(self._context.clock.now())
        self._context.database.update(job.name, job)

    def _enum(self, kind: str, name: str) -> int:
        return self._context.surface.enum_value(kind, name)

    def _state(self, name: str) -> int:
        return self._enum("JobState", name)

    def _schedule_state(self, name: str) -> int:
        return self._enum("ModelDeploymentMonitoringJob.MonitoringScheduleState", name)


def _check_objective(config: Message) -> None:
    skew = config.training_prediction_skew_detection_config
    drift = config.prediction_drift_detection_config
    if not config.HasField("training_prediction_skew_detection_config") and not config.HasField(
        "prediction_drift_detection_config"
    ):
        raise invalid("objective_config needs a skew or a drift detection config.")
    if config.HasField("training_prediction_skew_detection_config") and not config.training_dataset.WhichOneof(
        "data_source"
    ):
        raise invalid("objective_config.training_dataset is required for skew detection.")
    if config.explanation_config.enable_feature_attributes:
        raise unimplemented(f"{RPC} with explanation_config.enable_feature_attributes is not implemented here.")
    for thresholds in (skew.skew_thresholds, drift.drift_thresholds):
        for name, threshold in thresholds.items():
            if not 0 <= threshold.value <= 1:
                raise invalid(f"The threshold of {name!r} must be from 0 to 1, not {threshold.value:g}.")


def _interval(job: Message) -> timedelta:
    interval: timedelta = job.model_deployment_monitoring_schedule_config.monitor_interval.ToTimedelta()
    return interval


def _length(job: Message) -> timedelta:
    """Return how long the windows are: an interval, unless the job says otherwise."""
    length: timedelta = job.model_deployment_monitoring_schedule_config.monitor_window.ToTimedelta()
    return length if length > timedelta() else _interval(job)


def _thresholds(given: Mapping[str, Message], default: Message, features: Features) -> dict[str, float]:
    """Return the threshold of each feature that is looked at: those that are named, with a default all of them."""
    everywhere = dict.fromkeys(features, default.value) if default.value else {}
    return {**everywhere, **{name: threshold.value for name, threshold in given.items()}}


def _deployed(job: Message) -> set[str]:
    return {config.deployed_model_id for config in job.model_deployment_monitoring_objective_configs}


def _stats_name(job: Message, stats: Message) -> str:
    return f"{job.name}/stats/{stats.deployed_model_id}-{stats.objective}"


def _selected(stats: Message, request: Message, most: int) -> Message:
    """Return what of a deployed model's stats is asked for: a feature, a time, the features that deviate most."""
    start = request.start_time.ToDatetime(timezone.utc) if request.HasField("start_time") else None
    end = request.end_time.ToDatetime(timezone.utc) if request.HasField("end_time") else None
    found = type(stats)()
    found.CopyFrom(stats)
    del found.feature_stats[:]
    for feature in stats.feature_stats:
        if request.feature_display_name not in {"", feature.feature_display_name}:
            continue
        there = [
            one
            for one in feature.prediction_stats
            if (start is None or one.end_time.ToDatetime(timezone.utc) >= start)
            and (end is None or one.start_time.ToDatetime(timezone.utc) <= end)
        ]
        if there:
            kept = found.feature_stats.add(
                feature_display_name=feature.feature_display_name, threshold=feature.threshold
            )
            kept.prediction_stats.extend(there)
    if most:
        ordered = sorted(found.feature_stats, key=lambda one: -one.prediction_stats[-1].distribution_deviation)
        copies = [type(one).FromString(one.SerializeToString()) for one in ordered[:most]]
        del found.feature_stats[:]
        found.feature_stats.extend(copies)
    found.anomaly_count = _anomalies(found.feature_stats)
    return found


def _anomalies(features: Sequence[Message]) -> int:
    return sum(
        one.distribution_deviation > one.anomaly_detection_threshold
        for feature in features
        for one in feature.prediction_stats
    )


def _offset(request: Message) -> int:
    if request.page_size < 0:
        raise invalid("page_size must not be negative.")
    if request.page_token and not request.page_token.isdecimal():
        raise invalid("The page_token is not one of this search.")
    return int(request.page_token or 0)


def destinations(database_rows: Iterable[Message], endpoint: str, paused: int) -> list[Destination]:
    """Return where the monitoring jobs of an endpoint want kept what it is asked."""
    return [destination_of(job) for job in database_rows if job.endpoint == endpoint and job.state != paused]
