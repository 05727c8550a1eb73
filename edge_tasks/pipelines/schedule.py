"""Schedules of the repository's pipelines: at most one for each, known by its title."""

from __future__ import annotations

from typing import Any

from edge_tasks.cloud import pipeline_schedules
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.pipeline_jobs import job_of
from edge_tasks.cloud.pipeline_schedules import Schedule
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import NotFoundError
from edge_tasks.pipelines.export import Export
from edge_tasks.repo import layout

COLUMNS = ["schedule", "pipeline", "cron", "state", "next run (UTC)", "runs", "last start"]


def schedule(cloud: Cloud, config: EdgeConfig, export: Export, cron: str, progress: Progress) -> Schedule:
    """Have a pipeline started at the moments of `cron`: a schedule that there is gets these moments, and this code."""
    for note in export.notes():
        progress.step(note)
    export.send(cloud, progress)
    job = job_of(
        export.document,
        display_name="",
        parameters={},
        labels=layout.pipeline_labels(config, export.models),
        service_account=config.models[export.models[0]].training_service_account,
    )
    title = _title(config, export.name)
    found = pipeline_schedules.find(cloud, title)
    if found:
        return pipeline_schedules.change(cloud, found[0], cron, job)
    return pipeline_schedules.create(cloud, title, cron, job)


def unschedule(cloud: Cloud, config: EdgeConfig, pipeline: str) -> list[Schedule]:
    """Delete the schedule of a pipeline; return what was deleted. Raises NotFoundError when there is none."""
    found = pipeline_schedules.find(cloud, _title(config, pipeline))
    if not found:
        raise NotFoundError(
            f"the pipeline `{pipeline}` has no schedule", "invoke pipeline.schedules shows those there are"
        )
    for one in found:
        pipeline_schedules.delete(cloud, one.name)
    return found


def list_schedules(cloud: Cloud, config: EdgeConfig) -> list[Schedule]:
    """Return the schedules of the repository's pipelines, newest first."""
    return pipeline_schedules.find(cloud, _title(config, "*"))


def row(found: Schedule) -> list[str]:
    """Return the row of COLUMNS of a schedule."""
    moment = f"{found.next_run:%Y-%m-%d %H:%M}" if found.next_run else ""
    name = pipeline_of(found)
    return [found.schedule_id, name, found.cron, found.state.lower(), moment, str(found.runs), found.last_response]


def describe(found: Schedule) -> dict[str, Any]:
    """Return what is known of a schedule as plain JSON."""
    return {
        "schedule": found.schedule_id,
        "name": found.name,
        "pipeline": pipeline_of(found),
        "cron": found.cron,
        "state": found.state.lower(),
        "next_run": found.next_run.isoformat() if found.next_run else None,
        "runs": found.runs,
        "last_start": found.last_response or None,
    }


def pipeline_of(found: Schedule) -> str:
    """Return the name of the pipeline that a schedule starts."""
    return found.title.rpartition("/")[2]


def _title(config: EdgeConfig, pipeline: str) -> str:
    return pipeline_schedules.title_of(config.storage_bucket.bucket_name, pipeline)
