"""One change of what an endpoint serves: what is there, the plan, and its steps.

Which changes there are is `edge_tasks.releases.operations`'s matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import MappingProxyType

from edge_tasks.cloud import endpoints, model_registry, scale_to_zero
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import LockedState
from edge_tasks.domain.config import EdgeConfig, ModelConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.state import Deployment, EdgeState, ModelState, Operation, Origin, until_words
from edge_tasks.errors import CloudError, EdgeError
from edge_tasks.repo import layout
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.payloads import read_payload
from edge_tasks.tools.signals import defer_signals
from edge_tasks.tools.user import user_name


class ReleaseError(EdgeError):
    """A release cannot be made, or was taken back."""


@dataclass(frozen=True)
class Options:
    """How a release is made. `lock_timeout` is the number of seconds to wait for somebody else's lock.

    With `to_the_end` false, a release ends when it has started what takes Google minutes; made again, it continues.
    """

    dry_run: bool = False
    smoke_test: bool = True
    checks: bool = True
    lock_timeout: float = 0.0
    to_the_end: bool = True


@dataclass(frozen=True)
class Release:
    """What every release is made of: the model `name` of a repository, where it is served, who is told, and how."""

    cloud: Cloud
    config: EdgeConfig
    root: Path
    name: str
    progress: Progress
    options: Options = Options()

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return layout.model_folder(self.root, self.name)

    @property
    def settings(self) -> ModelConfig:
        """What edge.yaml says of the model."""
        return self.config.models[self.name]

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the model's endpoint: the user's, and those by which it is found."""
        return {**self.settings.labels, **layout.endpoint_labels(self.name, self.cloud.bucket_name)}


@dataclass(frozen=True)
class Outcome:
    """What is there after a release: `url` takes predict requests. `changed` is False when all was so already.

    `finished` is False when Google still works on it.
    """

    version: str
    url: str
    changed: bool
    finished: bool = True


@dataclass(frozen=True)
class Step:
    """A part of a plan: what it does, in words, and the doing."""

    text: str
    do: Callable[[], None]


class _StillRunningError(Exception):
    """A step has started what is still running at Google, and is not to wait for it."""


def _region(resource_name: str) -> str:
    """Return the region in projects/P/locations/REGION/..."""
    return resource_name.split("/")[3]


