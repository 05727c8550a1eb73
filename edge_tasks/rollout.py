"""One change of what an endpoint serves: what is there, the plan, and its steps.

Which changes there are is `edge_tasks.releases`'s matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_tasks import lineage, vertex
from edge_tasks.cloud import Cloud
from edge_tasks.config import EdgeConfig
from edge_tasks.errors import CloudError, EdgeError
from edge_tasks.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.payloads import read_payload
from edge_tasks.progress import Progress
from edge_tasks.state import Deployment
from edge_tasks.store import LockedState


class ReleaseError(EdgeError):
    """A release cannot be made, or was taken back."""


@dataclass(frozen=True)
class Options:
    """How a release is made. `wait` is the number of seconds to wait for somebody else's lock."""

    dry_run: bool = False
    smoke_test: bool = True
    wait: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What is there after a release: `url` takes predict requests. `changed` is False when all was so already."""

    version: str
    url: str
    changed: bool


@dataclass(frozen=True)
class Step:
    """A part of a plan: what it does, in words, and the doing."""

    text: str
    do: Callable[[], None]


@dataclass
class Rollout:
    """One change of what one endpoint serves, while the lock is held: what is there, a plan, and its steps."""

    cloud: Cloud
    config: EdgeConfig
    folder: Path
    name: str
    progress: Progress
    options: Options
    locked: LockedState
    endpoint: vertex.Endpoint | None = None
    model: str | None = None
    deployed_id: str = ""
    steps: list[Step] = field(default_factory=list)

    @property
    def version(self) -> str:
        """How the version is called in messages."""
        return f"version {self.model.rpartition('@')[2]}" if self.model else "a new version"

    @property
    def state(self) -> Any:
        """What the shared state says of the model."""
        return self.locked.state.model(self.name)

    @property
    def ready_endpoint(self) -> vertex.Endpoint:
        """The endpoint, once it is there."""
        assert self.endpoint is not None, "a step before this one made it"
        return self.endpoint

    def read_world(self) -> None:
        """Look at what there is."""
        if self.state.endpoint:
            self.endpoint = vertex.get_endpoint(self.cloud, self.state.endpoint)
        if self.state.trial_endpoint:
            self.plan("remove what an interrupted trial left", self.remove_trial)

    def plan(self, text: str, do: Callable[[], None]) -> None:
        """Add a step; `text` completes the sentence "it would ..."."""
        self.steps.append(Step(text, do))

    def carry_out(self) -> bool:
        """Do what was planned, or only tell it; return whether anything was to be done."""
        for step in self.steps:
            self.progress.step(f"would {step.text}" if self.options.dry_run else step.text)
            if not self.options.dry_run:
                step.do()
        return bool(self.steps)

    # -- what is there --

    def deployed_under(self, model: str | None) -> str | None:
        """Return the deployed model id of `model` on the endpoint, or None.

        Names are compared without the project, which Google answers as a number.
        """
        wanted = model.partition("/locations/")[2] if model else None
        deployed = self.endpoint.deployed if self.endpoint else {}
        return next((key for key, value in deployed.items() if value.partition("/locations/")[2] == wanted), None)

    def traffic_of(self, deployed_model_id: str | None) -> int:
        """Return the percentage of the traffic that a deployed model gets."""
        return self.endpoint.traffic.get(deployed_model_id, 0) if self.endpoint and deployed_model_id else 0

    # -- steps --

    def plan_to_serve(self, source: Callable[[str, str], Deployment], percent: int) -> None:
        """Plan that the model gets `percent` of the traffic; with 100 it replaces what serves."""
        here = self.deployed_under(self.model)
        if here is not None and self.traffic_of(here) == percent:
            self.deployed_id = here
            recorded = self.state.deployed if percent == 100 else self.state.candidate
            if recorded is None or recorded.deployed_model_id != here:
                self.plan(f"record that {self.version} serves", lambda: self.record(source, percent))
        elif here is not None:
            self.deployed_id = here
            self.plan(f"give {self.version} {percent} % of the traffic", lambda: self.move_traffic(source, percent))
        else:
            self._plan_to_deploy(source, percent)
        for old, model in (self.endpoint.deployed if self.endpoint else {}).items():
            if old != here and (percent == 100 or old != self.serving_id()):
                self.plan(f"take {version_of(model)} off the endpoint", lambda old=old: self.take_off(old))  # type: ignore[misc]

    def _plan_to_deploy(self, source: Callable[[str, str], Deployment], percent: int) -> None:
        if self.endpoint is None:
            display_name = self.config.models[self.name].endpoint_name
            self.plan(f"create the endpoint `{display_name}`", self.create_endpoint)
        tested = self.options.smoke_test and (self.folder / PAYLOAD_FILE).is_file()
        aside = self.endpoint is not None and any(self.endpoint.traffic.values())
        if tested and aside:
            self.plan(f"try {self.version} on an endpoint of its own: it must answer {PAYLOAD_FILE}", self.try_aside)
        machine = self.config.models[self.name].serving_machine_type
        self.plan(f"deploy {self.version} on {machine} with {percent} % of the traffic", lambda: self.deploy(percent))
        if tested and not aside:
            self.plan(f"ask it for predictions: it must answer {PAYLOAD_FILE}", self.try_in_place)
        self.plan("record what serves", lambda: self.record(source, percent))

    def serving_id(self) -> str | None:
        """Return the deployed model id of what serves now."""
        return self.state.deployed.deployed_model_id if self.state.deployed else None

    def create_endpoint(self) -> None:
        """Make the endpoint."""
        labels = {"edge-model": self.name, "edge-bucket": lineage.label_value(self.cloud.bucket_name)}
        display_name = self.config.models[self.name].endpoint_name
        self.endpoint = vertex.create_endpoint(self.cloud, display_name, labels)
        self.locked.save(self.locked.state.without_deployment(self.name).with_endpoint(self.name, self.endpoint.name))

    def deploy(self, percent: int) -> None:
        """Deploy the model on the endpoint."""
        traffic = {"0": percent}
        serving = self.serving_id()
        if percent < 100 and serving:
            traffic[serving] = 100 - percent
        self.deployed_id = self.deploy_on(self.ready_endpoint.name, traffic)

    def deploy_on(self, endpoint: str, traffic: dict[str, int]) -> str:
        """Deploy the model on any endpoint; return the deployed model id."""
        settings = self.config.models[self.name]
        assert self.model is not None, "a step before this one registered it"
        return vertex.deploy_model(
            self.cloud,
            endpoint,
            model=self.model,
            display_name=self.name,
            machine_type=settings.serving_machine_type,
            min_replica_count=settings.min_replica_count,
            max_replica_count=settings.max_replica_count,
            traffic=traffic,
            on_wait=lambda elapsed: self.progress.waiting("waiting for the model to serve", elapsed),
        )

    def try_aside(self) -> None:
        """Deploy the model where nobody asks it, ask it, and remove all that again."""
        trial = vertex.create_endpoint(self.cloud, f"{self.name}-trial", {"edge-model": self.name})
        self.locked.save(self.locked.state.with_trial_endpoint(self.name, trial.name))
        try:
            self.deploy_on(trial.name, {"0": 100})
            self.ask(trial.name)
        finally:
            self.remove_trial()

    def try_in_place(self) -> None:
        """Ask the model where it serves already; take it off when it does not answer."""
        try:
            self.ask(self.ready_endpoint.name)
        except ReleaseError:
            vertex.undeploy_model(self.cloud, self.ready_endpoint.name, self.deployed_id)
            raise

    def ask(self, endpoint: str) -> None:
        """Raise ReleaseError unless the endpoint answers the payload with one prediction for each instance."""
        payload = read_payload(self.folder / PAYLOAD_FILE)
        try:
            answer = vertex.predict(self.cloud, endpoint, payload)
        except CloudError as error:
            raise self._no_answer(error.problem) from error
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        asked = len(json.loads(payload)["instances"])
        if not isinstance(predictions, list) or len(predictions) != asked:
            raise self._no_answer(f"{asked} predictions were asked for, the answer was {str(answer)[:200]}")

    def _no_answer(self, reason: str) -> ReleaseError:
        serving = self.state.deployed
        kept = f"version {serving.version} keeps all the traffic" if serving else "nothing serves"
        return ReleaseError(
            f"{self.version} of `{self.name}` did not answer models/{self.name}/{PAYLOAD_FILE}: {reason}",
            f"{kept}; mend the model or the payload, or deploy without trying: --no-smoke-test",
        )

    def remove_trial(self) -> None:
        """Remove the endpoint on which a version was tried."""
        trial = self.state.trial_endpoint
        if trial:
            take_all_off(self.cloud, trial)
            vertex.delete_endpoint(self.cloud, trial)
            self.locked.save(self.locked.state.with_trial_endpoint(self.name, None))

    def move_traffic(self, source: Callable[[str, str], Deployment], percent: int) -> None:
        """Give a model that is deployed already another part of the traffic."""
        traffic = {self.deployed_id: percent}
        serving = self.serving_id()
        if percent < 100 and serving:
            traffic[serving] = 100 - percent
        vertex.set_traffic(self.cloud, self.ready_endpoint.name, traffic)
        self.record(source, percent)

    def record(self, source: Callable[[str, str], Deployment], percent: int) -> None:
        """Write into the state what happened."""
        assert self.model is not None, "a step before this one registered it"
        deployment = source(self.model, self.deployed_id)
        change = self.locked.state.with_deployment if percent == 100 else self.locked.state.with_candidate
        self.locked.save(change(self.name, deployment))

    def take_off(self, deployed_model_id: str) -> None:
        """Undeploy what has no traffic any more."""
        vertex.undeploy_model(self.cloud, self.ready_endpoint.name, deployed_model_id)

    def outcome(self, changed: bool) -> Outcome:
        """Return what is there now."""
        url = vertex.predict_url(self.cloud, self.endpoint.name) if self.endpoint else ""
        return Outcome(self.version.removeprefix("version "), url, changed)


def take_all_off(cloud: Cloud, name: str) -> None:
    """Undeploy everything on an endpoint; it is no error when there is none."""
    endpoint = vertex.get_endpoint(cloud, name)
    if endpoint is None:
        return
    # Those without traffic first: a model that has some may only go when it is the last, or its share goes elsewhere.
    left = sorted(endpoint.deployed, key=lambda deployed_id: endpoint.traffic.get(deployed_id, 0))
    while left:
        deployed_model_id = left.pop(0)
        moved = {left[-1]: 100} if left and endpoint.traffic.get(deployed_model_id) else None
        vertex.undeploy_model(cloud, endpoint.name, deployed_model_id, traffic=moved)


def version_of(model: str) -> str:
    """Return `version V` of a versioned resource name."""
    return f"version {model.rpartition('@')[2]}"
