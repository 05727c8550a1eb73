"""The shared state: what this repository has made in the cloud. Pure values and pure changes.

Reading and writing it (with its lock) is `edge_tasks.store`'s work.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_tasks.errors import StateError

FORMAT_VERSION = 1


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Deployment(_Value):
    """One model version on an endpoint: which, since when, by whom, and where it came from."""

    model: str = Field(description="versioned resource name, projects/P/locations/L/models/M@V")
    deployed_model_id: str
    deployed_at: datetime
    deployed_by: str
    run_id: str | None = None
    commit: str | None = None
    data: dict[str, str] = Field(default_factory=dict, description="path to DVC hash")

    @property
    def version(self) -> str:
        """The model version alone, such as `3`."""
        return self.model.rpartition("@")[2]


class ModelState(_Value):
    """What exists of one model: its endpoint, what serves now, and everything that served before (oldest first)."""

    endpoint: str | None = None
    deployed: Deployment | None = None
    candidate: Deployment | None = Field(default=None, description="a newer version that gets a part of the traffic")
    trial_endpoint: str | None = Field(default=None, description="where a version is tried before it gets traffic")
    history: tuple[Deployment, ...] = ()

    def before(self, version: str) -> Deployment | None:
        """Return what served before `version` first did, or None when nothing did."""
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

    def model(self, name: str) -> ModelState:
        """Return what exists of the model `name`; an empty ModelState when nothing does."""
        return self.models.get(name, ModelState())

    def with_endpoint(self, name: str, endpoint: str) -> EdgeState:
        """Return the state after `endpoint` was made for the model `name`."""
        return self._with(name, self.model(name).model_copy(update={"endpoint": endpoint}))

    def with_deployment(self, name: str, deployment: Deployment) -> EdgeState:
        """Return the state after `deployment` took over the endpoint of the model `name`."""
        model = self.model(name)
        history = (*model.history, deployment)
        update = {"deployed": deployment, "candidate": None, "history": history}
        return self._with(name, model.model_copy(update=update))

    def with_candidate(self, name: str, candidate: Deployment | None) -> EdgeState:
        """Return the state after `candidate` got a part of the traffic of the model `name`; None: it got none."""
        return self._with(name, self.model(name).model_copy(update={"candidate": candidate}))

    def with_trial_endpoint(self, name: str, endpoint: str | None) -> EdgeState:
        """Return the state after an endpoint was made to try a version on, or removed (None)."""
        return self._with(name, self.model(name).model_copy(update={"trial_endpoint": endpoint}))

    def without_deployment(self, name: str) -> EdgeState:
        """Return the state after the model `name` was undeployed; its endpoint and history stay."""
        return self._with(name, self.model(name).model_copy(update={"deployed": None, "candidate": None}))

    def without_model(self, name: str) -> EdgeState:
        """Return the state after everything of the model `name` was removed."""
        return self.model_copy(update={"models": {k: v for k, v in self.models.items() if k != name}})

    def _with(self, name: str, model: ModelState) -> EdgeState:
        return self.model_copy(update={"models": {**self.models, name: model}})


def dump_state(state: EdgeState) -> str:
    """Return `state` as YAML."""
    import yaml

    return yaml.safe_dump(state.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_state(text: str) -> EdgeState:
    """Return the state that `text` (YAML) holds.

    Raises StateError when it is broken, or was written by a newer version of this package.
    """
    import yaml

    try:
        document: Any = yaml.safe_load(text)
        version = document["format_version"]
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise StateError(f"the shared state is broken: {type(error).__name__}: {error}", "invoke state.show") from None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StateError(
            f"the shared state has format {version}, this version of vertex-edge knows up to {FORMAT_VERSION}",
            "pip install --upgrade vertex-edge",
        )
    try:
        return EdgeState.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StateError(f"the shared state is broken: {key}: {first['msg']}", "invoke state.show") from None
