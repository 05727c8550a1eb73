"""Vertex AI's newer monitoring, v1beta1: a monitor of a model version, whose jobs look once.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.modelMonitors. By REST: to import the
SDK's package of v1beta1 takes longer than all the rest of the command.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.monitoring_jobs import Finding
from edge_tasks.errors import CloudError, NotFoundError

# Seconds until a job or an operation must have ended, and between two looks.
_LIMIT, _POLL = 3600.0, 5.0
_ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", "JOB_STATE_FAILED")
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
    monitor = _ensure(cloud, wanted)
    objective = {"targetDataset": wanted.target, "baselineDataset": wanted.baseline, "tabularObjective": _drift(wanted)}
    body = {"displayName": wanted.display_name, "modelMonitoringSpec": {"objectiveSpec": objective}}
    job = _ask(cloud, "POST", f"{monitor}/modelMonitoringJobs", json=body)
    started = time.monotonic()
    while job.get("state") not in _ENDED:
        if time.monotonic() - started > _LIMIT:
            raise CloudError(
                f"the job {job['name']} has not ended after {_LIMIT / 60:.0f} min", "look at it again later"
            )
        if job.get("state"):
            time.sleep(0 if cloud.bigquery_url is None else _POLL)  # the emulator holds its answer back by itself
        job = _ask(cloud, "GET", job["name"])
    detail = job.get("jobExecutionDetail", {})
    if job["state"] == "JOB_STATE_FAILED":
        message = detail.get("error", {}).get("message", "it does not say why")
        raise CloudError(
            f"the monitoring job {job['name']} failed: {message}",
            "name the training data: --training gs://BUCKET/FILE.csv",
        )
    return job["name"], _findings(cloud, monitor, job["name"])


def delete(cloud: Cloud, display_name: str) -> list[str]:
    """Delete the monitors of this name with their jobs; return their names."""
    found = [monitor["name"] for monitor in _monitors(cloud, display_name)]
    for name in found:
        _finish(cloud, _ask(cloud, "DELETE", f"{name}?force=true"))
    return found


def _ensure(cloud: Cloud, wanted: Wanted) -> str:
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
    for monitor in _monitors(cloud, wanted.display_name):
        target = monitor["modelMonitoringTarget"].get("vertexModel", {})
        if target.get("model", "").rpartition("/")[2] == model.rpartition("/")[2] and (
            target.get("modelVersionId") == version
        ):
            mask = "modelMonitoringSchema,notificationSpec"
            _finish(cloud, _ask(cloud, "PATCH", f"{monitor['name']}?updateMask={mask}", json=body))
            return str(monitor["name"])
    body["modelMonitoringTarget"] = {"vertexModel": {"model": model, "modelVersionId": version}}
    return str(_finish(cloud, _ask(cloud, "POST", f"{cloud.parent}/modelMonitors", json=body))["name"])


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


def _findings(cloud: Cloud, monitor: str, job: str) -> list[Finding]:
    found = []
    request = {"statsFilter": {"tabularStatsFilter": {"modelMonitoringJob": job}}}

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        return _ask(cloud, "POST", f"{monitor}:searchModelMonitoringStats", json=body)

    for answer in rest.pages(ask, request):
        for one in answer.get("monitoringStats", []):
            stats = one["tabularStats"]
            point = stats["dataPoints"][0]
            distance = point["currentStats"]["distributionValue"].get("distributionDeviation", 0.0)
            objective = _OBJECTIVES.get(stats["objectiveType"], stats["objectiveType"])
            until = point["createTime"][:16].replace("T", " ")
            found.append(Finding(objective, stats["statsName"], distance, point.get("thresholdValue", 0.0), until))
    return sorted(found, key=lambda one: one.threshold - one.distance)


def _monitors(cloud: Cloud, display_name: str) -> Iterator[dict[str, Any]]:
    def ask(parameters: dict[str, Any]) -> dict[str, Any]:
        return _ask(cloud, "GET", f"{cloud.parent}/modelMonitors", params=parameters)

    for answer in rest.pages(ask, {"filter": f'display_name="{display_name}"'}):
        yield from answer.get("modelMonitors", [])


def _finish(cloud: Cloud, operation: dict[str, Any]) -> dict[str, Any]:
    """Wait for an operation; return its response."""
    started = time.monotonic()
    while not operation.get("done"):
        if time.monotonic() - started > _LIMIT:
            raise CloudError(f"the operation {operation['name']} has not ended", "look at it again later")
        time.sleep(0.2)
        operation = _ask(cloud, "GET", operation["name"])
    if "error" in operation:
        raise CloudError(f"the monitor was not changed: {operation['error'].get('message')}", "invoke doctor")
    return dict(operation.get("response", {}))


def _ask(cloud: Cloud, method: str, path: str, **options: Any) -> dict[str, Any]:
    with sdk_errors(f"ask for {path.partition('?')[0]}"):
        response = cloud.session.request(method, f"{cloud.vertex_url}/v1beta1/{path}", **options)
    answer, message = rest.read(response)
    message = message or str(response.text[:300])
    if response.status_code == 404:
        raise NotFoundError(f"Vertex AI has not found it: {message}", "invoke model.list shows what exists")
    if not response.ok:
        raise CloudError(f"Vertex AI answered {response.status_code}: {message}", "invoke doctor")
    return answer or {}
