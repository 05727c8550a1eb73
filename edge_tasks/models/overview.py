"""The stages of each model: configured, trained, registered and deployed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from edge_tasks.cloud import endpoints
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.serving_choice import choose
from edge_tasks.domain.state import Deployment, ModelState
from edge_tasks.errors import NotFoundError
from edge_tasks.releases import serving
from edge_tasks.releases.plan import version_of
from edge_tasks.repo import layout
from edge_tasks.repo.trained_model import TrainedModel, find_trained_model

COLUMNS = ["model", "trained", "metrics", "registered", "deployed", "since"]


def list_models(root: Path, config: EdgeConfig, cloud: Cloud) -> list[list[str]]:
    """Return one row of COLUMNS for each model of the config."""
    state = StateStore(cloud).load()
    rows = []
    for name in config.models:
        trained = find_trained_model(layout.model_folder(root, name), name)
        deployed = state.model(name).deployed
        rows.append(
            [
                name,
                _time(trained.trained_at) if trained else "not yet",
                ", ".join(f"{key} {value:.4g}" for key, value in trained.metrics.items()) if trained else "",
                _registered(trained, state.model(name)),
                _serving(state.model(name)),
                _time(deployed.deployed_at) if deployed else "",
            ]
        )
    return rows


def describe(root: Path, config: EdgeConfig, cloud: Cloud, name: str) -> dict[str, Any]:
    """Return all that is known of the model `name`, as plain values."""
    state = StateStore(cloud).load().model(name)
    trained = find_trained_model(layout.model_folder(root, name), name)
    endpoint = endpoints.get_endpoint(cloud, state.endpoint) if state.endpoint else None
    artifact = serving.of_trained(cloud, config, layout.model_folder(root, name), trained) if trained else None
    chosen = choose(config, name, artifact) if artifact and artifact.files else None
    return {
        "model": name,
        "target": config.target,
        "config": config.models[name].model_dump(mode="json"),
        "trained": trained.model_dump(mode="json", by_alias=True, exclude={"format_version", "model_name"})
        if trained
        else None,
        "signature": artifact.signature.facts() if artifact and artifact.signature else None,
        "served by": {"kind": chosen.kind, "image": chosen.container.image, "why": chosen.why} if chosen else None,
        "endpoint": {
            "name": endpoint.name,
            "url": endpoints.predict_url(cloud, endpoint.name),
            "deployed": dict(endpoint.deployed),
            "traffic": dict(endpoint.traffic),
        }
        if endpoint
        else None,
        "deployed": state.deployed.model_dump(mode="json") if state.deployed else None,
        "candidate": state.candidate.model_dump(mode="json") if state.candidate else None,
        "history": [deployment.model_dump(mode="json") for deployment in state.history],
    }


def why(cloud: Cloud, name: str) -> dict[str, Any]:
    """Return why the endpoint of the model `name` answers as it does: where each version on it comes from.

    Raises NotFoundError when nothing is deployed.
    """
    state = StateStore(cloud).load().model(name)
    endpoint = endpoints.get_endpoint(cloud, state.endpoint) if state.endpoint else None
    if endpoint is None or state.deployed is None:
        raise NotFoundError(f"the model `{name}` is not deployed", f"invoke model.deploy --name {name}")
    serving = [item for item in (state.deployed, state.candidate) if item]
    return {
        "model": name,
        "endpoint": endpoint.name,
        "serving": [
            {"traffic": endpoint.traffic.get(item.deployed_model_id, 0), **_explained(item)} for item in serving
        ],
        "before": [_explained(item) for item in reversed(state.history[:-1])],
    }


def _explained(deployment: Deployment) -> dict[str, Any]:
    values = deployment.model_dump(mode="json", exclude={"deployed_model_id"})
    return {"version": deployment.version, **values}


def _registered(trained: TrainedModel | None, state: ModelState) -> str:
    """Return the version in the registry, which a deploy made when the training did not."""
    if trained is None:
        return "no"
    deployed = [
        item.model for item in (*state.history, *filter(None, [state.candidate])) if item.run_id == trained.run_id
    ]
    model = trained.model or next(iter(deployed), None)
    return version_of(model) if model else "no"


def _serving(state: ModelState) -> str:
    coming = f" ({version_of(state.operation.model)} is being deployed)" if state.operation else ""
    if state.deployed is None:
        return f"no{coming}"
    canary = f" (and {state.candidate.version})" if state.candidate else ""
    return f"version {state.deployed.version}{canary}{coming}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
