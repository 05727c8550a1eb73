"""The stages of each model: configured, trained, registered and deployed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks.cloud import endpoints, model_registry
from edge_tasks.cloud.bucket import CONNECTIONS
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.prices import PriceList, amounts, money, total
from edge_tasks.domain.runs import utc_now
from edge_tasks.domain.serving_choice import choose
from edge_tasks.domain.state import Deployment, ModelState
from edge_tasks.errors import CloudError, NotFoundError
from edge_tasks.models import costs
from edge_tasks.releases import serving
from edge_tasks.repo import layout
from edge_tasks.repo.trained_model import TrainedModel, find_trained_model, last_training

COLUMNS = ["model", "trained (UTC)", "metrics", "version", "serves", "since (UTC)", "hours", "cost"]


@dataclass(frozen=True)
class Serving:
    """A version on an endpoint: its part of the requests in per cent, and since when it is there."""

    version: str
    traffic: int
    since: datetime
    run_id: str | None


@dataclass(frozen=True)
class Overview:
    """What there is of a model: its last training, its version in the registry, and what serves."""

    model: str
    trained_at: datetime | None
    run_id: str | None
    metrics: Mapping[str, Any]
    registered: str | None
    serves: tuple[Serving, ...]
    coming: str | None  # the version that is being deployed
    running: tuple[costs.Running, ...] = ()
    problem: str | None = None  # why the record of its last training cannot be read
    trained_as: str | None = None  # the name that it had when it was trained, before it was renamed

    @property
    def note(self) -> str | None:
        """What is to be said of its last training in addition to its row."""
        if self.trained_as:
            again = f"dvc repro models/{self.model}/dvc.yaml trains it under its new name"
            return f"`{self.model}` was trained as `{self.trained_as}`, before it was renamed; {again}"
        return self.problem

    @property
    def hours(self) -> float:
        """For how long what serves has run: as long as the oldest of it."""
        if self.running:
            return max(one.hours for one in self.running)
        # By the clock of this machine, which may be behind that of who deployed it.
        return max((0.0, *((utc_now() - one.since).total_seconds() / 3600 for one in self.serves)))

    def cost(self, prices: PriceList | None) -> float | None:
        """Return what that has cost; None when a part of it has no price."""
        if prices is None or any(one.scale_to_zero for one in self.running):
            return None
        return total(prices, [use for one in self.running for use in one.uses])

    def row(self, prices: PriceList | None = None) -> list[str]:
        """Return the model's row of COLUMNS."""
        shown = [f"{one.version} ({one.traffic} %)" for one in self.serves]
        shown += [f"{self.coming} is being deployed"] if self.coming else []
        shown += ["to zero when idle"] if any(one.scale_to_zero for one in self.running) else []
        return [
            self.model,
            self._trained(),
            _first(self.metrics),
            self.registered or "no",
            ", ".join(shown) or "nothing",
            _time(self.serves[0].since) if self.serves else "",
            f"{self.hours:,.1f}" if self.serves else "",
            money(self.cost(prices), prices) if prices and self.running else "",
        ]

    def _trained(self) -> str:
        if self.trained_at:
            return _time(self.trained_at)
        return f"as {self.trained_as}" if self.trained_as else "unreadable" if self.problem else "not yet"

    def document(self, prices: PriceList | None = None) -> dict[str, Any]:
        """Return the same as plain JSON."""
        values = {key: value for key, value in asdict(self).items() if key != "running"}
        values["hours"] = round(self.hours, 3)
        values |= amounts({"cost": self.cost(prices) if self.running else None}, prices)
        values["trained_at"] = self.trained_at.isoformat() if self.trained_at else None
        values["scale_to_zero"] = next((one.scale_to_zero for one in self.running if one.scale_to_zero), None)
        values["serves"] = [{**asdict(one), "since": one.since.isoformat()} for one in self.serves]
        return values


def list_models(root: Path, config: EdgeConfig, cloud: Cloud, *, machines: bool = False) -> list[Overview]:
    """Return what there is of each model of the config; with `machines` also on what it runs, which asks the cloud."""
    state = StateStore(cloud).load()
    running = list(costs.running(cloud, counted=False)) if machines else []
    trainings = {name: last_training(layout.model_folder(root, name), name) for name in config.models}
    versions = {name: _version(last.trained, state.model(name)) for name, last in trainings.items()}
    runs = {name: last.trained.run_id if last.trained else None for name, last in trainings.items()}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        registered = dict(
            pool.map(lambda name: (name, _registered(cloud, versions[name], state.model(name), runs[name])), versions)
        )
    found = []
    for name, (trained, problem, former_name) in trainings.items():
        model = state.model(name)
        found.append(
            Overview(
                model=name,
                trained_at=trained.trained_at if trained else None,
                run_id=trained.run_id if trained else None,
                metrics=trained.metrics if trained else {},
                registered=registered[name],
                serves=_serving(cloud, model),
                coming=model.operation.model.rpartition("@")[2] if model.operation else None,
                running=tuple(one for one in running if one.model == name),
                problem=problem.problem if problem else None,
                trained_as=former_name,
            )
        )
    return found


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


def _version(trained: TrainedModel | None, state: ModelState) -> str | None:
    """Return the version that was made of a training: by a deploy here, else by the training itself."""
    if trained is None:
        return None
    return next((item.model for item in _deployed(state) if item.run_id == trained.run_id), trained.model)


def _registered(cloud: Cloud, version: str | None, state: ModelState, run_id: str | None) -> str | None:
    """Return the number of `version` when this registry has it, and of that run.

    A training in another clone, or for another target, has put it into another one. What was deployed is there.
    """
    if version is None:
        return None
    if version not in [item.model for item in _deployed(state)]:
        with contextlib.suppress(CloudError):  # of another project's registry nobody may know
            try:
                found = model_registry.get_model(cloud, version)
            except NotFoundError:
                return None
            if found.labels.get(layout.RUN_LABEL, run_id) != run_id:
                return None
    return version.rpartition("@")[2]


def _deployed(state: ModelState) -> list[Deployment]:
    return [*state.history, *filter(None, [state.candidate])]


def _serving(cloud: Cloud, state: ModelState) -> tuple[Serving, ...]:
    """Return the versions on the endpoint, which is only asked for their parts when there are two."""
    there = [item for item in (state.deployed, state.candidate) if item]
    if len(there) < 2:
        traffic = {item.deployed_model_id: 100 for item in there}
    else:
        endpoint = endpoints.get_endpoint(cloud, state.endpoint) if state.endpoint else None
        traffic = dict(endpoint.traffic) if endpoint else {}
    return tuple(
        Serving(item.version, traffic.get(item.deployed_model_id, 0), item.deployed_at, item.run_id) for item in there
    )


def _first(metrics: Mapping[str, Any]) -> str:
    """Return the first metric, and how many more there are.

    A train.py that writes metrics.json by itself may put other things there than numbers: they are left out.
    """
    shown = [f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)]
    return f"{shown[0]} (+{len(shown) - 1})" if len(shown) > 1 else "".join(shown)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M}"
