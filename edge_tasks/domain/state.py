"""The shared state: what this repository has made in the cloud. Pure values and pure changes.

Reading and writing it (with its lock) is `edge_tasks.cloud.state_store`'s work.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_tasks.domain.provenance import Provenance
from edge_tasks.domain.yaml_errors import yaml_problem
from edge_tasks.errors import StateError

FORMAT_VERSION = 1

# The state is one object that every change reads and writes, so what it remembers of itself is bounded:
# the last changes, and of each model the last deployments (up to about a kilobyte each).
KEPT_CHANGES = 200
KEPT_DEPLOYMENTS = 200


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(Provenance):
    """Where a model version comes from: what its training recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str | None = Field(default=None, description="resource name of the custom job; null when trained in process")
    metrics: dict[str, Any] = Field(default_factory=dict)


class Deployment(Origin):
    """One model version on an endpoint: which, since when, by whom, and where it came from."""

    model: str = Field(description="versioned resource name, projects/P/locations/L/models/M@V")
    deployed_model_id: str
    deployed_at: datetime
    deployed_by: str
    until: datetime | None = Field(default=None, description="when `model.undeploy --expired` takes it off")

    @property
    def origin(self) -> Origin:
        """Where the version came from, alone."""
        return Origin.model_validate(self.model_dump(include=set(Origin.model_fields)))

    @property
    def version(self) -> str:
        """The model version alone, such as `3`."""
        return self.model.rpartition("@")[2]


class Operation(_Value):
    """A deployment that was started and not seen to end: it runs on when the command that started it dies."""

    name: str = Field(description="resource name of the long-running operation")
    endpoint: str
    model: str = Field(description="versioned resource name of what is being deployed")
    beta: bool = Field(default=False, description="whether it was started by v1beta1, which alone tells how it goes")


class Change(_Value):
    """One change of the state: who made it, when, with which command, and what is different."""

    at: datetime
    by: str
    command: str
    what: tuple[str, ...]


class ModelState(_Value):
    """What exists of one model: its endpoint, what serves now, and what served before."""

    endpoint: str | None = None
    deployed: Deployment | None = None
    candidate: Deployment | None = Field(default=None, description="a newer version that gets a part of the traffic")
    trial_endpoint: str | None = Field(default=None, description="where a version is tried before it gets traffic")
    operation: Operation | None = Field(default=None, description="a deployment that may still be running")
    history: tuple[Deployment, ...] = Field(
        default=(), description=f"the last {KEPT_DEPLOYMENTS} that got all the traffic, oldest first"
    )

    former_names: tuple[str, ...] = Field(
        default=(), description="names it had before `model.rename`; its older versions are registered under them"
    )

    def before(self, version: str) -> Deployment | None:
        """Return what served before `version` first did, as far as is remembered, or None when nothing did."""
        versions = [deployment.version for deployment in self.history]
        place = versions.index(version) if version in versions else len(versions)
        return self.history[place - 1] if place > 0 else None

    def served(self, version: str) -> Deployment | None:
        """Return the last time that `version` served, or None when it never did."""
        return next((deployment for deployment in reversed(self.history) if deployment.version == version), None)


