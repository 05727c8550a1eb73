"""What schedules start: pipeline jobs, and in v1beta1 jobs of a model monitor.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.schedules. Each run has an id of its
own, whatever id the request in the schedule asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.services.names import check_display_name

if TYPE_CHECKING:
    from datetime import datetime

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.model_monitoring_jobs import ModelMonitoringJobs
    from edge_tasks.emulator.services.pipeline_jobs import PipelineJobs

PIPELINE, MONITORING = "create_pipeline_job_request", "create_model_monitoring_job_request"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Runs(Protocol):
    """Jobs of one kind."""

    def check(self, parent: str, schedule: Message) -> None:
        """Refuse a schedule in the location `parent` whose request could not be carried out."""

    def start(self, schedule: Message, moment: datetime) -> None:
        """Carry out the request of a schedule, for the moment at which it was due."""

    def active(self, schedule: Message) -> int:
        """Return how many jobs of a schedule have not ended."""


class PipelineRuns:
    """Pipeline jobs."""

    def __init__(self, context: Context, pipeline_jobs: PipelineJobs) -> None:
        self._context = context
        self._pipeline_jobs = pipeline_jobs

    def check(self, parent: str, schedule: Message) -> None:
        """Refuse what cannot be a pipeline job, and one of another location."""
        request = schedule.create_pipeline_job_request
        if request.parent != parent:
            raise invalid(f"{PIPELINE}.parent must be the schedule's own, {parent}.")
        self._pipeline_jobs.check(parent, request.pipeline_job)

    def start(self, schedule: Message, moment: datetime) -> None:
        """Start a pipeline job."""
        request = schedule.create_pipeline_job_request
        job = type(request.pipeline_job)()
        job.CopyFrom(request.pipeline_job)
        self._pipeline_jobs.start(request.parent, job, schedule=schedule.name)

    def active(self, schedule: Message) -> int:
        """Return how many pipeline jobs of a schedule run."""
        ended = {self._context.surface.enum_value("PipelineState", f"PIPELINE_STATE_{state}") for state in ENDED}
        rows = self._context.database.children("PipelineJob", schedule.create_pipeline_job_request.parent)
        return sum(row.message.schedule_name == schedule.name and row.message.state not in ended for row in rows)


class MonitoringRuns:
    """Jobs of a model monitor."""

    def __init__(self, jobs: ModelMonitoringJobs) -> None:
        self._jobs = jobs

    def check(self, parent: str, schedule: Message) -> None:
        """Refuse what cannot be a job of a monitor, and one of a monitor elsewhere."""
        request = schedule.create_model_monitoring_job_request
        if not request.parent.startswith(f"{parent}/modelMonitors/"):
            raise invalid(f"{MONITORING}.parent must be a model monitor in {parent}.")
        check_display_name(request.model_monitoring_job, required=False)
        self._jobs.check(request.parent, request.model_monitoring_job)

    def start(self, schedule: Message, moment: datetime) -> None:
        """Start a job, which looks at the time before the moment."""
        request = schedule.create_model_monitoring_job_request
        job = type(request.model_monitoring_job)()
        job.CopyFrom(request.model_monitoring_job)
        job.display_name = job.display_name or schedule.display_name
        self._jobs.start(request.parent, job, schedule=schedule.name, moment=moment)

    def active(self, schedule: Message) -> int:
        """Return how many jobs of a schedule run."""
        return self._jobs.active(schedule.create_model_monitoring_job_request.parent, schedule.name)
