"""Deployments that go to no replica when nobody asks: v1beta1 alone has them, as a preview.

https://docs.cloud.google.com/vertex-ai/docs/predictions/autoscaling#scale-to-zero and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/DedicatedResources. Not tried on Google Cloud yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.beta import ask
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import ModelConfig, ScaleToZero
from edge_tasks.domain.period import read_period, write_period

# What Google takes where a request does not say it.
_DEFAULT = "3600s"
# How the answer begins to what is asked of a model at zero; its end differs.
_NOT_READY = "Model is not yet ready for inference"


@dataclass(frozen=True)
class Zero:
    """What v1beta1 tells of a deployed model: how many replicas start when it is asked, and when it goes, in words."""

    replicas: int
    words: str


def words(settings: ScaleToZero | None) -> str:
    """Return when something goes to no replica; empty when it never does."""
    if settings is None:
        return ""
    return _words(*(read_period(one).total_seconds() for one in (settings.idle, settings.up_for)))


def _words(idle: float, up_for: float) -> str:
    return f"after {write_period(idle)} without a request, up for {write_period(up_for)} at least"


def start_deployment(
    cloud: Cloud, endpoint: str, *, model: str, display_name: str, settings: ModelConfig, traffic: Mapping[str, int]
) -> str:
    """Begin to deploy a model version so that it goes to no replica when nobody asks; return the operation's name."""
    zero = settings.scale_to_zero or ScaleToZero()
    machine: dict[str, Any] = {"machineType": settings.serving_machine_type}
    if settings.serving_accelerator_type:
        machine["acceleratorType"] = settings.serving_accelerator_type
        machine["acceleratorCount"] = settings.serving_accelerator_count
    deployed: dict[str, Any] = {
        "model": model,
        "displayName": display_name,
        "enableContainerLogging": True,  # v1 logs unless it is told not to, v1beta1 only when it is told to
        "dedicatedResources": {
            "machineSpec": machine,
            "minReplicaCount": 0,
            "initialReplicaCount": settings.min_replica_count,
            "maxReplicaCount": settings.max_replica_count,
            "scaleToZeroSpec": {
                "minScaleupPeriod": _seconds(zero.up_for),
                "idleScaledownPeriod": _seconds(zero.idle),
            },
        },
    }
    if settings.serving_service_account:
        deployed["serviceAccount"] = settings.serving_service_account
    body = {"deployedModel": deployed, "trafficSplit": dict(traffic)}
    return str(ask(cloud, "POST", f"{endpoint}:deployModel", json=body)["name"])


def read(cloud: Cloud, endpoint: str) -> dict[str, Zero]:
    """Return what v1beta1 tells of the models of an endpoint that may go to no replica, by their ids."""
    found = {}
    for deployed in ask(cloud, "GET", endpoint).get("deployedModels", []):
        resources = deployed.get("dedicatedResources", {})
        if not resources.get("minReplicaCount") and resources:
            spec = resources.get("scaleToZeroSpec", {})
            periods = (spec.get(key, _DEFAULT) for key in ("idleScaledownPeriod", "minScaleupPeriod"))
            idle, up_for = (float(str(period).removesuffix("s")) for period in periods)
            found[deployed["id"]] = Zero(resources.get("initialReplicaCount") or 1, _words(idle, up_for))
    return found


def is_starting(response: Any) -> bool:
    """Say whether an answer to a predict request is that of a model at zero, which is being started."""
    if response.status_code != 429:
        return False
    _, message = rest.read(response)
    return _NOT_READY in (message or response.text)


def _seconds(period: str) -> str:
    return f"{read_period(period).total_seconds():.0f}s"