class EdgeState(_Value):
    """All that this repository has made in the cloud."""

    format_version: int = FORMAT_VERSION
    models: dict[str, ModelState] = Field(default_factory=dict)
    changes: tuple[Change, ...] = Field(default=(), description=f"the last {KEPT_CHANGES} changes, oldest first")

    def model(self, name: str) -> ModelState:
        """Return what exists of the model `name`; an empty ModelState when nothing does."""
        return self.models.get(name, ModelState())

    def with_endpoint(self, name: str, endpoint: str) -> EdgeState:
        """Return the state after `endpoint` was made for the model `name`."""
        return self._with(name, self.model(name).model_copy(update={"endpoint": endpoint}))

    def with_deployment(self, name: str, deployment: Deployment) -> EdgeState:
        """Return the state after `deployment` took over the endpoint of the model `name`."""
        model = self.model(name)
        history = (*model.history, deployment)[-KEPT_DEPLOYMENTS:]
        update = {"deployed": deployment, "candidate": None, "operation": None, "history": history}
        return self._with(name, model.model_copy(update=update))

    def with_candidate(self, name: str, candidate: Deployment | None) -> EdgeState:
        """Return the state after `candidate` got a part of the traffic of the model `name`; None: it got none."""
        return self._with(name, self.model(name).model_copy(update={"candidate": candidate, "operation": None}))

    def with_until(self, name: str, deployed_model_id: str, until: datetime | None) -> EdgeState:
        """Return the state after somebody said until when a deployed model of `name` is wanted; None: for ever."""
        model = self.model(name)

        def changed(one: Deployment | None) -> Deployment | None:
            same = one is not None and one.deployed_model_id == deployed_model_id
            return one.model_copy(update={"until": until}) if one is not None and same else one

        update = {"deployed": changed(model.deployed), "candidate": changed(model.candidate)}
        return self._with(name, model.model_copy(update=update))

    def with_trial_endpoint(self, name: str, endpoint: str | None) -> EdgeState:
        """Return the state after an endpoint was made to try a version on, or removed (None)."""
        return self._with(name, self.model(name).model_copy(update={"trial_endpoint": endpoint}))

    def with_operation(self, name: str, operation: Operation | None) -> EdgeState:
        """Return the state after a deployment was started for the model `name`, or was seen to end (None)."""
        return self._with(name, self.model(name).model_copy(update={"operation": operation}))

    def without_deployment(self, name: str) -> EdgeState:
        """Return the state after the model `name` was undeployed; its endpoint and history stay."""
        return self._with(name, self.model(name).model_copy(update={"deployed": None, "candidate": None}))

    def without_model(self, name: str) -> EdgeState:
        """Return the state after everything of the model `name` was removed."""
        return self.model_copy(update={"models": {k: v for k, v in self.models.items() if k != name}})

    def with_renamed(self, old: str, new: str) -> EdgeState:
        """Return the state after the model `old` got the name `new`: its endpoint serves on."""
        model = self.model(old)
        renamed = model.model_copy(update={"former_names": (*model.former_names, old)})
        return self.model_copy(
            update={"models": {(new if k == old else k): (renamed if k == old else v) for k, v in self.models.items()}}
        )

    def without_models(self) -> EdgeState:
        """Return the state after everything was removed."""
        return self.model_copy(update={"models": {}})

    def with_change(self, change: Change) -> EdgeState:
        """Return the state that remembers `change`, and forgets the oldest when there are too many."""
        return self.model_copy(update={"changes": (*self.changes, change)[-KEPT_CHANGES:]})

    def _with(self, name: str, model: ModelState) -> EdgeState:
        return self.model_copy(update={"models": {**self.models, name: model}})


def differences(before: EdgeState, after: EdgeState) -> tuple[str, ...]:
    """Return in words what is different in `after`, one sentence for each thing."""
    words = []
    for name in sorted({*before.models, *after.models}):
        old, new = before.model(name), after.model(name)
        if name in before.models and name not in after.models:
            words.append(f"{name}: removed")
            continue
        for field in ("endpoint", "trial_endpoint"):
            was, now = getattr(old, field), getattr(new, field)
            if was != now:
                words.append(f"{name}: {field.replace('_', ' ')} {_last(was)} -> {_last(now)}")
        for field in ("deployed", "candidate"):
            was, now = getattr(old, field), getattr(new, field)
            if _without_end(was) != _without_end(now):
                words.append(f"{name}: {field} {_version(was)} -> {_version(now)}")
            elif was != now and now is not None:
                words.append(f"{name}: {field} version {now.version} {until_words(now.until)}")
        if old.operation != new.operation:
            ended = new.operation is None
            operation = old.operation if ended else new.operation
            version = operation.model.rpartition("@")[2] if operation else ""
            words.append(f"{name}: deployment of version {version} {'ended' if ended else 'started'}")
    return tuple(words)


def until_words(until: datetime | None) -> str:
    """Return how long a deployment is wanted, in words."""
    return f"until {until:%Y-%m-%d %H:%M} UTC" if until else "without end"


def _without_end(deployment: Deployment | None) -> Deployment | None:
    return deployment.model_copy(update={"until": None}) if deployment else None


def _last(resource_name: str | None) -> str:
    return resource_name.rpartition("/")[2] if resource_name else "none"


def _version(deployment: Deployment | None) -> str:
    return f"version {deployment.version}" if deployment else "none"


def dump_state(state: EdgeState) -> str:
    """Return `state` as YAML."""
    import yaml

    # libyaml, which PyYAML's wheels carry, is ten times as fast; the lock is held meanwhile.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(state.model_dump(mode="json"), Dumper=dumper, sort_keys=False, allow_unicode=True))


def parse_state(text: str) -> EdgeState:
    """Return the state that `text` (YAML) holds.

    Raises StateError when it is broken, or was written by a newer version of this package.
    """
    import yaml

    try:
        document: Any = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that no calendar has
        raise _broken(yaml_problem(error, text)) from None
    if not isinstance(document, dict) or "format_version" not in document:
        raise _broken("it has no `format_version`")
    version = document["format_version"]
    if not isinstance(version, int):
        raise _broken(f"format_version: `{version}` is not a number")
    if version > FORMAT_VERSION:
        raise StateError(
            f"the shared state has format {version}, this version of vertex-edge knows up to {FORMAT_VERSION}",
            "git pull, then pip install -r requirements.txt",
        )
    try:
        return EdgeState.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise _broken(f"{key}: {first['msg']}") from None


def _broken(what: str) -> StateError:
    return StateError(
        f"the shared state is broken: {what}",
        "invoke state.show --raw > state.yaml, fix it there, then invoke state.replace state.yaml",
    )
