"""What serves: the versions of each model, the endpoints with their traffic, and the shared state's last changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_tasks.cloud import endpoints, model_registry, request_log
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.model_registry import ModelVersion
from edge_tasks.cloud.state_store import STALE_AGE, StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.state import Deployment, EdgeState, ModelState
from edge_tasks.repo import layout

# The last deployments and changes that a page shows.
_MOST_SHOWN = 100


def models(cloud: Cloud, config: EdgeConfig, names: Iterable[str]) -> dict[str, Any]:
    """Return each model with its versions in the registry, newest first, and what has served."""
    state = StateStore(cloud).load()
    return {"models": [_model(cloud, config, state, name) for name in names]}


def _model(cloud: Cloud, config: EdgeConfig, state: EdgeState, name: str) -> dict[str, Any]:
    known = state.model(name)
    versions = [
        version
        for each in (name, *known.former_names)
        for version in model_registry.find_versions(cloud, layout.registry_model_id(cloud.bucket_name, each))
    ]
    configured = config.models.get(name)
    return {
        "name": name,
        "endpoint": configured.endpoint_name if configured else None,
        "versions": [_version(version) for version in versions],
        "serving": [deployment(one, role) for one, role in _roles(known)],
        "coming": known.operation.model.rpartition("@")[2] if known.operation else None,
        "history": [deployment(one, "stable") for one in reversed(known.history[-_MOST_SHOWN:])],
    }


def _version(version: ModelVersion) -> dict[str, Any]:
    labels = version.labels
    return {
        "version": version.version,
        "name": version.versioned_name,
        "created": version.created.isoformat() if version.created else None,
        "run": labels.get(layout.RUN_LABEL),
        "commit": labels.get(layout.COMMIT_LABEL),
        "dirty": labels[layout.DIRTY_LABEL] == "true" if layout.DIRTY_LABEL in labels else None,
        "data": labels.get(layout.DATA_LABEL),
        "aliases": list(version.aliases),
        "artifact": version.artifact_uri,
        "image": version.container.image,
    }


def _roles(state: ModelState) -> list[tuple[Deployment, str]]:
    found = [(state.deployed, "stable"), (state.candidate, "canary")]
    return [(one, role) for one, role in found if one is not None]


def deployment(one: Deployment, role: str) -> dict[str, Any]:
    """Return a deployment as the page's JSON; `role` is stable or canary."""
    return {
        "id": one.deployed_model_id,
        "version": one.version,
        "model": one.model,
        "role": role,
        "at": one.deployed_at.isoformat(),
        "by": one.deployed_by,
        "run": one.run_id,
        "commit": one.commit,
        "dirty": one.dirty,
        "data": dict(one.data),
        "metrics": one.metrics,
        "parameters": one.parameters,
        "job": one.job,
    }


def _replicas(resources: endpoints.Resources) -> list[int]:
    """Return how many replicas run at least and at most."""
    return [0 if resources.scale_to_zero else resources.min_replica_count, resources.max_replica_count]


def served(cloud: Cloud, config: EdgeConfig, names: Iterable[str]) -> dict[str, Any]:
    """Return every endpoint with what answers there, who holds the lock of the state, and the last changes of it."""
    store = StateStore(cloud)
    state, holder = store.load(), store.holder()
    found = [_endpoint(cloud, config, name, state.model(name)) for name in names if state.model(name).endpoint]
    return {
        "endpoints": [one for one in found if one is not None],
        "lock": {"who": holder[0].describe(holder[1]), "stale": holder[1] > STALE_AGE} if holder else None,
        "changes": [
            {"at": change.at.isoformat(), "by": change.by, "command": change.command, "what": list(change.what)}
            for change in reversed(state.changes[-_MOST_SHOWN:])
        ],
    }


def _endpoint(cloud: Cloud, config: EdgeConfig, name: str, state: ModelState) -> dict[str, Any] | None:
    found = endpoints.get_endpoint(cloud, state.endpoint) if state.endpoint else None
    if found is None:
        return None
    known = {one.deployed_model_id: deployment(one, role) for one, role in _roles(state)}
    versions = []
    for deployed_id, model in found.deployed.items():
        resources = found.resources.get(deployed_id)
        unknown = {"id": deployed_id, "version": model.rpartition("@")[2], "model": model, "role": "other"}
        versions.append(
            {
                **known.get(deployed_id, unknown),
                "traffic": found.traffic.get(deployed_id, 0),
                "machine": resources.machine_type if resources else None,
                "replicas": _replicas(resources) if resources else None,
            }
        )
    versions.sort(key=lambda one: -one["traffic"])
    log = request_log.setting(cloud, found.name)
    return {
        "model": name,
        "name": found.name,
        "display_name": found.display_name,
        "url": endpoints.predict_url(cloud, found.name),
        "versions": versions,
        "coming": state.operation.model.rpartition("@")[2] if state.operation else None,
        "log": {"enabled": log.enabled, "rate": log.sampling_rate, "table": log.table},
        "configured": name in config.models,
    }
