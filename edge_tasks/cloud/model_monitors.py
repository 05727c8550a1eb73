"""Vertex AI's newer monitoring, v1beta1: a monitor of a model version, whose jobs look once.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.modelMonitors. To let
jobs look again and again is `edge_tasks.cloud.monitor_schedules`'s matter.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.beta import Operation, ask, listed
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.monitoring_jobs import Finding
from edge_tasks.cloud.operations import OPERATION_LIMIT, wait
from edge_tasks.errors import CloudError

# Seconds until a job must have ended, and between two looks.
_LIMIT, _POLL = 3600.0, 5.0
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", "JOB_STATE_FAILED")
_OBJECTIVES = {"raw-feature-drift": "input", "prediction-output-drift": "prediction"}


@dataclass(frozen=True)
class Wanted:
    """What a monitor is to look at: `model` is a versioned resource name.

    `features` and `predictions` are names with Vertex AI's data types, in the order in which lists hold them. Only
    those in `watched` are compared, if it names some. `baseline` and `target` are ModelMonitoringInputs.
    """

    display_name: str
    model: str
    features: Mapping[str, str]
    predictions: Mapping[str, str]
    baseline: Mapping[str, Any]
    target: Mapping[str, Any]
    watched: Sequence[str] = ()
    ground_truth: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    default_threshold: float = 0.3
    emails: Sequence[str] = ()


def look(cloud: Cloud, wanted: Wanted) -> tuple[str, list[Finding]]:
    """Make the monitor of a version, or change it to what is wanted; let a job of it look, and wait for its end.

    Return the job's name, and what it found, the largest excess over its threshold first. Raises CloudError when the
    job fails.
    """
    monitor = ensure(cloud, wanted)
    job = ask(cloud, "POST", f"{monitor}/modelMonitoringJobs", json=job_of(wanted))
    started = time.monotonic()
    while job.get("state") not in ENDED:
        if time.monotonic() - started > _LIMIT:
            raise CloudError(
                f"the job {job['name']} has not ended after {_LIMIT / 60:.0f} min", "look at it again later"
            )
        if job.get("state"):
            time.sleep(0 if cloud.bigquery_url is None else _POLL)  # the emulator holds its answer back by itself
        job = ask(cloud, "GET", job["name"])
    detail = job.get("jobExecutionDetail", {})
    if job["state"] == "JOB_STATE_FAILED":
        message = detail.get("error", {}).get("message", "it does not say why")
        raise CloudError(
            f"the monitoring job {job['name']} failed: {message}",
            "name the training data: --training gs://BUCKET/FILE.csv",
        )
    return job["name"], findings(cloud, monitor, job["name"])


def find(cloud: Cloud, display_name: str, models: Collection[str]) -> list[str]:
    """Return the names of the monitors of this name that watch versions of `models`."""
    return [monitor["name"] for monitor in _monitors(cloud, display_name, models)]


def delete(cloud: Cloud, name: str) -> None:
    """Delete a monitor with its jobs, its schedules, and what they found."""
    finish(cloud, ask(cloud, "DELETE", f"{name}?force=true"))


def ensure(cloud: Cloud, wanted: Wanted) -> str:
    """Make the monitor of a version, or change it to what is wanted; return its name."""
    model, _, version = wanted.model.partition("@")
    schema: dict[str, Any] = {
        "featureFields": _fields(wanted.features),
        "predictionFields": _fields(wanted.predictions),
    }
    if wanted.ground_truth:
        schema["groundTruthFields"] = _fields({wanted.ground_truth: "categorical"})
    body: dict[str, Any] = {"displayName": wanted.display_name, "modelMonitoringSchema": schema}
    if wanted.emails:
        body["notificationSpec"] = {"emailConfig": {"userEmails": list(wanted.emails)}}
    for monitor in _monitors(cloud, wanted.display_name, [model]):
        if monitor["modelMonitoringTarget"]["vertexModel"].get("modelVersionId") == version:
            mask = "modelMonitoringSchema,notificationSpec"
            finish(cloud, ask(cloud, "PATCH", f"{monitor['name']}?updateMask={mask}", json=body))
            return str(monitor["name"])
    body["modelMonitoringTarget"] = {"vertexModel": {"model": model, "modelVersionId": version}}
    return str(finish(cloud, ask(cloud, "POST", f"{cloud.parent}/modelMonitors", json=body))["name"])


def job_of(wanted: Wanted) -> dict[str, Any]:
    """Return a job that looks at what is wanted."""
    objective = {"targetDataset": wanted.target, "baselineDataset": wanted.baseline, "tabularObjective": _drift(wanted)}
    return {"displayName": wanted.display_name, "modelMonitoringSpec": {"objectiveSpec": objective}}


def _fields(types: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "dataType": data_type} for name, data_type in types.items()]


def _drift(wanted: Wanted) -> dict[str, Any]:
    """Return the objective: both kinds of columns, as far as the baseline has them."""
    condition = {"threshold": wanted.default_threshold}
    found = {}
    for name, types in (("featureDriftSpec", wanted.features), ("predictionOutputDriftSpec", wanted.predictions)):
        looked_at = [one for one in types if not wanted.watched or one in wanted.watched or types is wanted.predictions]
        if looked_at:
            found[name] = {
                "features": looked_at,
                "defaultCategoricalAlertCondition": condition,
                "defaultNumericAlertCondition": condition,
                "featureAlertConditions": {
                    one: {"threshold": wanted.thresholds[one]} for one in looked_at if one in wanted.thresholds
                },
            }
    return found


def findings(cloud: Cloud, monitor: str, job: str, until: str = "") -> list[Finding]:
    """Return what a job found. `until` is the end of its time, which is when it was made unless a schedule made it."""
    found = []
    request = {"statsFilter": {"tabularStatsFilter": {"modelMonitoringJob": job}}}

    def of_page(body: dict[str, Any]) -> dict[str, Any]:
        return ask(cloud, "POST", f"{monitor}:searchModelMonitoringStats", json=body)

    for answer in rest.pages(of_page, request):
        for one in answer.get("monitoringStats", []):
            stats = one["tabularStats"]
            point = stats["dataPoints"][0]
            distance = point["currentStats"]["distributionValue"].get("distributionDeviation", 0.0)
            objective = _OBJECTIVES.get(stats["objectiveType"], stats["objectiveType"])
            moment = (until or point["createTime"])[:16].replace("T", " ")
            found.append(Finding(objective, stats["statsName"], distance, point.get("thresholdValue", 0.0), moment))
    return sorted(found, key=lambda one: one.threshold - one.distance)


def _monitors(cloud: Cloud, display_name: str, models: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the monitors of this name that watch versions of `models`: others may have given theirs the same name."""
    ids = {model.rpartition("/")[2].partition("@")[0] for model in models}
    found = listed(cloud, f"{cloud.parent}/modelMonitors", "modelMonitors", filter=f'display_name="{display_name}"')
    for monitor in found:
        target = monitor.get("modelMonitoringTarget", {}).get("vertexModel", {})
        if target.get("model", "").rpartition("/")[2] in ids:
            yield monitor


def finish(cloud: Cloud, operation: dict[str, Any]) -> dict[str, Any]:
    """Wait for an operation; return its response."""
    if operation.get("done") and "error" not in operation:
        return dict(operation.get("response", {}))
    found = wait(Operation(cloud, operation["name"]), "the monitor to be changed", OPERATION_LIMIT)
    return dict(found)
