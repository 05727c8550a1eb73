"""Vertex AI's own monitoring of an endpoint, v1.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.modelDeploymentMonitoringJobs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.cloud import endpoints
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import NotFoundError

_MASK = (
    *("model_deployment_monitoring_objective_configs", "model_deployment_monitoring_schedule_config"),
    *("logging_sampling_strategy", "model_monitoring_alert_config", "labels"),
)


@dataclass(frozen=True)
class Wanted:
    """What a monitoring job is to look at: every `hours`, by thresholds of columns or one for all.

    With `training_uri`, a CSV file on Cloud Storage, it looks for skew, too; `target` is its column of answers.
    """

    display_name: str
    hours: int
    sample: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    default_threshold: float | None = None
    training_uri: str | None = None
    target: str = ""
    emails: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """The distance of one column in one window."""

    objective: str
    column: str
    distance: float
    threshold: float
    until: str


def ensure(cloud: Cloud, endpoint: str, wanted: Wanted) -> str:
    """Make the monitoring job of an endpoint, or change it to what is wanted. Return its name."""
    found = endpoints.get_endpoint(cloud, endpoint)
    if found is None or not found.deployed:
        raise NotFoundError(f"the endpoint {endpoint} serves no model", "invoke model.deploy")
    job = _job(endpoint, list(found.deployed), wanted)
    with sdk_errors("look for the monitoring job"):
        there = next(iter(_jobs(cloud, endpoint, wanted.display_name)), None)
    if there is not None and _pending(there):
        # Vertex AI changes a job only once it runs.
        delete(cloud, there.name)
        there = None
    with sdk_errors("set up the monitoring job"):
        if there is None:
            return str(cloud.jobs.create_model_deployment_monitoring_job(
                parent=cloud.parent, model_deployment_monitoring_job=job
            ).name)  # fmt: skip
        cloud.jobs.update_model_deployment_monitoring_job(
            model_deployment_monitoring_job={**job, "name": there.name}, update_mask={"paths": list(_MASK)}
        ).result(timeout=600)
        return str(there.name)


def find(cloud: Cloud, endpoint: str, display_name: str) -> str | None:
    """Return the name of the monitoring job of an endpoint, or None."""
    with sdk_errors("look for the monitoring job"):
        return next((str(job.name) for job in _jobs(cloud, endpoint, display_name)), None)


def state(cloud: Cloud, name: str) -> tuple[str, str]:
    """Return the state of a job, and what its last run said that could not do its work."""
    with sdk_errors(f"look at {name}"):
        job = cloud.jobs.get_model_deployment_monitoring_job(name=name)
    return job.state.name.removeprefix("JOB_STATE_").lower(), str(
        job.latest_monitoring_pipeline_metadata.status.message
    )


def findings(cloud: Cloud, name: str) -> list[Finding]:
    """Return what a job has found in its last window, the largest excess over its threshold first."""
    found: dict[tuple[str, str], Finding] = {}
    request = {"model_deployment_monitoring_job": name, "objectives": [{"type_": 1}, {"type_": 2}]}
    with sdk_errors(f"read what {name} has found"):
        for stats in cloud.jobs.search_model_deployment_monitoring_stats_anomalies(request=request):
            objective = stats.objective.name.rpartition("_")[2].lower()
            for feature in stats.feature_stats:
                for one in list(feature.prediction_stats)[-1:]:
                    column = str(feature.feature_display_name)
                    finding = Finding(
                        objective, column, one.distribution_deviation, one.anomaly_detection_threshold,
                        f"{one.end_time:%Y-%m-%d %H:%M}",
                    )  # fmt: skip
                    known = found.get((objective, column))
                    if known is None or finding.until > known.until:
                        found[objective, column] = finding
    return sorted(found.values(), key=lambda one: one.threshold - one.distance)


def delete(cloud: Cloud, name: str) -> None:
    """Delete a monitoring job, with what it found."""
    with sdk_errors(f"delete {name}"):
        cloud.jobs.delete_model_deployment_monitoring_job(name=name).result(timeout=600)


def _jobs(cloud: Cloud, endpoint: str, display_name: str) -> Iterator[Any]:
    request = {"parent": cloud.parent, "filter": f'display_name="{display_name}"'}
    for job in cloud.jobs.list_model_deployment_monitoring_jobs(request=request):
        if endpoints.same_resource(str(job.endpoint), endpoint):
            yield job


def _pending(job: Any) -> bool:
    return bool(job.state.name == "JOB_STATE_PENDING")


def _job(endpoint: str, deployed: Sequence[str], wanted: Wanted) -> dict[str, Any]:
    default = {} if wanted.default_threshold is None else {"value": wanted.default_threshold}
    thresholds = {name: {"value": value} for name, value in wanted.thresholds.items()}
    objective: dict[str, Any] = {"prediction_drift_detection_config": {"drift_thresholds": thresholds}}
    if wanted.training_uri is not None:
        dataset = {"gcs_source": {"uris": [wanted.training_uri]}, "data_format": "csv", "target_field": wanted.target}
        objective |= {"training_dataset": dataset}
        objective |= {"training_prediction_skew_detection_config": {"skew_thresholds": thresholds}}
    if default:
        objective["prediction_drift_detection_config"]["default_drift_threshold"] = default
        if wanted.training_uri is not None:
            objective["training_prediction_skew_detection_config"]["default_skew_threshold"] = default
    job: dict[str, Any] = {
        "display_name": wanted.display_name,
        "endpoint": endpoint,
        "labels": dict(wanted.labels),
        "model_deployment_monitoring_objective_configs": [
            {"deployed_model_id": one, "objective_config": objective} for one in deployed
        ],
        "model_deployment_monitoring_schedule_config": {"monitor_interval": {"seconds": wanted.hours * 3600}},
        "logging_sampling_strategy": {"random_sample_config": {"sample_rate": wanted.sample}},
        "model_monitoring_alert_config": {"enable_logging": True},
    }
    if wanted.emails:
        job["model_monitoring_alert_config"]["email_alert_config"] = {"user_emails": list(wanted.emails)}
    return job
