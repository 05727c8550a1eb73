"""IAM policies of models and endpoints, and the list of locations: by the API clients of the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions

from edge_tasks.emulator.projects import numbered
from tests.emulator.harness import ECHO, PARENT, Emulator

READER = {"role": "roles/aiplatform.viewer", "members": ["user:someone@example.com"]}


@pytest.fixture
def client(emulator: Emulator) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import EndpointServiceClient

    options = {"api_endpoint": emulator.url}
    return EndpointServiceClient(credentials=AnonymousCredentials(), transport="rest", client_options=options)


@pytest.fixture(params=["endpoint", "model"])
def resource(request: pytest.FixtureRequest, emulator: Emulator) -> str:
    return emulator.create_endpoint() if request.param == "endpoint" else emulator.upload(ECHO).partition("@")[0]


def test_a_policy_comes_back_and_is_replaced_by_who_has_read_it(client: Any, resource: str) -> None:
    empty = client.get_iam_policy({"resource": resource})
    assert (list(empty.bindings), bool(empty.etag)) == ([], True)
    written = client.set_iam_policy({"resource": resource, "policy": {"bindings": [READER], "etag": empty.etag}})
    assert client.get_iam_policy({"resource": resource}) == written
    assert (written.bindings[0].role, list(written.bindings[0].members)) == (READER["role"], READER["members"])
    with pytest.raises(exceptions.Conflict, match="concurrent policy changes"):
        client.set_iam_policy({"resource": resource, "policy": {"etag": empty.etag}})
    client.set_iam_policy({"resource": resource, "policy": {}})
    assert list(client.get_iam_policy({"resource": resource}).bindings) == []


def test_who_has_a_role_twice_is_in_one_binding_for_each_condition(client: Any, resource: str) -> None:
    other = READER | {"members": [*READER["members"], "user:ada@example.com"]}
    here = READER | {"condition": {"title": "here", "expression": "true"}}
    client.set_iam_policy({"resource": resource, "policy": {"bindings": [READER, here, other], "version": 3}})
    kept = client.get_iam_policy({"resource": resource}).bindings
    assert [(list(one.members), one.condition.title) for one in kept] == [
        (other["members"], ""),
        (READER["members"], "here"),
    ]


def test_everything_is_permitted(client: Any, resource: str) -> None:
    asked = ["aiplatform.endpoints.predict", "aiplatform.models.get"]
    found = client.test_iam_permissions({"resource": resource, "permissions": asked})
    assert list(found.permissions) == asked
    with pytest.raises(exceptions.BadRequest, match="wildcards"):
        client.test_iam_permissions({"resource": resource, "permissions": ["aiplatform.*"]})


@pytest.mark.parametrize(
    "policy",
    [
        {"bindings": [{"role": "viewer"}]},
        {"bindings": [{"role": "roles/viewer", "members": ["someone"]}]},
        {"bindings": [READER | {"condition": {"expression": "true"}}]},
    ],
)
def test_a_wrong_policy_is_refused(client: Any, resource: str, policy: dict[str, Any]) -> None:
    with pytest.raises(exceptions.BadRequest):
        client.set_iam_policy({"resource": resource, "policy": policy})


def test_a_policy_goes_with_its_resource(client: Any, emulator: Emulator) -> None:
    body = {"displayName": "x"}
    for _ in range(2):
        name = emulator.response(emulator.post(f"{PARENT}/endpoints", body, params={"endpointId": "4321"}))["name"]
        assert list(client.get_iam_policy({"resource": name}).bindings) == []
        client.set_iam_policy({"resource": name, "policy": {"bindings": [READER]}})
        emulator.finish(emulator.call("DELETE", name))
    with pytest.raises(exceptions.NotFound):
        client.get_iam_policy({"resource": name})
    with pytest.raises(exceptions.NotFound):
        client.get_iam_policy({"resource": f"{PARENT}/models/404"})


def test_what_else_has_policies_is_absent(client: Any, emulator: Emulator) -> None:
    for resource in (f"{PARENT}/featurestores/1", f"{PARENT}/publishers/google/models/x"):
        answer = emulator.post(f"/ui/{resource}:getIamPolicy")
        assert (answer.error, numbered(resource) in answer.message) == ((501, "UNIMPLEMENTED"), True)


def test_locations_are_listed(client: Any) -> None:
    found = client.list_locations({"name": "projects/test-project"}).locations
    assert ("us-central1", "projects/test-project/locations/us-central1") in [
        (place.location_id, place.name) for place in found
    ]
    assert client.get_location({"name": found[0].name}).location_id == found[0].location_id
