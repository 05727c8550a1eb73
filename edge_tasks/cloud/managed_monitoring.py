"""All that watches a model on Google's own means: found by the model's names, and deleted.

What is of another repository is left alone, whatever it is called: a monitoring job is that of our endpoint, a monitor
that of our model in the registry, a schedule that of such a monitor.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_tasks.cloud import model_monitors, monitor_schedules, monitoring_jobs
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.state import ModelState
from edge_tasks.repo import layout

JOB, SCHEDULE, MONITOR = "monitoring job", "schedule of a model monitor", "model monitor"
KINDS = (JOB, SCHEDULE, MONITOR)


@dataclass(frozen=True)
class Watcher:
    """Something that watches a model: `kind` is for people."""

    kind: str
    name: str


def find(cloud: Cloud, model_name: str, state: ModelState) -> list[Watcher]:
    """Return what watches a model, in the order in which it can be deleted."""
    names = (model_name, *state.former_names)
    models = [layout.registry_model_id(cloud.bucket_name, name) for name in names]
    jobs, schedules, monitors = [], [], []
    for title in map(layout.monitoring_title, names):
        if state.endpoint and (job := monitoring_jobs.find(cloud, state.endpoint, title)):
            jobs.append(Watcher(JOB, job))
        schedules += [Watcher(SCHEDULE, one.name) for one in monitor_schedules.find(cloud, title, models)]
        monitors += [Watcher(MONITOR, one) for one in model_monitors.find(cloud, title, models)]
    return [*jobs, *schedules, *monitors]


def delete(cloud: Cloud, one: Watcher) -> None:
    """Delete it, with what it has found."""
    if one.kind == JOB:
        monitoring_jobs.delete(cloud, one.name)
    elif one.kind == SCHEDULE:
        monitor_schedules.delete(cloud, one.name)
    else:
        model_monitors.delete(cloud, one.name)
