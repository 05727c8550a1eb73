"""Faults that a user asks for: errors in Google's words, and delays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.harness import NUMBERED, PARENT, PYTHON_IMAGE, Emulator

FAULTS = "/_emulator/faults"


@pytest.fixture
def unhappy(own_emulator: Callable[..., Emulator]) -> Emulator:
    return own_emulator()


def test_an_rpc_fails_as_asked_and_the_others_do_not(unhappy: Emulator) -> None:
    quota = {"rpc": "CreateCustomJob", "error": "RESOURCE_EXHAUSTED"}
    assert unhappy.post(FAULTS, quota).body["faults"][0]["rate"] == 1
    spec = {"containerSpec": {"imageUri": PYTHON_IMAGE}, "machineSpec": {"machineType": "n1-standard-4"}}
    job = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [{**spec, "replicaCount": 1}]}}
    answer = unhappy.post(f"{PARENT}/customJobs", job)
    assert answer.error == (429, "RESOURCE_EXHAUSTED")
    metric = "aiplatform.googleapis.com/custom_model_training_cpus"
    assert answer.message == f"The following quota metrics exceed quota limits: {metric}"
    assert unhappy.get(f"{PARENT}/customJobs").status == 200
    assert unhappy.call("DELETE", FAULTS).body == {"faults": []}
    assert unhappy.post(f"{PARENT}/customJobs", job).status == 200


def test_a_missing_permission_is_told_as_google_tells_it(unhappy: Emulator) -> None:
    endpoint = unhappy.create_endpoint()
    unhappy.post(FAULTS, {"rpc": "Predict", "error": "PERMISSION_DENIED"})
    answer = unhappy.predict(endpoint)
    assert answer.error == (403, "PERMISSION_DENIED")
    assert endpoint.startswith(NUMBERED)
    resource = f"//aiplatform.googleapis.com/{endpoint}"
    permission = "aiplatform.endpoints.predict"
    assert answer.message == f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."


def test_a_fault_happens_at_its_rate_as_often_as_asked_and_after_its_delay(unhappy: Emulator) -> None:
    unhappy.post(FAULTS, {"rpc": "ListEndpoints", "error": "UNAVAILABLE", "rate": 0.5})
    states = [unhappy.get(f"{PARENT}/endpoints").status for _ in range(60)]
    assert 10 <= states.count(503) <= 50
    unhappy.call("DELETE", FAULTS)
    unhappy.post(FAULTS, {"error": "INTERNAL", "message": "mine", "count": 2})
    assert [unhappy.get(f"{PARENT}/models").status for _ in range(3)] == [500, 500, 200]
    unhappy.call("DELETE", FAULTS)
    unhappy.post(FAULTS, {"rpc": "ListModels", "delay": "0.3s"})
    started = time.monotonic()
    assert unhappy.get(f"{PARENT}/models").status == 200
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({}, "needs an error, a delay, or both"),
        ({"rpc": "Nope", "error": "INTERNAL"}, "not an RPC"),
        ({"error": "NOPE"}, "not a code"),
        ({"error": "INTERNAL", "rate": 2}, "rate must be"),
        ({"error": "INTERNAL", "rate": True}, "rate must be"),
        ({"delay": "soon"}, "delay must be"),
        ({"delay": "601s"}, "delay must be"),
        ({"error": "INTERNAL", "count": 0}, "count must be"),
        ({"errors": "INTERNAL"}, "no 'errors'"),
        ({"error": "INTERNAL", "message": 1}, "message must be"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(emulator: Emulator, fault: dict[str, Any], text: str) -> None:
    answer = emulator.post(FAULTS, fault)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert text in answer.message
