"""Vertex AI's own monitoring of a model, set up from the settings of edge.yaml.

The job of v1 looks by itself, again and again, at what an endpoint is asked with objects. The monitor of v1beta1 looks
when it is told to, or when its schedule says; it compares predictions, too, and knows the names in lists, since its
schema has them in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from edge_tasks.cloud import managed_monitoring, model_monitors, monitor_schedules, monitoring_jobs
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.monitor_schedules import Schedule
from edge_tasks.cloud.monitoring_jobs import Finding, Wanted
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.baseline import PREDICTION, Baseline, is_prediction
from edge_tasks.domain.config import Monitoring
from edge_tasks.domain.distributions import NUMBER
from edge_tasks.domain.period import read_period
from edge_tasks.errors import EdgeError, NotFoundError
from edge_tasks.monitoring import requests
from edge_tasks.repo import layout

# https://cloud.google.com/vertex-ai/docs/model-monitoring/using-model-monitoring: Google's own default.
DEFAULT_THRESHOLD = 0.3
COLUMNS = ["column", "objective", "until (UTC)", "distance", "threshold", "verdict"]


def ensure(
    cloud: Cloud, model: str, settings: Monitoring, sample: float, training: str | None, target: str
) -> tuple[str, int]:
    """Make or change the job of a model's endpoint; return its name, and every how many hours it looks.

    Only the columns of the settings are monitored, if they name some.
    """
    _check_training(training)
    hours = _hours(settings)
    thresholds = {name: settings.thresholds.get(name, DEFAULT_THRESHOLD) for name in settings.columns}
    wanted = Wanted(
        display_name=layout.monitoring_title(model),
        hours=hours,
        sample=sample,
        thresholds=thresholds or settings.thresholds,
        default_threshold=None if settings.columns else DEFAULT_THRESHOLD,
        training_uri=training,
        target=target,
        emails=settings.emails,
        labels=layout.endpoint_labels(model, cloud.bucket_name),
    )
    return monitoring_jobs.ensure(cloud, requests.endpoint_of(cloud, model), wanted), hours


def look(
    cloud: Cloud, model: str, settings: Monitoring, baseline: Baseline, training: str | None, target: str
) -> tuple[str, list[Finding]]:
    """Let a monitor of the version that serves look once: at the last window, against `training` or the time before.

    The names and the types of columns are the baseline's. Return the job's name, and what it found.
    """
    return model_monitors.look(cloud, _wanted(cloud, model, settings, baseline, training, target))


def schedule(
    cloud: Cloud, model: str, settings: Monitoring, baseline: Baseline, training: str | None, target: str
) -> tuple[Schedule, str, list[Finding]]:
    """Let a monitor of the version that serves look again and again, as `look` does once.

    Return the schedule, the state of its last look in words (empty before the first one), and what that found.
    """
    wanted = _wanted(cloud, model, settings, baseline, training, target)
    found = monitor_schedules.ensure(cloud, wanted, settings.schedule or default_cron(settings))
    return found, *monitor_schedules.last_look(cloud, found)


def window(settings: Monitoring) -> str:
    """Return the time that a look of Google's is about, in the hours that it counts in."""
    return f"{_hours(settings)}h"


def told(one: Schedule, state: str) -> str:
    """Return how the looks of a schedule went, in words."""
    if one.last_response not in ("", "OK"):
        return f"the last one was not started: {one.last_response}"
    return f"the last one has {state}" if state else "there was none yet"


def default_cron(settings: Monitoring) -> str:
    """Return when a monitor looks if edge.yaml does not say it: once in a window, and at least once a day (UTC)."""
    hours = _hours(settings)
    if hours >= 24:
        return "0 6 * * *"
    # Only what divides a day is the same on each: 5 h is 4 h.
    step = next(step for step in range(hours, 0, -1) if 24 % step == 0)
    return "0 * * * *" if step == 1 else f"0 */{step} * * *"


def _wanted(
    cloud: Cloud, model: str, settings: Monitoring, baseline: Baseline, training: str | None, target: str
) -> model_monitors.Wanted:
    _check_training(training)
    endpoint = requests.endpoint_of(cloud, model)
    deployed = StateStore(cloud).load().model(model).deployed
    if deployed is None:
        raise NotFoundError(f"the model `{model}` is not deployed", f"invoke model.deploy --name {model}")
    if not requests.is_kept(cloud, model):
        raise EdgeError(
            f"the endpoint of `{model}` keeps nothing of what it is asked", f"invoke model.monitor --name {model} --on"
        )
    span = window(settings)
    logs: dict[str, Any] = {"vertexEndpointLogs": {"endpoints": [endpoint]}}
    before: dict[str, Any] = {**logs, "timeOffset": {"offset": span, "window": span}}
    if training is not None:
        before = {"columnizedDataset": {"gcsSource": {"gcsUri": training, "format": "CSV"}}}
    types = {
        name: "float" if column.kind == NUMBER else "categorical"
        for name, column in baseline.columns.items()
        if name != target
    }
    return model_monitors.Wanted(
        display_name=layout.monitoring_title(model),
        model=deployed.model,
        features={name: kind for name, kind in types.items() if not is_prediction(name) and "." not in name},
        predictions=_predictions(types) if training is None else {},
        baseline=before,
        target={**logs, "timeOffset": {"window": span}},
        watched=settings.columns,
        ground_truth=target,
        thresholds=settings.thresholds,
        default_threshold=DEFAULT_THRESHOLD,
        emails=settings.emails,
    )


def _predictions(types: Mapping[str, str]) -> dict[str, str]:
    """Return the predictions as Vertex AI names them: by the key of an object, which it takes only if it is flat."""
    prefix = f"{PREDICTION}."
    return {
        name.removeprefix(prefix): kind
        for name, kind in types.items()
        if is_prediction(name) and "." not in name.removeprefix(prefix)
    }


def _check_training(training: str | None) -> None:
    if training is not None and not training.startswith("gs://"):
        raise EdgeError(f"`{training}` is not a file on Cloud Storage", "gcloud storage cp FILE.csv gs://...")


def _hours(settings: Monitoring) -> int:
    """Return the window in hours, which Vertex AI counts in, rounded up."""
    return max(1, -(-read_period(settings.window) // timedelta(hours=1)))


def findings(cloud: Cloud, name: str) -> tuple[str, list[Finding]]:
    """Return the state of a job in words, and what it found last."""
    state, trouble = monitoring_jobs.state(cloud, name)
    return f"{state}: {trouble}" if trouble else state, monitoring_jobs.findings(cloud, name)


def remove(cloud: Cloud, model: str) -> list[str]:
    """Delete the job of a model's endpoint, and the model's schedules and monitors; return their names."""
    found = []
    for thing in managed_monitoring.find(cloud, model, StateStore(cloud).load().model(model)):
        managed_monitoring.delete(cloud, thing)
        found.append(thing.name)
    if not found:
        raise NotFoundError(
            f"`{model}` has no monitoring job, and no monitor", f"invoke model.monitor --name {model} --managed"
        )
    return found


def is_changed(found: Finding) -> bool:
    """Say whether a column has gone farther than it may."""
    return found.distance > found.threshold


def row(found: Finding) -> list[str]:
    """Return a line of a table."""
    verdict = "changed" if is_changed(found) else "same"
    return [found.column, found.objective, found.until, f"{found.distance:.3f}", f"{found.threshold:.3f}", verdict]
