"""Releases: canary, promotion and rollback, and that a version that does not answer gets no traffic."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.dummy import DummyClassifier

from edge_tasks.cloud import endpoints
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.console import Console
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.prices import PriceList
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.runs import utc_now
from edge_tasks.domain.state import ModelState
from edge_tasks.errors import ConfigError
from edge_tasks.jobs.training import TrainingJob
from edge_tasks.models import costs, endings
from edge_tasks.models.endings import Doubt, Ending
from edge_tasks.models.predictions import endpoint_name
from edge_tasks.releases import ci_pipeline
from edge_tasks.releases.operations import (
    Options,
    Outcome,
    Release,
    ReleaseError,
    deploy,
    promote,
    remove,
    rollback,
    undeploy,
)
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.payloads import PayloadError
from edge_tasks.training.sklearn import save_results
from tests.repositories import Repository, copy

NAME = "hello-world"


class Heard(Silence):
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)


class OnLoad:
    """Runs code when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


@dataclass
class Team:
    """A repository whose model gets new versions quickly: trained in process."""

    repository: Repository
    cloud: Cloud

    @property
    def state(self) -> ModelState:
        return StateStore(self.cloud).load().model(NAME)

    @property
    def endpoint(self) -> endpoints.Endpoint:
        endpoint = endpoints.get_endpoint(self.cloud, str(self.state.endpoint))
        assert endpoint is not None
        return endpoint

    @property
    def traffic(self) -> dict[str, int]:
        """The percentage of each version that has some."""
        endpoint = self.endpoint
        deployed = {key: value.rpartition("@")[2] for key, value in endpoint.deployed.items()}
        return {deployed[key]: percent for key, percent in endpoint.traffic.items() if percent}

    @property
    def on_endpoint(self) -> set[str]:
        return {model.rpartition("@")[2] for model in self.endpoint.deployed.values()}

    def train(self, spoilt: bool = False, hang: Path | None = None, unloadable: bool = False) -> None:
        """Train a new version. A spoilt one loads, but cannot predict; one with `hang` loads when that file is gone."""

        def fit(folder: Path) -> None:
            classifier = DummyClassifier(strategy="most_frequent").fit(np.array([-1, 1, 1, 1]), np.array([0, 1, 1, 1]))
            if spoilt:
                classifier.classes_ = None
            if hang:
                code = f"import os, time\nwhile os.path.exists({str(hang)!r}): time.sleep(0.02)"
                classifier.loading_ = OnLoad(code)
            if unloadable:
                classifier.loading_ = OnLoad("raise ValueError('spoilt')")
            save_results(classifier, {"score": 0.75}, str(folder))

        script = f"models/{NAME}/train.py"
        chosen = {"strategy": "most_frequent"}
        TrainingJob(self.config, self.root, NAME, script, chosen, chosen).in_process(fit, dict, lambda **_: None)

    def release(self, **options: Any) -> Release:
        return Release(self.cloud, self.config, self.root, NAME, Silence(), Options(**options))

    def deploy(self, traffic: int = 100, **options: Any) -> Outcome:
        return deploy(self.release(**options), traffic)

    def deploy_for(self, hours: float, traffic: int = 100, **options: Any) -> Outcome:
        """Deploy for so many hours; with less than none it has expired at once."""
        return deploy(self.release(**options), traffic, utc_now() + timedelta(hours=hours))

    def due(self, **kinds: Any) -> list[Ending | Doubt]:
        return list(endings.due(self.cloud, None, **{"expired": False, "idle": None, **kinds}))

    def promote(self) -> Outcome:
        return promote(self.release())

    def rollback(self, to: str | None = None) -> Outcome:
        return rollback(self.release(), to)

    def all_endpoints(self) -> list[str]:
        return [endpoint.display_name for endpoint in self.cloud.endpoints.list_endpoints(parent=self.cloud.parent)]

    @property
    def root(self) -> Path:
        return self.repository.root

    @property
    def config(self) -> EdgeConfig:
        return load_config(self.root, {})


