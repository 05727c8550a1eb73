"""Every call to Vertex AI's schedules of pipelines: values in, values out.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_tasks.cloud.client import Cloud, sdk_errors


@dataclass(frozen=True)
class Schedule:
    """A schedule as it is now. `state` is Vertex AI's, `last_response` that of the start of the last run."""

    name: str
    title: str
    cron: str
    state: str
    next_run: datetime | None
    runs: int
    last_response: str

    @property
    def schedule_id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


def find(cloud: Cloud, title: str) -> list[Schedule]:
    """Return the schedules with a title, in which `*` stands for anything, newest first."""
    request = {"parent": cloud.parent, "filter": f'display_name="{title}"', "order_by": "create_time desc"}
    if "*" in title:
        request["filter"] = f'display_name:"{title}"'
    with sdk_errors("look for schedules"):
        return [_schedule(message) for message in cloud.schedules.list_schedules(request=request)]


def title_of(bucket_name: str, pipeline: str) -> str:
    """Return the title of the schedule of a repository's pipeline: no other repository has a bucket of this name."""
    return f"{bucket_name}/{pipeline}"


def of_bucket(cloud: Cloud) -> list[Schedule]:
    """Return the schedules of the pipelines of the repository with this bucket, newest first."""
    return find(cloud, title_of(cloud.bucket_name, "*"))


def create(cloud: Cloud, title: str, cron: str, job: Mapping[str, Any]) -> Schedule:
    """Make a schedule that starts the pipeline `job`, one run at a time."""
    schedule = {
        "display_name": title,
        "cron": cron,
        "max_concurrent_run_count": 1,
        "create_pipeline_job_request": {"parent": cloud.parent, "pipeline_job": dict(job)},
    }
    with sdk_errors(f"make the schedule `{title}`"):
        return _schedule(cloud.schedules.create_schedule(parent=cloud.parent, schedule=schedule))


def change(cloud: Cloud, found: Schedule, cron: str, job: Mapping[str, Any]) -> Schedule:
    """Let a schedule start another `job`, at other moments."""
    schedule = {
        "name": found.name,
        "cron": cron,
        "create_pipeline_job_request": {"parent": cloud.parent, "pipeline_job": dict(job)},
    }
    mask = {"paths": ["cron", "create_pipeline_job_request"]}
    with sdk_errors(f"change the schedule `{found.title}`"):
        return _schedule(cloud.schedules.update_schedule(schedule=schedule, update_mask=mask))


def delete(cloud: Cloud, name: str) -> None:
    """Delete a schedule; the runs that it has started continue."""
    with sdk_errors(f"delete the schedule {name}"):
        cloud.schedules.delete_schedule(name=name)


def _schedule(message: Any) -> Schedule:
    return Schedule(
        name=message.name,
        title=message.display_name,
        cron=message.cron,
        state=message.state.name,
        next_run=message.next_run_time or None,
        runs=int(message.started_run_count),
        last_response=message.last_scheduled_run_response.run_response,
    )
