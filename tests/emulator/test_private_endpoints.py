"""Endpoints that are reached by a private network, by the SDK's PrivateEndpoint and by plain HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.harness import ECHO, PARENT, Emulator

NETWORK = "projects/123/global/networks/mine"


def test_a_private_endpoint_is_asked_where_its_deployed_model_tells(aiplatform: Any, emulator: Emulator) -> None:
    endpoint = aiplatform.PrivateEndpoint.create(display_name="peered", network=NETWORK)
    assert endpoint.resource_name in [found.resource_name for found in aiplatform.PrivateEndpoint.list()]
    model = aiplatform.Model(emulator.upload(ECHO))
    endpoint.deploy(model, machine_type="n1-standard-2")
    assert endpoint.predict([1, 2]).predictions == [1, 2]
    assert (
        endpoint.raw_predict(b'{"instances": [3]}', {"Content-Type": "application/json"}).data == b'{"predictions":[3]}'
    )
    assert endpoint.health_check()
    (deployed,) = endpoint.list_models()
    endpoint.undeploy(deployed.id)
    assert endpoint.list_models() == []
    endpoint.delete()


def test_a_private_endpoint_has_one_model_and_does_not_answer_at_the_api(emulator: Emulator) -> None:
    endpoint, model = emulator.create_endpoint(network=NETWORK), emulator.upload(ECHO)
    emulator.deployed(endpoint, model, {})
    assert "is private" in emulator.predict(endpoint).message
    assert "maximum of one model" in emulator.deploy(endpoint, model, {}).message
    (deployed,) = emulator.get(endpoint).body["deployedModels"]
    health = deployed["privateEndpoints"]["healthHttpUri"].removeprefix(emulator.url)
    assert emulator.get(f"{health}0").error == (404, "NOT_FOUND")
    assert emulator.get(f"{health}:predict").error == (404, "NOT_FOUND")
    public = emulator.create_endpoint()
    emulator.deployed(public, model)
    (deployed,) = emulator.get(public).body["deployedModels"]
    assert "privateEndpoints" not in deployed
    assert emulator.get(f"/_private/{public}/v1/models/{deployed['id']}").error == (404, "NOT_FOUND")


def test_an_endpoint_of_private_service_connect_answers_at_the_address_of_the_api(emulator: Emulator) -> None:
    config = {"enablePrivateServiceConnect": True, "projectAllowlist": ["test-project"]}
    endpoint = emulator.create_endpoint(privateServiceConnectConfig=config)
    assert emulator.get(endpoint).body["privateServiceConnectConfig"] == config
    emulator.deployed(endpoint, emulator.upload(ECHO))
    assert emulator.predict(endpoint, [4]).body["predictions"] == [4]


@pytest.mark.parametrize("fields", [{"enablePrivateServiceConnect": True}, {"dedicatedEndpointEnabled": True}])
def test_an_endpoint_is_reached_in_one_way_only(emulator: Emulator, fields: dict[str, Any]) -> None:
    answer = emulator.post(f"{PARENT}/endpoints", {"displayName": "e", "network": NETWORK, **fields})
    assert answer.error == (400, "INVALID_ARGUMENT")
