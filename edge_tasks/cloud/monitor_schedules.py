"""Schedules of v1beta1 by which jobs of a model monitor look again and again.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.schedules
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edge_tasks.cloud import model_monitors
from edge_tasks.cloud.beta import ask, listed
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.model_monitors import Wanted
from edge_tasks.cloud.monitoring_jobs import Finding


@dataclass(frozen=True)
class Schedule:
    """What lets jobs of a monitor look at the moments of `cron`. `state` and `last_response` are Vertex AI's words."""

    name: str
    cron: str
    monitor: str
    state: str = ""
    next_run: str = ""
    runs: int = 0
    last_response: str = ""


def ensure(cloud: Cloud, wanted: Wanted, cron: str) -> Schedule:
    """Make the monitor of a version, or change it to what is wanted, and let jobs of it look at the moments of `cron`.

    There is one schedule for all versions of a model: that of another version goes, and one that is paused.
    """
    monitor = model_monitors.ensure(cloud, wanted)
    there = find(cloud, wanted.display_name, [wanted.model.partition("@")[0]])
    request = {"parent": monitor, "modelMonitoringJob": model_monitors.job_of(wanted)}
    body = {"displayName": wanted.display_name, "cron": cron, "createModelMonitoringJobRequest": request}
    mine = next((one for one in there if one.monitor == monitor and one.state == "ACTIVE"), None)
    if mine is None:
        answer = ask(cloud, "POST", f"{cloud.parent}/schedules", json={**body, "maxConcurrentRunCount": "1"})
    else:
        mask = "cron,createModelMonitoringJobRequest"
        answer = ask(cloud, "PATCH", f"{mine.name}?updateMask={mask}", json={**body, "name": mine.name})
    for other in there:
        if other != mine:
            delete(cloud, other.name)
    return _schedule(answer)


def find(cloud: Cloud, display_name: str, models: Collection[str]) -> list[Schedule]:
    """Return the schedules of this name whose jobs are those of monitors of `models`, newest first."""
    monitors = model_monitors.find(cloud, display_name, models)
    found = listed(cloud, f"{cloud.parent}/schedules", "schedules", filter=f'display_name="{display_name}"')
    return [one for one in map(_schedule, found) if one.monitor in monitors]


def last_look(cloud: Cloud, one: Schedule) -> tuple[str, list[Finding]]:
    """Return the state of the last job of a schedule that has ended, and what it found; an empty state without one."""
    ended = [
        job
        for job in listed(cloud, f"{one.monitor}/modelMonitoringJobs", "modelMonitoringJobs")
        if job.get("schedule") == one.name and job.get("state") in model_monitors.ENDED
    ]
    if not ended:
        return "", []
    job = max(ended, key=lambda job: str(job.get("scheduleTime", "")))
    error = job.get("jobExecutionDetail", {}).get("error", {}).get("message", "")
    state = str(job["state"]).removeprefix("JOB_STATE_").lower().replace("_", " ")
    found = model_monitors.findings(cloud, one.monitor, job["name"], job.get("scheduleTime", ""))
    return f"{state}: {error}" if error else state, found


def delete(cloud: Cloud, name: str) -> None:
    """Delete a schedule; the jobs that it has started stay."""
    model_monitors.finish(cloud, ask(cloud, "DELETE", name))


def _schedule(message: Mapping[str, Any]) -> Schedule:
    return Schedule(
        name=message["name"],
        cron=message.get("cron", ""),
        monitor=message.get("createModelMonitoringJobRequest", {}).get("parent", ""),
        state=message.get("state", ""),
        next_run=message.get("nextRunTime", "")[:16].replace("T", " "),
        runs=int(message.get("startedRunCount", 0)),
        last_response=message.get("lastScheduledRunResponse", {}).get("runResponse", ""),
    )