@dataclass
class Rollout:
    """One change of what one endpoint serves, while the lock is held: what is there, a plan, and its steps."""

    release: Release
    locked: LockedState
    endpoint: endpoints.Endpoint | None = None
    model: str | None = None
    origin: Origin = field(default_factory=Origin)
    deployed_id: str = ""
    # Whether what runs already gets the machines that edge.yaml says now: a deployment's matter, not a rollback's.
    applies_settings: bool = False
    # When what is released is taken off again, if it is said.
    until: datetime | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def version(self) -> str:
        """How the version is called in messages."""
        return version_of(self.model) if self.model else "a new version"

    @property
    def state(self) -> ModelState:
        """What the shared state says of the model."""
        return self.locked.state.model(self.release.name)

    @property
    def serving_id(self) -> str | None:
        """The deployed model id of what serves now."""
        return self.state.deployed.deployed_model_id if self.state.deployed else None

    def read_world(self) -> None:
        """Look at what there is. Raises ReleaseError when edge.yaml has another region than that had."""
        if self.state.endpoint and (elsewhere := _region(self.state.endpoint)) != self.release.cloud.region:
            name, here = self.release.name, self.release.cloud.region
            raise ReleaseError(
                f"the endpoint of `{name}` is in {elsewhere}, and edge.yaml says {here}: an endpoint cannot move",
                f"set the region to {elsewhere} again; to leave it, there: invoke model.remove --name {name}",
            )
        if self.state.endpoint:
            self.endpoint = endpoints.get_endpoint(self.release.cloud, self.state.endpoint)

    def plan(self, text: str, do: Callable[[], None]) -> None:
        """Add a step; `text` completes the sentence "it would ..."."""
        self.steps.append(Step(text, do))

    def carry_out(self) -> Outcome:
        """Do what was planned, or only tell it; return what is there then."""
        finished = True
        try:
            for step in self.steps:
                self.release.progress.step(f"would {step.text}" if self.release.options.dry_run else step.text)
                if not self.release.options.dry_run:
                    self.locked.check()
                    step.do()
        except _StillRunningError:
            finished = False
        url = endpoints.predict_url(self.release.cloud, self.endpoint.name) if self.endpoint else ""
        return Outcome(self.version.removeprefix("version "), url, changed=bool(self.steps), finished=finished)

    def _save(self, change: Callable[[EdgeState], EdgeState]) -> None:
        self.locked.save(change(self.locked.state))

    # -- what is there --

    def deployed_under(self, model: str | None) -> str | None:
        """Return the deployed model id of `model` on the endpoint, or None."""
        deployed = self.endpoint.deployed if self.endpoint else {}
        return next((key for key, value in deployed.items() if model and endpoints.same_resource(value, model)), None)

    def traffic_of(self, deployed_model_id: str | None) -> int:
        """Return the percentage of the traffic that a deployed model gets."""
        return self.endpoint.traffic.get(deployed_model_id, 0) if self.endpoint and deployed_model_id else 0

    def _is_tested(self) -> bool:
        return self.release.options.smoke_test and (self.release.folder / PAYLOAD_FILE).is_file()

    def _resumes(self, endpoint: str | None) -> bool:
        """Say whether the model's deployment on `endpoint` was started before."""
        operation = self.state.operation
        return bool(
            operation
            and self.model
            and operation.endpoint == endpoint
            and endpoints.same_resource(operation.model, self.model)
        )

    # -- the plan --

    def plan_to_serve(self, percent: int) -> None:
        """Plan that the model gets `percent` of the traffic; with 100 it replaces what serves."""
        self._plan_to_tidy_up()
        here, differences = self._usable_deployment()
        alone = here is None and self._has_room_for_one()
        if here is None:
            self._plan_to_deploy(percent, differences, alone=alone)
        else:
            if differences:
                text = f"change {_listed(differences)} of {self.version}"
                self.plan(text, partial(self._change_replicas, here))
            self._plan_for_deployed(here, percent)
        for old, model in (self.endpoint.deployed if self.endpoint else {}).items():
            if not alone and old != here and (percent == 100 or old != self.serving_id):
                self.plan(f"take {version_of(model)} off the endpoint", partial(self._take_off, old))

    def refuse_part(self, percent: int) -> None:
        """Raise ReleaseError when no version can get a part of the requests: where one scales to zero it is alone."""
        name = self.release.name
        if self.release.settings.scale_to_zero is not None:
            raise ReleaseError(
                f"`{name}` scales to zero (edge.yaml), and Vertex AI lets one version alone do that: none can get "
                f"{percent} %",
                f"invoke model.deploy --name {name} tries it on its own endpoint, then gives it all; for a part "
                f"remove models.{name}.scale_to_zero",
            )
        if self._has_room_for_one():
            raise ReleaseError(
                f"what serves `{name}` scales to zero, so no other version can get {percent} % next to it",
                f"invoke model.deploy --name {name}, which deploys without scale_to_zero as edge.yaml says now",
            )

    def _has_room_for_one(self) -> bool:
        """Say whether there may be one model alone, because it scales to zero: the wanted one, or what is there."""
        there = self.endpoint.resources.values() if self.endpoint else ()
        return self.release.settings.scale_to_zero is not None or any(one.scale_to_zero for one in there)

    def _usable_deployment(self) -> tuple[str | None, dict[str, str]]:
        """Return the deployed model id of the model, and which settings of it are to be changed in place.

        One on another machine is not usable: it is deployed once more, and what serves now goes when that serves. The
        id is None then, and what differs is told.
        """
        deployed = self.endpoint.deployed if self.endpoint else {}
        differences: dict[str, str] = {}
        for key, value in deployed.items():
            if self.model and endpoints.same_resource(value, self.model):
                differences = self._differences(key)
                resources = self.endpoint.resources.get(key) if self.endpoint else None
                if not set(differences) - (resources.changed_in_place if resources else set()):
                    return key, differences
        return None, differences

    def _differences(self, deployed_model_id: str) -> dict[str, str]:
        """Return what of a deployed model is not as edge.yaml says: a setting, and both values in words."""
        resources = self.endpoint.resources.get(deployed_model_id) if self.endpoint else None
        if resources is None or not resources.machine_type or not self.applies_settings:
            return {}
        return resources.differences(endpoints.Resources.wanted(self.release.settings))

    def _plan_to_tidy_up(self) -> None:
        """Plan to end what an interrupted release left, unless this one resumes it."""
        operation, trial = self.state.operation, self.state.trial_endpoint
        if operation and not self._resumes(trial) and not self._resumes(self.state.endpoint):
            self.plan(f"end the deployment of {version_of(operation.model)} that was started", self.end_operation)
        if trial and not self._resumes(trial):
            self.plan("remove what an interrupted trial left", self.remove_trial)

    def _plan_for_deployed(self, here: str, percent: int) -> None:
        self.deployed_id = here
        if self.traffic_of(here) != percent:
            self.plan(f"give {self.version} {percent} % of the traffic", lambda: self._move_traffic(percent))
            return
        recorded = self.state.deployed if percent == 100 else self.state.candidate
        if recorded is None or recorded.deployed_model_id != here:
            # The release that deployed it was cut off; the first version of all is tried where it serves.
            if self._is_tested() and self.state.deployed is None:
                self.plan(f"ask it for predictions: it must answer {PAYLOAD_FILE}", self._try_in_place)
            self.plan(f"record that {self.version} serves", lambda: self._record(percent))
        elif self.applies_settings and recorded.until != self.until:
            name, until = self.release.name, self.until
            self.plan(
                f"record that {self.version} serves {until_words(self.until)}",
                lambda: self._save(lambda state: state.with_until(name, here, until)),
            )

    def _plan_to_deploy(
        self, percent: int, differences: Mapping[str, str] = MappingProxyType({}), *, alone: bool = False
    ) -> None:
        if self._is_tested():
            read_payload(self.release.folder / PAYLOAD_FILE)  # what cannot be asked is told before anything is paid for
        if self.endpoint is None:
            self.plan(f"create the endpoint `{self.release.settings.endpoint_name}`", self._create_endpoint)
        aside = self.endpoint is not None and any(self.endpoint.traffic.values())
        resumes = self._resumes(self.state.endpoint)
        if self._is_tested() and aside and not resumes:
            self.plan(f"try {self.version} on its own endpoint: it must answer {PAYLOAD_FILE}", self._try_aside)
        if alone and not resumes:
            self._plan_to_make_room()
        machine = self.release.settings.serving_machine_type
        if resumes:
            self.plan(f"wait for the deployment of {self.version} that was started", lambda: self._deploy(percent))
        else:
            again = f" again, for another {_listed(differences)}," if differences else ""
            zero = scale_to_zero.words(self.release.settings.scale_to_zero)
            text = f"deploy {self.version}{again} on {machine} with {percent} % of the traffic"
            text += f", scaling to zero {zero} (a preview of Vertex AI's)" if zero else ""
            self.plan(text, lambda: self._deploy(percent))
        if self._is_tested() and not aside:
            self.plan(f"ask it for predictions: it must answer {PAYLOAD_FILE}", self._try_in_place)
        self.plan("record what serves", lambda: self._record(percent))

    def _plan_to_make_room(self) -> None:
        """Plan that nothing else is on the endpoint, and that it is one on which a model can scale to zero."""
        name, endpoint = self.release.name, self.endpoint
        if endpoint is None:
            return
        if self.release.settings.scale_to_zero is not None and not endpoint.dedicated:
            if layout.by_terraform(endpoint.labels):
                raise ReleaseError(
                    f"Terraform manages the endpoint of `{name}`, a shared one; scale_to_zero takes a dedicated one",
                    f"remove models.{name}.scale_to_zero",
                )
            if endpoint.deployed:
                raise ReleaseError(
                    f"the endpoint of `{name}` is a shared one, and scale_to_zero takes a dedicated one, which has "
                    "another address",
                    f"invoke model.undeploy --name {name}, then deploy: that makes it; callers need its address",
                )
            self.plan(
                "replace the endpoint, a shared one, by a dedicated one with another address", self._replace_endpoint
            )
        elif endpoint.deployed:
            versions = " and ".join(version_of(model) for model in endpoint.deployed.values())
            self.plan(
                f"take {versions} off the endpoint: where one scales to zero it is alone, so nothing answers until "
                f"{self.version} serves",
                self._make_room,
            )

    # -- its steps --

    def _replace_endpoint(self) -> None:
        assert self.endpoint is not None, "it was planned for one"
        delete_endpoint(self.release.cloud, self.endpoint.name)
        self._create_endpoint()

    def _make_room(self) -> None:
        assert self.endpoint is not None, "it was planned for one"
        take_all_off(self.release.cloud, self.endpoint.name)
        self._save(lambda state: state.without_deployment(self.release.name))

    def _create_endpoint(self) -> None:
        cloud, name = self.release.cloud, self.release.name
        # One that was made while the connection was lost carries our labels.
        found = endpoints.find_endpoint(cloud, layout.endpoint_labels(name, cloud.bucket_name))
        dedicated = self.release.settings.scale_to_zero is not None
        if found is not None and (found.dedicated or not dedicated):
            self.endpoint = found
        else:
            self.endpoint = endpoints.create_endpoint(
                cloud, self.release.settings.endpoint_name, self.release.labels, dedicated=dedicated
            )
        made = self.endpoint.name
        self._save(lambda state: state.without_deployment(name).with_endpoint(name, made))

    def _deploy(self, percent: int) -> None:
        assert self.endpoint is not None, "a step before this one made it"
        self.deployed_id = self._deploy_on(self.endpoint, self._split("0", percent))

    def _split(self, deployed_model_id: str, percent: int) -> dict[str, int]:
        """Return the traffic when `deployed_model_id` gets `percent`, and what serves the rest."""
        others = {self.serving_id: 100 - percent} if percent < 100 and self.serving_id else {}
        return {deployed_model_id: percent, **others}

    def _deploy_on(self, endpoint: endpoints.Endpoint, traffic: Mapping[str, int]) -> str:
        """Deploy the model on any endpoint, or continue a deployment that was started; return the deployed model id."""
        cloud, name, progress = self.release.cloud, self.release.name, self.release.progress
        try:
            operation = self._operation_on(endpoint, traffic)
            if not self.release.options.to_the_end and endpoints.deployment_runs(cloud, operation):
                raise _StillRunningError
            deployed_id = endpoints.finish_deployment(
                cloud,
                operation,
                name,
                on_wait=lambda elapsed: progress.waiting("waiting for the model to serve", elapsed),
            )
        except KeyboardInterrupt:
            self._cancel_on(endpoint)
            raise
        except CloudError:
            # Whether it failed, or the connection did, is told by asking once more.
            begun = self._begun_on(endpoint)
            if begun and not endpoints.deployment_runs(cloud, begun):
                self._forget_operation()
            raise
        self._forget_operation()
        return deployed_id

    def _operation_on(self, endpoint: endpoints.Endpoint, traffic: Mapping[str, int]) -> Operation:
        """Begin to deploy the model on `endpoint`, unless that was started before; return the operation."""
        cloud, name, settings = self.release.cloud, self.release.name, self.release.settings
        if self.state.operation and self._resumes(endpoint.name):
            return self.state.operation
        if endpoint.name == self.state.trial_endpoint:
            settings = settings.model_copy(update={"scale_to_zero": None})  # it does not last so long
        assert self.model is not None, "a step before this one registered it"
        with defer_signals():
            started = endpoints.start_deployment(
                cloud,
                endpoint.name,
                model=self.model,
                display_name=name,
                settings=settings,
                traffic=traffic,
            )
            self._save(lambda state: state.with_operation(name, started))
        return started

    def _begun_on(self, endpoint: endpoints.Endpoint) -> Operation | None:
        """Return the deployment on `endpoint` that was started and did not end yet, as far as is known."""
        operation = self.state.operation
        return operation if operation and operation.endpoint == endpoint.name else None

    def _cancel_on(self, endpoint: endpoints.Endpoint) -> None:
        """Cancel what was started on `endpoint`."""
        begun = self._begun_on(endpoint)
        if begun:
            self.release.progress.step("cancelling the deployment")
            if endpoints.cancel_deployment(self.release.cloud, begun, endpoint):
                self._forget_operation()

    def _forget_operation(self) -> None:
        self._save(lambda state: state.with_operation(self.release.name, None))

    def end_operation(self) -> None:
        """Cancel the deployment that was started, and undo what came of it."""
        if self.state.operation:
            end_operation(self.release.cloud, self.state.operation)
            self._forget_operation()

    def _try_aside(self) -> None:
        """Deploy the model where nobody asks it, ask it, and remove all that again."""
        try:
            self.ask(self._deploy_aside())
        finally:
            # A deployment that is still running is taken over by the next release.
            if self.state.operation is None:
                self.remove_trial()

    def _deploy_aside(self) -> str:
        cloud, name = self.release.cloud, self.release.name
        trial = endpoints.get_endpoint(cloud, self.state.trial_endpoint) if self.state.trial_endpoint else None
        if trial is None:
            labels = {**self.release.settings.labels, layout.MODEL_LABEL: name}
            with defer_signals():
                trial = endpoints.create_endpoint(cloud, f"{name}-trial", labels)
                made = trial.name
                self._save(lambda state: state.with_trial_endpoint(name, made))
        self._deploy_on(trial, {"0": 100})
        return trial.name

    def remove_trial(self) -> None:
        """Remove the endpoint on which a version was tried."""
        trial, name = self.state.trial_endpoint, self.release.name
        if trial:
            delete_endpoint(self.release.cloud, trial)
            self._save(lambda state: state.with_trial_endpoint(name, None))

    def _try_in_place(self) -> None:
        """Ask the model where it serves already; take it off when it does not answer."""
        assert self.endpoint is not None, "a step before this one made it"
        try:
            self.ask(self.endpoint.name)
        except ReleaseError:
            endpoints.undeploy_model(self.release.cloud, self.endpoint.name, self.deployed_id)
            raise

    def ask(self, endpoint: str) -> None:
        """Raise ReleaseError unless the endpoint answers the payload with one prediction for each instance."""
        payload = read_payload(self.release.folder / PAYLOAD_FILE)
        try:
            waiting = partial(self.release.progress.waiting, "waiting for the model to scale up from zero")
            answer = endpoints.predict(self.release.cloud, endpoint, payload, on_wait=waiting)
        except CloudError as error:
            raise self._no_answer(error.problem) from error
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        asked = len(json.loads(payload)["instances"])
        if not isinstance(predictions, list) or len(predictions) != asked:
            raise self._no_answer(f"{asked} predictions were asked for, the answer was {str(answer)[:200]}")

    def _no_answer(self, reason: str) -> ReleaseError:
        serving, name = self.state.deployed, self.release.name
        kept = f"version {serving.version} keeps all the traffic" if serving else "nothing serves"
        return ReleaseError(
            f"{self.version} of `{name}` did not answer models/{name}/{PAYLOAD_FILE}: {reason}",
            f"{kept}; fix the model or the payload (`invoke model.describe --name {name}` shows what it takes), "
            "or deploy without trying: --no-smoke-test",
        )

    def _move_traffic(self, percent: int) -> None:
        """Give a model that is deployed already another part of the traffic."""
        assert self.endpoint is not None, "the model is deployed on it"
        endpoints.set_traffic(self.release.cloud, self.endpoint.name, self._split(self.deployed_id, percent))
        self._record(percent)

    def _change_replicas(self, deployed_model_id: str) -> None:
        assert self.endpoint is not None, "the model is deployed on it"
        endpoints.set_replicas(self.release.cloud, self.endpoint.name, deployed_model_id, self.release.settings)

    def _record(self, percent: int) -> None:
        """Write into the state what happened."""
        assert self.model is not None, "a step before this one registered it"
        deployment = Deployment(
            model=self.model,
            deployed_model_id=self.deployed_id,
            deployed_at=datetime.now(timezone.utc),
            deployed_by=user_name(),
            until=self.until,
            **self.origin.model_dump(),
        )
        change = EdgeState.with_deployment if percent == 100 else EdgeState.with_candidate
        self._save(lambda state: change(state, self.release.name, deployment))
        if percent == 100:
            self._make_default()

    def _make_default(self) -> None:
        """Let the model's name without a version mean what serves, for notebooks and the console; it serves anyway."""
        assert self.model is not None, "it was recorded"
        try:
            model_registry.make_default(self.release.cloud, self.model)
        except CloudError as error:
            self.release.progress.step(f"warning: {self.version} is not the default of the registry: {error.problem}")

    def _take_off(self, deployed_model_id: str) -> None:
        """Undeploy what has no traffic any more."""
        assert self.endpoint is not None, "the model is deployed on it"
        endpoints.undeploy_model(self.release.cloud, self.endpoint.name, deployed_model_id)


