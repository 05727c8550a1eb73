"""Vertex AI's own monitoring of a model's endpoint, set up from the settings of edge.yaml."""

from __future__ import annotations

from datetime import timedelta

from edge_tasks.cloud import monitoring_jobs
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.monitoring_jobs import Finding, Wanted
from edge_tasks.domain.config import Monitoring
from edge_tasks.domain.period import read_period
from edge_tasks.errors import EdgeError, NotFoundError
from edge_tasks.monitoring import requests
from edge_tasks.repo import layout

# https://cloud.google.com/vertex-ai/docs/model-monitoring/using-model-monitoring: Google's own default.
DEFAULT_THRESHOLD = 0.3
COLUMNS = ["column", "objective", "until (UTC)", "distance", "threshold", "verdict"]


def display_name(model: str) -> str:
    """Return the name by which the job of a model is found again."""
    return f"{model}-monitoring"


def ensure(
    cloud: Cloud, model: str, settings: Monitoring, sample: float, training: str | None, target: str
) -> tuple[str, int]:
    """Make or change the job of a model's endpoint; return its name, and every how many hours it looks.

    Only the columns of the settings are monitored, if they name some.
    """
    if training is not None and not training.startswith("gs://"):
        raise EdgeError(f"`{training}` is not a file on Cloud Storage", "gcloud storage cp FILE.csv gs://...")
    hours = max(1, -(-read_period(settings.window) // timedelta(hours=1)))
    thresholds = {name: settings.thresholds.get(name, DEFAULT_THRESHOLD) for name in settings.columns}
    wanted = Wanted(
        display_name=display_name(model),
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


def findings(cloud: Cloud, name: str) -> tuple[str, list[Finding]]:
    """Return the state of a job in words, and what it found last."""
    state, trouble = monitoring_jobs.state(cloud, name)
    return f"{state}: {trouble}" if trouble else state, monitoring_jobs.findings(cloud, name)


def remove(cloud: Cloud, model: str) -> str:
    """Delete the job of a model's endpoint; return its name."""
    name = monitoring_jobs.find(cloud, requests.endpoint_of(cloud, model), display_name(model))
    if name is None:
        raise NotFoundError(f"`{model}` has no monitoring job", f"invoke model.monitor --name {model} --managed")
    monitoring_jobs.delete(cloud, name)
    return name


def row(found: Finding) -> list[str]:
    """Return a line of a table."""
    verdict = "changed" if found.distance > found.threshold else "same"
    return [found.column, found.objective, found.until, f"{found.distance:.3f}", f"{found.threshold:.3f}", verdict]
