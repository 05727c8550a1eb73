"""The log of an endpoint's models by Cloud Logging's entries:list."""

from __future__ import annotations

from typing import Any

from tests.emulator.harness import NUMBERED, Emulator, eventually, model_of

CHATTY = model_of("lambda rows: [print('asked for', len(rows), flush=True) or 1 for _ in rows[:1]]")
ENDPOINT = "aiplatform.googleapis.com/Endpoint"


def entries(emulator: Emulator, endpoint: str, more: str = "", **options: Any) -> list[Any]:
    text = f'resource.type="{ENDPOINT}" AND resource.labels.endpoint_id="{endpoint.rpartition("/")[2]}"{more}'
    body = {"resourceNames": ["projects/test-project"], "filter": text, **options}
    answer = emulator.post("/v2/entries:list", body)
    assert answer.status == 200, answer.body
    return list(answer.body.get("entries", []))


def texts(found: list[Any]) -> list[str]:
    return [entry["textPayload"] for entry in found if entry["textPayload"].startswith("asked")]


def test_what_a_deployed_model_prints_is_in_the_log_of_its_endpoint(emulator: Emulator) -> None:
    endpoint, model = emulator.create_endpoint(), emulator.upload(CHATTY)
    first = emulator.deployed(endpoint, model)
    emulator.predict(endpoint, [1, 2])
    second = emulator.deployed(endpoint, model)
    emulator.predict(endpoint, [1, 2, 3])
    found = eventually(
        lambda: (got := entries(emulator, endpoint)) and len(texts(got)) == 2 and got, "both have printed"
    )
    assert texts(found) == ["asked for 2", "asked for 3"]
    assert found[-1]["labels"] == {"deployed_model_id": second}
    assert found[-1]["resource"] == {
        "type": ENDPOINT,
        "labels": {
            "endpoint_id": endpoint.rpartition("/")[2],
            "location": "us-central1",
            "resource_container": "test-project",
        },
    }
    assert texts(entries(emulator, endpoint, f' labels.deployed_model_id="{first}"')) == ["asked for 2"]
    assert texts(entries(emulator, endpoint, ' resource.labels.location="us-central1"', orderBy="timestamp desc")) == [
        "asked for 3",
        "asked for 2",
    ]
    assert entries(emulator, endpoint, ' resource.labels.location="europe-west1"') == []
    # Undeployed, it has still said what it has said; deleted with its endpoint, it has not.
    for deployed in (second, first):
        emulator.response(
            emulator.post(
                f"{endpoint}:undeployModel",
                {"deployedModelId": deployed, "trafficSplit": {first: 100} if deployed == second else {}},
            )
        )
    assert texts(entries(emulator, endpoint)) == ["asked for 2", "asked for 3"]
    emulator.response(emulator.call("DELETE", f"/v1/{endpoint}"))
    assert entries(emulator, endpoint) == []


def test_a_model_that_cannot_be_loaded_leaves_its_log(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    failed = emulator.finish(emulator.deploy(endpoint, emulator.upload(b"no pickle")))
    assert "Model server exited unexpectedly" in failed["error"]["message"]
    assert any("UnpicklingError" in str(entry.get("textPayload")) for entry in entries(emulator, endpoint))


def test_a_model_whose_logging_is_disabled_leaves_none(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.response(emulator.deploy(endpoint, emulator.upload(CHATTY), disableContainerLogging=True))
    emulator.predict(endpoint, [1])
    assert entries(emulator, endpoint) == []


def test_the_log_of_both_a_job_and_an_endpoint_is_refused(emulator: Emulator) -> None:
    endpoint = f"{NUMBERED}/endpoints/1"
    body = {"resourceNames": ["projects/p"], "filter": f'resource.type="{ENDPOINT}" resource.labels.job_id="1"'}
    answer = emulator.post("/v2/entries:list", body)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert "resource.labels.endpoint_id" in answer.message
    assert entries(emulator, endpoint) == []