@pytest.fixture(scope="module")
def shared(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    repository = copy(baked[NAME], tmp_path_factory.mktemp("releases"))
    try:
        repository.run("invoke", "init")
        repository.run("python", f"models/{NAME}/train.py")
        yield Team(repository, connect(load_config(repository.root, {}), repository.root))
    finally:
        repository.run("invoke", "local.stop", check=False)


@pytest.fixture
def team(shared: Team) -> Iterator[Team]:
    """The team with nothing deployed."""
    shared.train()
    yield shared
    remove(shared.release())


def test_a_first_version_serves_and_a_second_replaces_it(team: Team) -> None:
    assert team.deploy() == Outcome(
        "1", endpoints.predict_url(team.cloud, endpoint_name(team.cloud, NAME)), changed=True
    )
    assert team.deploy().changed is False
    team.train()
    assert team.deploy().version == "2"
    assert (team.traffic, team.on_endpoint) == ({"2": 100}, {"2"})
    assert team.all_endpoints() == [f"{NAME}-endpoint"]


def test_a_slow_deployment_is_heard_of_where_there_is_no_terminal(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As asked for in https://github.com/googleapis/python-aiplatform/issues/935."""
    (hang := tmp_path / "hang").touch()
    team.train(hang=hang)
    monkeypatch.setattr("edge_tasks.console._QUIET_INTERVAL", 0.0)

    class Heard(Console):
        def waiting(self, text: str, elapsed: float) -> None:
            super().waiting(text, elapsed)
            hang.unlink(missing_ok=True)

    with Heard() as console:
        deploy(dataclasses.replace(team.release(), progress=console))
    assert "\n  waiting for the model to serve (" in capsys.readouterr().err


def test_a_canary_gets_its_part_and_promotion_gives_it_all(team: Team) -> None:
    team.deploy()
    team.train()
    team.deploy(traffic=10)
    assert team.traffic == {"1": 90, "2": 10}
    assert team.state.candidate is not None
    assert team.deploy(traffic=10).changed is False
    team.deploy(traffic=30)
    assert team.traffic == {"1": 70, "2": 30}
    team.promote()
    assert (team.traffic, team.on_endpoint) == ({"2": 100}, {"2"})
    assert team.state.model_dump()["candidate"] is None
    with pytest.raises(ReleaseError, match="no version with a part of the traffic"):
        team.promote()


def test_a_canary_can_be_replaced_by_the_next_one(team: Team) -> None:
    team.deploy()
    for version in ("2", "3"):
        team.train()
        team.deploy(traffic=20)
        assert (team.traffic, team.on_endpoint) == ({"1": 80, version: 20}, {"1", version})


def test_rolling_back_from_a_canary_takes_it_off(team: Team) -> None:
    team.deploy()
    team.train()
    team.deploy(traffic=10)
    assert team.rollback().version == "1"
    assert (team.traffic, team.on_endpoint) == ({"1": 100}, {"1"})
    assert team.state.candidate is None


def test_rolling_back_goes_one_version_back_each_time(team: Team) -> None:
    for _ in range(3):
        team.train()
        team.deploy()
    assert team.rollback().version == "2"
    assert team.rollback().version == "1"
    with pytest.raises(ReleaseError, match="nothing served before version 1"):
        team.rollback()
    assert team.rollback(to="3").version == "3"
    assert (team.traffic, team.on_endpoint) == ({"3": 100}, {"3"})
    with pytest.raises(ReleaseError, match="version 9 of `hello-world` never served"):
        team.rollback(to="9")


def test_the_models_name_alone_means_the_version_that_serves(team: Team) -> None:
    def default() -> str:
        assert team.state.deployed is not None
        return str(team.cloud.models.get_model(name=team.state.deployed.model.partition("@")[0]).version_id)

    team.deploy()
    team.train()
    team.deploy(traffic=10)
    assert default() == "1"
    team.promote()
    assert default() == "2"
    team.rollback()
    assert default() == "1"
    team.train()
    team.deploy()
    assert default() == "3"


def test_a_version_that_does_not_answer_gets_no_traffic(team: Team) -> None:
    team.deploy()
    team.train(spoilt=True)
    with pytest.raises(ReleaseError) as caught:
        team.deploy()
    assert caught.value.problem.startswith(f"version 2 of `{NAME}` did not answer models/{NAME}/test_payload.json")
    assert (caught.value.hint or "").startswith("version 1 keeps all the traffic")
    assert (team.traffic, team.on_endpoint) == ({"1": 100}, {"1"})
    assert team.all_endpoints() == [f"{NAME}-endpoint"]
    assert team.state.trial_endpoint is None
    team.deploy(smoke_test=False)
    assert team.traffic == {"2": 100}


def test_a_payload_that_nobody_can_ask_is_told_before_anything_is_made(team: Team) -> None:
    payload = team.root / "models" / NAME / "test_payload.json"
    whole = payload.read_bytes()
    try:
        for text in (b'{"instances": ', b'{"instances": []}', b"[" * 9999):
            payload.write_bytes(text)
            with pytest.raises(PayloadError, match=r"test_payload.json` (is not JSON|has no list)"):
                team.deploy()
    finally:
        payload.write_bytes(whole)
    assert team.all_endpoints() == []
    assert team.state.endpoint is None


def test_a_first_version_that_does_not_answer_is_taken_off(team: Team) -> None:
    team.train(spoilt=True)
    with pytest.raises(ReleaseError, match="did not answer"):
        team.deploy()
    assert team.on_endpoint == set()
    assert team.state.deployed is None


def test_what_an_interrupted_trial_left_is_removed_by_the_next_release(team: Team) -> None:
    team.deploy()
    trial = endpoints.create_endpoint(team.cloud, "left-over", {})
    with StateStore(team.cloud).locked() as locked:
        locked.save(locked.state.with_trial_endpoint(NAME, trial.name))
    team.train()
    team.deploy()
    assert team.all_endpoints() == [f"{NAME}-endpoint"]


def test_a_version_that_nothing_is_asked_of_is_told_to_be_untried(team: Team) -> None:
    payload, aside = team.root / "models" / NAME / "test_payload.json", team.root / "aside.json"
    payload.rename(aside)
    heard = Heard()
    try:
        deploy(replace(team.release(dry_run=True), progress=heard))
    finally:
        aside.rename(payload)
    assert heard.steps[0].startswith(f"warning: models/{NAME} has no test_payload.json, so this version gets requests")
    assert not any("ask it for predictions" in step for step in heard.steps)


def test_a_dry_run_tells_the_plan_and_changes_nothing(team: Team) -> None:
    def planned(traffic: int = 100) -> list[str]:
        heard = Heard()
        deploy(replace(team.release(dry_run=True), progress=heard), traffic)
        first, *steps = heard.steps
        assert first.startswith("would serve it by Google's prebuilt image (us-docker.pkg.dev/vertex-ai/prediction/")
        return steps

    before = team.state
    assert planned() == [
        "would upload the artifact to the registry",
        f"would create the endpoint `{NAME}-endpoint`",
        "would deploy a new version on n1-standard-2 with 100 % of the traffic",
        "would ask it for predictions: it must answer test_payload.json",
        "would record what serves",
    ]
    assert (team.state, team.all_endpoints()) == (before, [])
    first = team.deploy().version
    team.train()
    assert planned(traffic=5) == [
        "would upload the artifact to the registry",
        "would try a new version on its own endpoint: it must answer test_payload.json",
        "would deploy a new version on n1-standard-2 with 5 % of the traffic",
        "would record what serves",
    ]
    assert planned()[-1] == f"would take version {first} off the endpoint"
    assert team.traffic == {first: 100}


def test_what_edge_yaml_says_of_serving_reaches_vertex_ai(team: Team) -> None:
    path = team.root / "edge.yaml"
    before = path.read_text()
    settings = {
        "labels": {"team": "vision"},
        "serving_machine_type": "n1-highmem-4",
        "serving_accelerator_type": "NVIDIA_TESLA_T4",
        "serving_accelerator_count": 2,
        "serving_service_account": "server@my-project.iam.gserviceaccount.com",
        "min_replica_count": 2,
        "max_replica_count": 3,
    }
    document = yaml.safe_load(before)
    document["models"][NAME] |= settings
    try:
        path.write_text(yaml.safe_dump(document))
        team.deploy()
        team.train()
        with pytest.raises(ConfigError, match="3 NVIDIA_TESLA_T4 cannot be added to `n1-highmem-4`"):
            document["models"][NAME]["serving_accelerator_count"] = 3
            path.write_text(yaml.safe_dump(document))
            team.deploy()
    finally:
        path.write_text(before)
    endpoint = team.cloud.endpoints.get_endpoint(name=team.endpoint.name)
    assert endpoint.labels["team"] == "vision"
    assert endpoint.labels["edge-model"] == NAME
    (deployed,) = endpoint.deployed_models
    resources = deployed.dedicated_resources
    assert resources.machine_spec.machine_type == "n1-highmem-4"
    assert resources.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
    assert resources.machine_spec.accelerator_count == 2
    assert (resources.min_replica_count, resources.max_replica_count) == (2, 3)
    assert deployed.service_account == "server@my-project.iam.gserviceaccount.com"
    model = team.cloud.models.get_model(name=f"{deployed.model.partition('@')[0]}@{deployed.model_version_id}")
    assert (model.labels["team"], model.labels["edge-model"]) == ("vision", NAME)


def test_another_serving_image_is_another_version_of_the_same_training(team: Team) -> None:
    """The same image, from Google's European registry, stands for a newer one."""
    first = team.deploy()
    assert not team.deploy().changed
    path = team.root / "edge.yaml"
    before = path.read_text()
    image = f"europe-docker.pkg.dev/{str(team.config.models[NAME].serving_container_image_uri).partition('/')[2]}"
    try:
        document = yaml.safe_load(before)
        document["models"][NAME]["serving_container_image_uri"] = image
        path.write_text(yaml.safe_dump(document))
        second = team.deploy()
        assert (second.changed, second.version != first.version) == (True, True)
        (deployed,) = team.endpoint.deployed.values()
        assert team.cloud.models.get_model(name=deployed).container_spec.image_uri == image
        assert not team.deploy().changed
    finally:
        path.write_text(before)


@pytest.mark.parametrize("traffic", [0, -1, 101])
def test_a_part_that_is_none_is_refused(team: Team, traffic: int) -> None:
    with pytest.raises(ReleaseError, match=f"{traffic} % of the traffic is not possible"):
        team.deploy(traffic=traffic)


def test_a_canary_needs_something_beside_it(team: Team) -> None:
    with pytest.raises(ReleaseError, match="nothing serves yet"):
        team.deploy(traffic=10)
    with pytest.raises(ReleaseError, match="is not deployed"):
        team.rollback()
    team.deploy()
    with pytest.raises(ReleaseError, match="serves all the traffic already"):
        team.deploy(traffic=10)


def test_an_endpoint_that_somebody_deleted_is_made_anew(team: Team) -> None:
    team.deploy()
    endpoint = team.endpoint
    for deployed_model_id in endpoint.deployed:
        endpoints.undeploy_model(team.cloud, endpoint.name, deployed_model_id)
    endpoints.delete_endpoint(team.cloud, endpoint.name)
    team.deploy()
    assert team.endpoint.name != endpoint.name
    assert set(team.traffic.values()) == {100}


def test_a_region_that_was_changed_after_the_deployment_is_told_before_anything_is_done(team: Team) -> None:
    team.deploy()
    moved = replace(team.release(), cloud=replace(team.cloud, region="europe-west1"))
    for release in (lambda: deploy(moved), lambda: undeploy(moved), lambda: remove(moved)):
        with pytest.raises(ReleaseError, match=r"is in us-central1, and edge\.yaml says europe-west1") as refusal:
            release()
        assert "set the region to us-central1 again" in str(refusal.value.hint)
    assert set(team.traffic.values()) == {100}


def test_the_tasks_say_what_they_do(team: Team) -> None:
    run = team.repository.run
    run("invoke", "model.deploy")
    team.train()
    assert "would deploy" in run("invoke", "model.deploy", "--traffic", "10", "--dry-run").stderr
    assert "10 % of the requests" in run("invoke", "model.deploy", "--traffic", "10").stderr
    rows = [line.split("\t") for line in run("invoke", "model.list").stdout.splitlines()]
    now, new = (item.version for item in (team.state.deployed, team.state.candidate) if item)
    assert dict(zip(*rows, strict=True))["serves"] == f"{now} (90 %), {new} (10 %)"
    description = yaml.safe_load(run("invoke", "model.describe").stdout)
    assert sorted(description["endpoint"]["traffic"].values()) == [10, 90]
    assert f"version {new} serves all the requests" in run("invoke", "model.promote").stderr
    assert f"version {now} serves all the requests" in run("invoke", "model.rollback").stderr
    assert json.loads(run("./test_endpoint.sh").stdout)["modelVersionId"] == now
    assert "would take" in run("invoke", "model.undeploy", "--dry-run").stderr
    assert "would delete" in run("invoke", "model.remove", "--dry-run").stderr
    assert undeploy(team.release())


# --- what ends by itself --------------------------------------------------------------------------------------------


def test_what_was_deployed_for_a_time_is_taken_off_when_it_is_over(team: Team) -> None:
    team.deploy_for(1)
    assert team.due(expired=True) == []
    team.deploy_for(-1)  # the same version: only the time is another
    assert len(team.state.history) == 1
    (ending,) = team.due(expired=True)
    assert isinstance(ending, Ending)
    assert ending.reason.startswith("version 1 was wanted until ")
    assert endings.carry_out(ending, team.release(dry_run=True))
    assert team.on_endpoint == {"1"}
    assert endings.carry_out(ending, team.release())
    assert team.on_endpoint == set()
    assert team.due(expired=True) == []


def test_a_deployment_for_a_time_ends_by_the_clock_that_can_be_moved(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = utc_now() + timedelta(days=3)
    monkeypatch.setattr("edge_tasks.cloud.clock.now", lambda _: ahead)
    until = endings.after(team.cloud, timedelta(hours=2))
    deploy(team.release(), 100, until)
    assert team.due(expired=True) == []
    monkeypatch.setattr("edge_tasks.cloud.clock.now", lambda _: ahead + timedelta(hours=3))
    (ending,) = team.due(expired=True)
    assert isinstance(ending, Ending)


def test_a_deployment_without_a_time_has_no_end_again(team: Team) -> None:
    team.deploy_for(-1)
    assert team.deploy().changed
    assert team.due(expired=True) == []
    assert team.deploy().changed is False


def test_what_was_released_meanwhile_stays(team: Team) -> None:
    team.deploy_for(-1)
    (ending,) = team.due(expired=True)
    assert isinstance(ending, Ending)
    team.deploy_for(4)
    assert endings.carry_out(ending, team.release()) is False
    assert team.on_endpoint == {"1"}


def test_a_canary_that_is_over_gives_its_requests_back(team: Team) -> None:
    team.deploy()
    team.train()
    team.deploy_for(-1, traffic=10)
    (ending,) = team.due(expired=True)
    assert isinstance(ending, Ending)
    assert ending.candidate
    assert endings.carry_out(ending, team.release())
    assert (team.traffic, team.on_endpoint) == ({"1": 100}, {"1"})


def test_a_canary_is_not_taken_off_with_what_it_was_to_replace(team: Team) -> None:
    team.deploy_for(-1)
    team.train()
    team.deploy(traffic=10)
    (doubt,) = team.due(expired=True)
    assert isinstance(doubt, Doubt)
    assert "but version 2 has a part of the requests: invoke model.promote" in doubt.reason
    team.promote()
    assert team.due(expired=True) == []


def test_a_canary_keeps_its_time_when_it_is_promoted(team: Team) -> None:
    team.deploy()
    team.train()
    team.deploy_for(3, traffic=10)
    until = team.state.candidate.until if team.state.candidate else None
    team.promote()
    assert until is not None
    assert team.state.deployed is not None
    assert team.state.deployed.until == until


def test_what_nobody_asks_is_idle_and_what_somebody_asks_is_not(team: Team) -> None:
    team.deploy(smoke_test=False)
    assert team.due(idle=timedelta(hours=1)) == []  # it has not been there for so long
    (ending,) = team.due(idle=timedelta(0))
    (running,) = costs.running(team.cloud)
    assert (ending.reason, running.requests) == ("nobody has asked it for 0 minutes", 0)
    endpoints.predict(team.cloud, team.endpoint.name, b'{"instances": [[1]]}')
    (running,) = costs.running(team.cloud)
    assert (running.requests, running.use, str(running.uses[0].machine)) == (1, "asked", "1 n1-standard-2")
    assert team.due(idle=timedelta(0)) == []


def test_when_nobody_counts_requests_nothing_is_called_idle(team: Team) -> None:
    team.deploy(smoke_test=False)
    blind = replace(team.cloud, monitoring_url=None)
    (doubt,) = endings.due(blind, None, expired=False, idle=timedelta(0))
    assert isinstance(doubt, Doubt)
    why: list[str] = []
    assert [one.use for one in costs.running(blind, why.append)] == ["?"]
    assert len(why) == 1


@contextmanager
def scaling_to_zero(team: Team) -> Iterator[None]:
    """Let edge.yaml say so."""
    path = team.root / "edge.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    document["models"][NAME]["scale_to_zero"] = {"idle": "8h", "up_for": "300m"}
    try:
        path.write_text(yaml.safe_dump(document))
        yield
    finally:
        path.write_text(before)


def test_a_model_that_scales_to_zero_has_an_endpoint_of_its_own_and_no_canary(team: Team) -> None:
    """When it goes to zero is shown in tests/emulator/test_scale_to_zero.py."""
    zero = "after 8h without a request, up for 5h at least"
    with scaling_to_zero(team):
        first = team.deploy()
        assert team.endpoint.dedicated
        (running,) = costs.running(team.cloud)
        assert (running.scale_to_zero, running.machines) == (zero, "1 n1-standard-2 or none")
        prices = PriceList(region="x", currency="USD", fetched=utc_now().date(), source="", prices=())
        assert running.cost(prices) is None
        assert team.deploy().changed is False
        team.train()
        with pytest.raises(ReleaseError, match="Vertex AI lets one version alone do that: none can get 10 %"):
            team.deploy(10)
        # In CI a person approves before it takes the place of the other.
        ci_pipeline.deploy([team.release()], 10, allow_dirty=True)
        assert team.on_endpoint == {"1"}
        heard = Heard()
        ci_pipeline.promote([replace(team.release(), progress=heard)])
        assert endpoints.predict_url(team.cloud, team.endpoint.name) == first.url
        room = "where one scales to zero it is alone, so nothing answers until a new version serves"
        part = f"scaling to zero {zero} (a preview of Vertex AI's)"
        assert heard.steps[2:5] == [
            "try a new version on its own endpoint: it must answer test_payload.json",
            f"take version 1 off the endpoint: {room}",
            f"deploy a new version on n1-standard-2 with 100 % of the traffic, {part}",
        ]
        assert (team.traffic, team.on_endpoint, len(team.all_endpoints())) == ({"2": 100}, {"2"}, 1)
        assert team.rollback().version == "1"
    # It still scales to zero, whatever edge.yaml says by now: nothing can serve next to it.
    with pytest.raises(ReleaseError, match="scales to zero, so no other version can get 10 % next to it"):
        team.deploy(10)
    assert team.deploy().version == "2"
    assert not any(one.scale_to_zero for one in costs.running(team.cloud))


def test_a_shared_endpoint_is_replaced_only_when_nothing_is_on_it(team: Team) -> None:
    shared = team.deploy().url
    with scaling_to_zero(team):
        with pytest.raises(ReleaseError, match=r"the endpoint of .* is a shared one") as refused:
            team.deploy()
        assert f"invoke model.undeploy --name {NAME}, then deploy" in str(refused.value.hint)
        undeploy(team.release())
        assert team.deploy().url != shared
    assert len(team.all_endpoints()) == 1
    undeploy(team.release())
    # What served once can be gone back to when nothing serves.
    with pytest.raises(ReleaseError, match="is not deployed"):
        team.rollback()
    assert team.rollback(team.state.history[0].version).changed
