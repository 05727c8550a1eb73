"""What Terraform's provider google asks for an endpoint and a bucket, call by call.

The calls are those of google/services/vertexai/resource_vertex_ai_endpoint.go and of Google's Go client for storage, in
https://github.com/hashicorp/terraform-provider-google: `alt=json` on each, operations asked by their names.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.emulator.harness import PARENT, Emulator

STORAGE = {"alt": "json", "prettyPrint": "false"}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_endpoint_lives_as_terraform_wants_it(emulator: Emulator, version: str) -> None:
    name = f"{PARENT}/endpoints/48661599{40 if version == 'v1' else 41}"

    def ask(method: str, path: str, body: Any = None) -> Any:
        address = f"{emulator.url}/{version}/{path}"
        headers = {"Authorization": "Bearer none", "Content-Type": "application/json"}
        mark = "&" if "?" in address else "?"
        return emulator.session.request(method, f"{address}{mark}alt=json", json=body, headers=headers, timeout=10)

    def finished(operation: Any) -> Any:
        deadline = time.monotonic() + 20
        while not operation.get("done"):
            assert time.monotonic() < deadline
            operation = ask("GET", operation["name"]).json()
        assert "error" not in operation
        return operation["response"]

    labels = {"edge-model": "digits", "edge-managed-by": "terraform"}
    assert ask("GET", name).status_code == 404
    number = name.rpartition("/")[2]
    created = ask("POST", f"{PARENT}/endpoints?endpointId={number}", {"displayName": "digits", "labels": labels})
    assert created.status_code == 200, created.text
    assert finished(created.json())["name"].rpartition("/")[2] == number
    read = ask("GET", name).json()
    assert (read["displayName"], read["labels"]) == ("digits", labels)
    assert {"createTime", "updateTime"} <= set(read)
    changed = {"displayName": "numbers", "labels": {"team": "red"}}
    assert ask("PATCH", f"{name}?updateMask=displayName,labels", changed).status_code == 200
    assert ask("GET", name).json()["displayName"] == "numbers"
    assert finished(ask("DELETE", name).json()) == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert ask("GET", name).status_code == 404


def test_a_bucket_lives_as_terraform_wants_it(emulator: Emulator) -> None:
    base = f"{emulator.storage_url}/storage/v1/b"
    name = "bucket-of-terraform"
    settings = {
        "iamConfiguration": {
            "publicAccessPrevention": "enforced",
            "uniformBucketLevelAccess": {"enabled": True},
        },
        "labels": {"edge-managed-by": "terraform"},
        "location": "EUROPE-WEST1",
        "name": name,
        "softDeletePolicy": {"retentionDurationSeconds": "604800"},
        "storageClass": "STANDARD",
    }

    def ask(method: str, path: str = "", body: Any = None, **more: str) -> Any:
        return emulator.session.request(method, f"{base}{path}", params={**STORAGE, **more}, json=body, timeout=10)

    assert ask("GET", f"/{name}").status_code == 404
    created = ask("POST", body=settings, project="demo-project")
    assert created.status_code == 200, created.text
    read = ask("GET", f"/{name}").json()
    assert read["location"] == "EUROPE-WEST1"
    assert read["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert read["labels"] == {"edge-managed-by": "terraform"}
    patched = ask("PATCH", f"/{name}", {"labels": {"edge-managed-by": None, "team": "red"}})
    assert patched.json()["labels"] == {"team": "red"}
    assert ask("GET", f"/{name}/o", versions="true").json().get("items", []) == []
    assert ask("DELETE", f"/{name}").status_code == 204
    assert ask("GET", f"/{name}").status_code == 404
