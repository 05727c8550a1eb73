"""A canary next to the stable version: what each version on an endpoint is asked, answers, and how far that drifts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from edge_tasks.cloud import request_counts
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, Monitoring
from edge_tasks.domain.period import read_period
from edge_tasks.domain.state import Deployment
from edge_tasks.errors import EdgeError
from edge_tasks.monitoring import requests, watch

# How far back requests are counted, in how many steps.
_WINDOW, _STEPS = timedelta(hours=1), 60


def traffic(cloud: Cloud, name: str) -> dict[str, Any]:
    """Return of the last hour the requests, errors and latencies of each deployed model id; what nobody asked is 0."""
    found = request_counts.answers(cloud, requests.endpoint_of(cloud, name), _WINDOW, _STEPS)
    return {
        "minutes": _STEPS,
        "versions": {
            deployed: {
                "requests": one.requests,
                "errors": one.errors,
                "by_status": dict(sorted(one.by_status.items())),
                "steps": one.steps,
                # Milliseconds.
                "median": one.latencies.quantile(0.5) if one.latencies else None,
                "slow": one.latencies.quantile(0.95) if one.latencies else None,
            }
            for deployed, one in found.items()
        },
    }


def drifts(cloud: Cloud, config: EdgeConfig, name: str) -> dict[str, Any]:
    """Return how far what each version is asked, by deployed model id, has gone from its own training.

    A version that cannot be compared has a `problem`.
    """
    state = StateStore(cloud).load().model(name)
    known = config.models.get(name)
    settings = known.monitoring if known else Monitoring()
    serving = [one for one in (state.deployed, state.candidate) if one]
    return {
        "window": settings.window,
        "versions": {one.deployed_model_id: _drift(cloud, name, settings, one) for one in serving},
    }


def _drift(cloud: Cloud, name: str, settings: Monitoring, deployment: Deployment) -> dict[str, Any]:
    try:
        found = watch.watch(cloud, name, read_period(settings.window), settings, deployment=deployment)
    except EdgeError as error:
        return {"problem": error.problem}
    farthest = next(iter(found.comparisons), None)
    return {
        "requests": found.requests,
        "enough": found.is_enough,
        "verdict": found.verdict,
        "changed": [one.column for one in found.changed],
        "columns": len(found.comparisons),
        "farthest": {"column": farthest.column, "distance": farthest.distance, "threshold": farthest.threshold}
        if farthest
        else None,
    }
