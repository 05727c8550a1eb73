"""Deployed models go to no replica when nobody asks, in v1beta1, by a clock that can be moved."""

from __future__ import annotations

import contextlib
from typing import Any

import psutil
import pytest

from tests.emulator.harness import ECHO, Answer, Emulator, eventually

MINUTE = 60
SPEC = {"idleScaledownPeriod": "600s", "minScaleupPeriod": "300s"}
RESOURCES = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 0, "scaleToZeroSpec": SPEC}


@pytest.fixture(scope="module")
def model(clocked: Emulator) -> str:
    return clocked.upload(ECHO)


def deploy(emulator: Emulator, endpoint: str, model: str, version: str = "v1beta1", **resources: Any) -> Answer:
    deployed = {"model": model, "dedicatedResources": {**RESOURCES, **resources}}
    body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
    return emulator.post(f"/{version}/{endpoint}:deployModel", body)


def scaled(emulator: Emulator, model: str, **resources: Any) -> str:
    """Return an endpoint with a model on it that may go to zero."""
    endpoint = emulator.create_endpoint(dedicatedEndpointEnabled=True)
    emulator.response(deploy(emulator, endpoint, model, **resources))
    return endpoint


def forward(emulator: Emulator, seconds: float) -> None:
    assert emulator.post("/_emulator/clock", {"forward": seconds}).status == 200


def servers(emulator: Emulator) -> set[int]:
    """The processes of models, and the one that they are forked from."""
    found = set()
    for process in emulator.tree():
        with contextlib.suppress(psutil.NoSuchProcess):  # so is one that has ended and is not buried yet
            if "fork_server" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_nobody_asks_so_it_ends_and_the_next_request_starts_it(clocked: Emulator, model: str) -> None:
    endpoint = scaled(clocked, model)
    up = servers(clocked)
    assert clocked.predict(endpoint, [1]).body["predictions"] == [1]
    forward(clocked, 9 * MINUTE)
    assert clocked.predict(endpoint, [2]).status == 200
    # Ten minutes after the last request, not after the deployment.
    forward(clocked, 9 * MINUTE)
    assert clocked.predict(endpoint, [3]).status == 200
    forward(clocked, 10 * MINUTE)
    eventually(lambda: len(servers(clocked)) == len(up) - 1, "its process has ended")
    answer = clocked.predict(endpoint, [4])
    assert answer.error == (429, "RESOURCE_EXHAUSTED")
    assert answer.message == (
        "Model is not yet ready for inference. Please wait while model completes scale-up from zero, then try your"
        " request again."
    )
    found = eventually(lambda: (a := clocked.predict(endpoint, [5])).status == 200 and a, "it is up again")
    assert found.body["predictions"] == [5]
    assert len(servers(clocked)) == len(up)


def test_it_stays_up_for_its_time_though_nobody_asks(clocked: Emulator, model: str) -> None:
    spec = {"idleScaledownPeriod": "300s", "minScaleupPeriod": "1800s"}
    endpoint = scaled(clocked, model, scaleToZeroSpec=spec)
    forward(clocked, 20 * MINUTE)
    assert clocked.predict(endpoint, [1]).status == 200
    # 25 minutes: idle for five, and not up for thirty yet.
    forward(clocked, 5 * MINUTE + 1)
    assert clocked.predict(endpoint, [1]).status == 200
    forward(clocked, 5 * MINUTE)
    assert clocked.predict(endpoint, [1]).status == 429


def test_what_is_not_said_is_an_hour(clocked: Emulator, model: str) -> None:
    endpoint = clocked.create_endpoint(dedicatedEndpointEnabled=True)
    resources = {"machineSpec": {}, "minReplicaCount": 0}
    body = {"deployedModel": {"model": model, "dedicatedResources": resources}, "trafficSplit": {"0": 100}}
    made = clocked.response(clocked.post(f"/v1beta1/{endpoint}:deployModel", body))
    assert made["deployedModel"]["dedicatedResources"]["maxReplicaCount"] == 1
    forward(clocked, 59 * MINUTE)
    assert clocked.predict(endpoint, [1]).status == 200
    forward(clocked, 60 * MINUTE)
    assert clocked.predict(endpoint, [1]).status == 429


def test_what_is_at_zero_for_a_month_is_undeployed(clocked: Emulator, model: str) -> None:
    endpoint = scaled(clocked, model)
    forward(clocked, 29 * 86400)
    assert clocked.predict(endpoint, [1]).status == 429
    eventually(lambda: clocked.predict(endpoint, [1]).status == 200, "it is up again")
    forward(clocked, 31 * 86400)
    eventually(lambda: "deployedModels" not in clocked.get(endpoint).body, "it is undeployed")
    assert "doesn't have traffic_split" in clocked.predict(endpoint, [1]).message


