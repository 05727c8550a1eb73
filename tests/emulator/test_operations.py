"""Long-running operations."""

from __future__ import annotations

import pickle

from tests.emulator.harness import NUMBERED, PARENT, Code, Emulator

VERTEX = "type.googleapis.com/google.cloud.aiplatform.v1"


def test_quick_work_is_answered_as_done_with_the_types_of_the_sdk(emulator: Emulator) -> None:
    operation = emulator.post(f"{PARENT}/endpoints", {"displayName": "e"}).body
    assert operation["done"] is True
    assert operation["response"]["@type"] == f"{VERTEX}.Endpoint"
    assert operation["metadata"]["@type"] == f"{VERTEX}.CreateEndpointOperationMetadata"
    assert operation["metadata"]["genericMetadata"]["createTime"]


def test_an_operation_is_found_where_clients_look_for_it(emulator: Emulator) -> None:
    operation = emulator.post(f"{PARENT}/endpoints", {"displayName": "e"}).body
    for path in (f"/v1/{operation['name']}", f"/ui/{operation['name']}"):
        assert emulator.get(path).body == operation
    assert emulator.post(f"{operation['name']}:wait").body == operation


def test_operations_outlive_their_resource(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    deletion = emulator.call("DELETE", f"/v1/{endpoint}").body
    assert deletion["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    listed = emulator.get(f"{endpoint}/operations").body["operations"]
    assert listed[0] == deletion
    assert len(listed) == 2
    assert emulator.call("DELETE", f"/v1/{deletion['name']}").body == {}
    assert emulator.get(deletion["name"]).error == (404, "NOT_FOUND")
    assert len(emulator.get(f"{endpoint}/operations").body["operations"]) == 1


def test_a_deletion_is_done_at_once_and_named_after_the_location(emulator: Emulator) -> None:
    deletion = emulator.call("DELETE", f"/v1/{emulator.create_endpoint()}").body
    assert deletion["done"] is True
    assert deletion["name"].startswith(f"{NUMBERED}/operations/")


def test_an_operation_is_found_under_its_resource_and_under_its_location(emulator: Emulator) -> None:
    # gcloud asks for `operations describe ID` under the location alone.
    operation = emulator.post(f"{PARENT}/endpoints", {"displayName": "e"}).body
    operation_id = operation["name"].rpartition("/")[2]
    assert operation["name"].startswith(f"{NUMBERED}/endpoints/")
    assert emulator.get(f"{PARENT}/operations/{operation_id}").body == operation
    assert emulator.get(f"{PARENT}/endpoints/1/operations/{operation_id}").error == (404, "NOT_FOUND")


def test_a_poll_is_held_until_the_operation_is_done(emulator: Emulator) -> None:
    slow = pickle.dumps(Code("__import__('time').sleep(0.5) or __import__('types').SimpleNamespace(predict=list)"))
    operation = emulator.deploy(emulator.create_endpoint(), emulator.upload(slow)).body
    assert "done" not in operation
    assert emulator.get(f"/ui/{operation['name']}").body["done"] is True


def test_cancelling_what_is_done_changes_nothing(emulator: Emulator) -> None:
    operation = emulator.post(f"{PARENT}/endpoints", {"displayName": "e"}).body
    assert emulator.post(f"{operation['name']}:cancel").body == {}
    assert emulator.get(operation["name"]).body == operation


def test_enums_come_as_names_or_as_numbers_as_the_client_asks(emulator: Emulator) -> None:
    name = emulator.upload(None)
    assert emulator.get(name).body["supportedDeploymentResourcesTypes"] == ["DEDICATED_RESOURCES"]
    numbers = emulator.get(f"{name}?%24alt=json%3Benum-encoding%3Dint").body
    assert numbers["supportedDeploymentResourcesTypes"] == [1]
