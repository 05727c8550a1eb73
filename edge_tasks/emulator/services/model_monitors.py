"""ModelMonitoringService of v1beta1: model monitors.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.modelMonitors. A monitor holds what
its jobs have in common: the model, the training data, the schema, the objective. It looks at nothing by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, precondition, unimplemented
from edge_tasks.emulator.monitoring.distance import JENSEN_SHANNON, L_INFINITY
from edge_tasks.emulator.monitoring.inputs import Fields, times
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.services.names import check_display_name, check_parent, new_id
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.models import Models
    from edge_tasks.emulator.services.operations import Operations

KIND, JOB, SCHEDULE = "ModelMonitor", "ModelMonitoringJob", "Schedule"
# What a job has found: the answer of a search for all of it.
STATS = "SearchModelMonitoringStatsResponse"
ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
MUTABLE = frozenset(
    {"display_name", "training_dataset", "model_monitoring_schema", "tabular_objective", "output_spec"}
    | {"notification_spec", "explanation_spec"}
)
ATTRIBUTIONS = "feature_attribution_spec (the monitoring of feature attributions) is not implemented by this emulator."
NUMERIC_METRICS, CATEGORICAL_METRICS = ("", JENSEN_SHANNON), ("", L_INFINITY, JENSEN_SHANNON)


class ModelMonitors:
    """Model monitors, kept in the store."""

    service = "google.cloud.aiplatform.v1.ModelMonitoringService"

    def __init__(self, context: Context, operations: Operations, models: Models) -> None:
        self._context = context
        self._operations = operations
        self._models = models

    async def create_model_monitor(self, request: Message) -> Message:
        """Store a monitor of a model version that is in the registry."""
        check_parent(request.parent)
        monitor = request.model_monitor
        monitor.name = f"{request.parent}/modelMonitors/{given_id(request.model_monitor_id, 'model_monitor_id')}"
        for field in ("create_time", "update_time", "satisfies_pzs", "satisfies_pzi"):
            monitor.ClearField(field)
        self._check(monitor, request.parent)
        monitor.create_time.FromDatetime(self._context.clock.now())
        monitor.update_time.CopyFrom(monitor.create_time)

        async def work() -> Message:
            self._context.database.insert(KIND, monitor.name, request.parent, monitor)
            return monitor

        return await self._operations.start("ModelMonitoringService.CreateModelMonitor", monitor.name, work())

    async def get_model_monitor(self, request: Message) -> Message:
        """Return a monitor."""
        return self._context.database.get(KIND, request.name)

    async def list_model_monitors(self, request: Message) -> Message:
        """Return the monitors of a location, newest first."""
        check_parent(request.parent)
        rows = self._context.database.children(KIND, request.parent)
        monitors, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new("ListModelMonitorsResponse", model_monitors=monitors, next_page_token=token)

    async def update_model_monitor(self, request: Message) -> Message:
        """Change a monitor; jobs that have been made stay as they were."""
        given = request.model_monitor
        monitor = self._context.database.get(KIND, given.name)
        apply_mask(monitor, given, request.update_mask.paths, MUTABLE)
        self._check(monitor, monitor.name.partition("/modelMonitors/")[0])
        monitor.update_time.FromDatetime(self._context.clock.now())

        async def work() -> Message:
            self._context.database.get(KIND, monitor.name)
            self._context.database.update(monitor.name, monitor)
            return monitor

        return await self._operations.start("ModelMonitoringService.UpdateModelMonitor", monitor.name, work())

    async def delete_model_monitor(self, request: Message) -> Message:
        """Forget a monitor, its jobs, and what they found; with `force` its schedules, too."""
        monitor = self._context.database.get(KIND, request.name)
        every = (row.message for row in self._context.database.every(SCHEDULE))
        schedules = [one.name for one in every if one.create_model_monitoring_job_request.parent == monitor.name]
        if schedules and not request.force:
            raise precondition(f"{KIND} `{monitor.name}` has schedules: delete them first, or set force.")
        jobs = [row.message for row in self._context.database.children(JOB, monitor.name)]
        running = self._context.surface.enum_value("JobState", "JOB_STATE_RUNNING")
        if any(job.state <= running for job in jobs):
            raise precondition(f"{KIND} `{monitor.name}` has jobs that run.")

        async def work() -> Message:
            with self._context.database.transaction():
                for job in jobs:
                    self._context.database.delete(f"{job.name}/stats")
                    self._context.database.delete(job.name)
                for name in (*schedules, monitor.name):
                    self._context.database.delete(name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("ModelMonitoringService.DeleteModelMonitor", monitor.name, work())

    def _check(self, monitor: Message, parent: str) -> None:
        check_display_name(monitor)
        target = monitor.model_monitoring_target.vertex_model
        if not target.model:
            raise invalid("model_monitoring_target.vertex_model.model is required.")
        if not target.model.startswith(f"{parent}/models/"):
            raise invalid(f"The model {target.model[:200]!r} is not in {parent}.")
        if not target.model_version_id:
            raise invalid("model_monitoring_target.vertex_model.model_version_id is required.")
        self._models.version(f"{target.model}@{target.model_version_id}")
        fields = Fields.of(monitor.model_monitoring_schema)
        if monitor.HasField("training_dataset"):
            check_input(monitor.training_dataset, "training_dataset")
            times(monitor.training_dataset, self._context.clock.now())
        check_objective(monitor.tabular_objective, fields)
        if monitor.output_spec.gcs_base_directory.output_uri_prefix:
            parse_uri(monitor.output_spec.gcs_base_directory.output_uri_prefix, "output_spec.gcs_base_directory")


def given_id(wished: str, field: str) -> str:
    """Return the id that a client wishes, or a new one."""
    if wished and not ID.fullmatch(wished):
        raise invalid(f"Invalid {field} {wished[:100]!r}: it must match {ID.pattern}.")
    return wished or new_id()


def check_input(given: Message, field: str) -> None:
    """Refuse an input that names nothing, and what the emulator cannot read."""
    which = given.WhichOneof("dataset")
    if which is None:
        raise invalid(f"{field} needs a columnized_dataset, a batch_prediction_output or vertex_endpoint_logs.")
    if which == "vertex_endpoint_logs" and not given.vertex_endpoint_logs.endpoints:
        raise invalid(f"{field}.vertex_endpoint_logs.endpoints is required.")
    if which != "columnized_dataset":
        return
    dataset = given.columnized_dataset
    place = dataset.WhichOneof("data_location")
    if place is None:
        raise invalid(f"{field}.columnized_dataset needs a vertex_dataset, a gcs_source or a bigquery_source.")
    if place == "gcs_source":
        parse_uri(dataset.gcs_source.gcs_uri, f"{field}.columnized_dataset.gcs_source.gcs_uri")
        form = type(dataset.gcs_source).DataFormat.Name(dataset.gcs_source.format_)
        if form == "DATA_FORMAT_UNSPECIFIED":
            raise invalid(f"{field}.columnized_dataset.gcs_source.format is required.")
        if form == "TF_RECORD":
            raise unimplemented(f"{field}: a gcs_source of the format TF_RECORD is not implemented by this emulator.")
    if place == "bigquery_source" and dataset.bigquery_source.query:
        raise unimplemented(f"{field}: a query of BigQuery is not implemented by this emulator; name a table_uri.")


def check_objective(objective: Message, fields: Fields) -> None:
    """Refuse measures that there are not, features that the schema does not know, and attributions."""
    if objective.HasField("feature_attribution_spec"):
        raise unimplemented(ATTRIBUTIONS)
    for name, known in (("feature_drift_spec", fields.features), ("prediction_output_drift_spec", fields.predictions)):
        spec = getattr(objective, name)
        if spec.numeric_metric_type not in NUMERIC_METRICS:
            raise invalid(f"{name}.numeric_metric_type must be {JENSEN_SHANNON}.")
        if spec.categorical_metric_type not in CATEGORICAL_METRICS:
            raise invalid(f"{name}.categorical_metric_type must be {L_INFINITY} or {JENSEN_SHANNON}.")
        unknown = [one for one in (*spec.features, *spec.feature_alert_conditions) if known and one not in known]
        if unknown:
            raise invalid(f"{name} names {unknown[0]!r}, which is not in the model_monitoring_schema.")
        conditions = {"default_categorical": spec.default_categorical_alert_condition}
        conditions |= {"default_numeric": spec.default_numeric_alert_condition, **spec.feature_alert_conditions}
        for which, condition in conditions.items():
            if not 0 <= condition.threshold <= 1:
                raise invalid(f"{name}: the threshold of {which} must be from 0 to 1, not {condition.threshold:g}.")