def test_v1_knows_nothing_of_it(clocked: Emulator, model: str) -> None:
    endpoint = scaled(clocked, model, initialReplicaCount=1)
    there = clocked.get(f"/v1beta1/{endpoint}").body["deployedModels"][0]["dedicatedResources"]
    assert (there["scaleToZeroSpec"], there["initialReplicaCount"]) == (SPEC, 1)
    (of_v1,) = clocked.get(endpoint).body["deployedModels"]
    assert set(of_v1["dedicatedResources"]) == {"machineSpec", "maxReplicaCount"}
    other = clocked.create_endpoint(dedicatedEndpointEnabled=True)
    answer = deploy(clocked, other, model, "v1")
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert 'Unknown name "scaleToZeroSpec" of DedicatedResources' in answer.message
    resources = {"machineSpec": {}, "minReplicaCount": 0}
    answer = clocked.post(f"{other}:deployModel", {"deployedModel": {"model": model, "dedicatedResources": resources}})
    assert "min_replica_count must be at least 1; in v1beta1 it may be 0" in answer.message


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"scaleToZeroSpec": {"idleScaledownPeriod": "299s"}}, "idle_scaledown_period must be from 300 to 28800"),
        ({"scaleToZeroSpec": {"minScaleupPeriod": "28801s"}}, "min_scaleup_period must be from 300 to 28800 seconds"),
        ({"initialReplicaCount": 3, "maxReplicaCount": 2}, "initial_replica_count must be from 1 to max_replica_count"),
        ({"minReplicaCount": 1}, "scale_to_zero_spec can be set only with a min_replica_count of 0"),
        ({"minReplicaCount": -1}, "min_replica_count must be at least 1"),
    ],
)
def test_what_google_documents_as_wrong_is_refused(
    clocked: Emulator, model: str, resources: dict[str, Any], problem: str
) -> None:
    answer = deploy(clocked, clocked.create_endpoint(dedicatedEndpointEnabled=True), model, **resources)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert problem in answer.message


def test_it_takes_a_dedicated_endpoint_of_its_own(clocked: Emulator, model: str) -> None:
    answer = deploy(clocked, clocked.create_endpoint(), model)
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert "needs dedicated_endpoint_enabled" in answer.message
    private = clocked.create_endpoint(network="projects/123/global/networks/default")
    assert deploy(clocked, private, model).status == 200
    endpoint = scaled(clocked, model)
    for second in (deploy(clocked, endpoint, model), clocked.deploy(endpoint, model)):
        assert second.error == (400, "FAILED_PRECONDITION")
        assert "only compatible with one model per endpoint" in second.message
    shared = clocked.create_endpoint(dedicatedEndpointEnabled=True)
    clocked.deployed(shared, model)
    assert "only compatible with one model per endpoint" in deploy(clocked, shared, model).message


@pytest.mark.slow
def test_it_is_not_switched_on_or_off_in_place(clocked: Emulator, model: str) -> None:
    endpoint = scaled(clocked, model)
    (deployed,) = clocked.get(endpoint).body["deployedModels"]
    change = {"id": deployed["id"], "dedicatedResources": {"minReplicaCount": 1, "maxReplicaCount": 2}}
    body = {
        "deployedModel": change,
        "updateMask": "dedicatedResources.minReplicaCount,dedicatedResources.maxReplicaCount",
    }
    assert clocked.post(f"{endpoint}:mutateDeployedModel", body).error == (501, "UNIMPLEMENTED")
    body["updateMask"] = "dedicatedResources.maxReplicaCount"
    assert clocked.post(f"{endpoint}:mutateDeployedModel", body).status == 200


@pytest.mark.slow
def test_a_model_is_up_when_its_emulator_has_started_again(tmp_path: Any) -> None:
    emulator = Emulator(tmp_path / "data")
    endpoint = scaled(emulator, emulator.upload(ECHO))
    forward(emulator, 10 * MINUTE)
    assert emulator.predict(endpoint, [1]).status == 429
    assert emulator.stop() == 0
    again = Emulator(tmp_path / "data")
    try:
        assert again.predict(endpoint, [1]).status == 200
        forward(again, 10 * MINUTE)
        assert again.predict(endpoint, [1]).status == 429
    finally:
        again.stop()