def end_operation(cloud: Cloud, operation: Operation) -> None:
    """Cancel a deployment that was started, and undo what came of it. Raises ReleaseError when that is not possible."""
    before = endpoints.get_endpoint(cloud, operation.endpoint)
    if before is None or not endpoints.deployment_runs(cloud, operation):
        return
    if not endpoints.cancel_deployment(cloud, operation, before):
        raise ReleaseError(
            f"the deployment of {version_of(operation.model)} cannot be cancelled now", "try again in some minutes"
        )


def take_all_off(cloud: Cloud, name: str) -> None:
    """Undeploy everything on an endpoint; it is not an error when there is none."""
    endpoint = endpoints.get_endpoint(cloud, name)
    if endpoint is None:
        return
    # Those without traffic first: a model that has some may only go when it is the last, or its share goes elsewhere.
    left = sorted(endpoint.deployed, key=lambda deployed_id: endpoint.traffic.get(deployed_id, 0))
    while left:
        deployed_model_id = left.pop(0)
        moved = {left[-1]: 100} if left and endpoint.traffic.get(deployed_model_id) else None
        endpoints.undeploy_model(cloud, endpoint.name, deployed_model_id, traffic=moved)


def delete_endpoint(cloud: Cloud, name: str) -> None:
    """Delete an endpoint with everything on it; it is not an error when there is none.

    One that Terraform manages stays, with nothing on it.
    """
    take_all_off(cloud, name)
    endpoint = endpoints.get_endpoint(cloud, name)
    if endpoint is not None and not layout.by_terraform(endpoint.labels):
        endpoints.delete_endpoint(cloud, name)


def _listed(differences: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} ({values})" for name, values in differences.items())


def version_of(model: str) -> str:
    """Return `version V` of a versioned resource name."""
    return f"version {model.rpartition('@')[2]}"
