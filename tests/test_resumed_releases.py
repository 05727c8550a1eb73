"""Releases that were cut off, or left to Google: made again, they continue from what is there."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.state import Operation
from edge_tasks.errors import CloudError
from edge_tasks.releases.operations import deploy, remove, rollback, undeploy
from tests.repositories import Repository
from tests.test_releases import NAME, Team, shared

__all__ = ["shared"]


@pytest.fixture
def team(shared: Team) -> Iterator[Team]:
    """The team with nothing deployed."""
    yield shared
    remove(shared.release())


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """While this file is there, models that hang while it is there do so when they are loaded."""
    return tmp_path / "hang"


def train_hanging(team: Team, mark: Path) -> None:
    """Train a version whose loading takes as long as `mark` is there."""
    mark.touch()
    team.train(hang=mark)


def wait_for(condition: Callable[[], Any], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def operation(team: Team) -> Operation:
    found = team.state.operation
    assert found is not None
    return found


def test_what_is_not_waited_for_goes_on_with_the_next_release(team: Team, mark: Path) -> None:
    train_hanging(team, mark)
    begun = team.deploy(to_the_end=False)
    assert (begun.finished, begun.changed) == (False, True)
    first = operation(team)
    assert team.deploy(to_the_end=False).finished is False
    assert operation(team) == first
    rows = [line.split("\t") for line in team.repository.run("invoke", "model.list").stdout.splitlines()]
    assert dict(zip(*rows, strict=True))["serves"] == f"{begun.version} is being deployed"
    mark.unlink()
    done = team.deploy()
    assert (done.finished, done.version) == (True, begun.version)
    assert team.traffic == {done.version: 100}
    assert team.state.operation is None
    assert team.deploy().changed is False


def test_a_trial_that_is_not_waited_for_goes_on_too(team: Team, mark: Path) -> None:
    team.train()
    before = team.deploy().version
    train_hanging(team, mark)
    begun = team.deploy(to_the_end=False)
    assert operation(team).endpoint == team.state.trial_endpoint
    assert team.traffic == {before: 100}
    mark.unlink()
    wait_for(lambda: team.deploy(to_the_end=False).finished)
    assert team.traffic == {begun.version: 100}
    assert team.on_endpoint == {begun.version}
    assert team.all_endpoints() == [f"{NAME}-endpoint"]


def test_a_deployment_that_ended_unseen_is_found_and_tried_before_it_is_recorded(team: Team, mark: Path) -> None:
    train_hanging(team, mark)
    begun = team.deploy(to_the_end=False)
    mark.unlink()
    wait_for(lambda: team.endpoint.deployed)
    before = team.state
    assert before.deployed is None
    assert team.deploy().version == begun.version
    after = team.state
    assert after.deployed is not None
    assert (after.operation, team.traffic) == (None, {begun.version: 100})


def test_a_newer_version_ends_the_deployment_of_the_one_before(team: Team, mark: Path) -> None:
    train_hanging(team, mark)
    old = team.deploy(to_the_end=False)
    team.train()
    new = team.deploy()
    assert int(new.version) == int(old.version) + 1
    assert (team.traffic, team.on_endpoint) == ({new.version: 100}, {new.version})
    mark.unlink()
    assert team.on_endpoint == {new.version}


@pytest.mark.parametrize("away", [undeploy, remove, rollback])
def test_going_away_ends_what_was_begun(team: Team, mark: Path, away: Callable[..., Any]) -> None:
    team.train()
    before = team.deploy().version
    train_hanging(team, mark)
    team.deploy(to_the_end=False)
    away(team.release(), *([before] if away is rollback else []))
    mark.unlink()
    assert team.state.operation is None
    assert team.state.trial_endpoint is None
    left = {f"{NAME}-endpoint"} - ({f"{NAME}-endpoint"} if away is remove else set())
    assert set(team.all_endpoints()) == left


def test_a_command_that_is_killed_while_google_works_is_gone_on_with(team: Team, mark: Path) -> None:
    train_hanging(team, mark)
    process = team.repository.start("invoke", "model.deploy")
    wait_for(lambda: team.state.operation)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    first = operation(team)
    output = team.repository.run("invoke", "model.deploy", "--async").stderr
    assert "took over the lock of a process that is gone" in output
    assert f"(process {process.pid}), `invoke model.deploy`" in output
    assert "> wait for the deployment of version" in output
    assert f"run the same command again to resume: invoke model.deploy --name {NAME}" in output
    assert operation(team) == first
    mark.unlink()
    output = team.repository.run("invoke", "model.deploy").stderr
    assert "serves all the requests" in output
    assert len(team.endpoint.deployed) == 1


def test_a_deployment_that_failed_is_told_and_forgotten(team: Team, tmp_path: Path) -> None:
    team.train(unloadable=True)
    with pytest.raises(CloudError, match=f"waited for `{NAME}` to serve, but it failed"):
        team.deploy()
    assert team.state.operation is None
    assert team.endpoint.deployed == {}


def test_an_endpoint_whose_making_was_not_recorded_is_found_again(team: Team) -> None:
    team.train()
    team.deploy()
    name = team.endpoint.name
    undeploy(team.release())
    with StateStore(team.cloud).locked() as locked:
        locked.save(locked.state.without_model(NAME))
    team.deploy()
    assert team.endpoint.name == name


def test_why_tells_where_every_version_comes_from(team: Team) -> None:
    import yaml

    versions: list[str] = []
    for _ in range(3):
        team.train()
        versions.append(deploy(team.release(), 50 if len(versions) == 2 else 100).version)
    told = yaml.safe_load(team.repository.run("invoke", "model.why").stdout)
    assert [(item["version"], item["traffic"]) for item in told["serving"]] == [(versions[1], 50), (versions[2], 50)]
    assert [item["version"] for item in told["before"]] == [versions[0]]
    for item in (*told["serving"], *told["before"]):
        assert item["parameters"] == {"strategy": "most_frequent"}
        assert item["metrics"] == {"score": 0.75}
        assert len(item["commit"]) == 40
        assert item["dirty"] in (True, False)
        assert item["run_id"]
        assert item["job"] is None
        assert item["deployed_by"]
        assert item["deployed_at"]


def test_the_history_of_the_state_tells_who_did_what(team: Team) -> None:
    team.train()
    version = team.deploy().version
    team.repository.run("invoke", "model.undeploy")
    rows = [line.split("\t") for line in team.repository.run("invoke", "state.show", "--history").stdout.splitlines()]
    assert rows[0] == ["when", "who", "command", "what"]
    assert rows[-1][2:] == ["invoke model.undeploy", f"{NAME}: deployed version {version} -> none"]
    assert rows[-2][3] == f"{NAME}: deployed none -> version {version}"
    assert [row[3].split(" ")[1] for row in rows[-5:-2]] == ["endpoint", "deployment", "deployment"]


def test_teardown_removes_what_was_made_after_showing_it_and_nothing_else(team: Team) -> None:
    from edge_tasks.cloud import endpoints, model_registry

    other = endpoints.create_endpoint(team.cloud, "somebody-elses", {"edge-model": NAME})
    try:
        team.train()
        version = team.deploy().version
        endpoint = team.endpoint.name
        run = team.repository.run
        # By the project's id: it is not yet asked for, where it would be named by the number.
        model_id = next(iter(team.endpoint.deployed.values())).partition("@")[0].rpartition("/")[2]
        model = f"{team.cloud.parent}/models/{model_id}"
        listed = [
            f"> would delete the endpoint with version {version} (100 % of the traffic): {endpoint}",
            f"> would delete the registered model {model}",
        ]
        *things, runs = run("invoke", "teardown", "--dry-run").stderr.splitlines()
        as_json = json.loads(run("invoke", "teardown", "--dry-run", "--json").stdout)
        assert [thing["name"] for thing in as_json] == [line.rpartition(" ")[2] for line in things]
        assert as_json[1]["kind"] == "registered model"
        assert things == listed
        assert runs == f"> `{NAME}` version {version} has run for 0.0 hours on 1 n1-standard-2"
        problem, hint = team.repository.fails("invoke", "teardown")
        assert (problem, hint) == ("nothing was removed", "add `--yes` to remove without being asked")
        assert team.traffic == {version: 100}
        assert run("invoke", "teardown", "--yes").stderr.splitlines()[:2] == listed
        assert team.all_endpoints() == ["somebody-elses"]
        assert not model_registry.model_exists(team.cloud, model)
        assert StateStore(team.cloud).load().models == {}
        assert "there is nothing to remove (local)" in run("invoke", "teardown", "--yes").stderr
        assert team.cloud.bucket.exists()
    finally:
        endpoints.delete_endpoint(team.cloud, other.name)


def test_a_teardown_that_was_cut_off_before_its_last_note_is_completed(team: Team) -> None:
    team.train()
    team.deploy()
    before = StateStore(team.cloud).load()
    team.repository.run("invoke", "teardown", "--yes")
    with StateStore(team.cloud).locked() as locked:
        locked.save(before)
    team.repository.run("invoke", "teardown", "--dry-run")
    assert StateStore(team.cloud).load().models == before.models
    team.repository.run("invoke", "teardown")
    assert StateStore(team.cloud).load().models == {}


def test_teardown_with_the_bucket_leaves_nothing(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    output = hello_world.run("invoke", "teardown", "--bucket", "--yes").stderr
    assert "> would delete the bucket, with all data, models and state in it: gs://my-gcp-project-my-project" in output
    assert "make the bucket" in hello_world.run("invoke", "init", "--dry-run").stderr
