"""The model registry: versions, aliases, and the rules about both."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.harness import ECHO, NUMBERED, PARENT, SKLEARN_IMAGE, Emulator


def versions(emulator: Emulator, model: str) -> dict[str, list[str]]:
    """{version id: aliases} of a model."""
    models = emulator.get(f"{model.partition('@')[0]}:listVersions").body["models"]
    return {model["versionId"]: model.get("versionAliases", []) for model in models}


def test_versions_are_listed_first_one_first_page_by_page(emulator: Emulator) -> None:
    model = emulator.upload(None).partition("@")[0]
    for _ in range(2):
        emulator.upload(None, parentModel=model)
    found, token = [], ""
    while True:
        answer = emulator.get(f"{model}:listVersions?pageSize=1&pageToken={token}").body
        found += [version["versionId"] for version in answer["models"]]
        token = answer.get("nextPageToken", "")
        if not token:
            break
    assert found == ["1", "2", "3"]


def test_the_first_version_is_the_default_and_can_be_got_by_id_and_alias(emulator: Emulator) -> None:
    name = emulator.upload(None, model={"versionAliases": ["golden"], "labels": {"team": "x"}})
    model, _, version = name.partition("@")
    assert version == "1"
    found = emulator.get(model).body
    assert found["name"] == model
    assert found["versionAliases"] == ["golden", "default"]
    assert found["supportedDeploymentResourcesTypes"] == ["DEDICATED_RESOURCES"]
    for suffix in ("@1", "@golden", "@default", "%40default"):
        assert emulator.get(f"{model}{suffix}").body == found
    assert emulator.get(f"{model}@2").error == (404, "NOT_FOUND")
    assert emulator.get(f"{model}@silver").error == (404, "NOT_FOUND")


def test_a_new_version_takes_the_default_only_when_it_asks(emulator: Emulator) -> None:
    model = emulator.upload(None).partition("@")[0]
    assert emulator.upload(None, parentModel=model) == f"{model}@2"
    assert versions(emulator, model) == {"2": [], "1": ["default"]}
    emulator.upload(None, parentModel=model, model={"versionAliases": ["default", "new"]})
    assert versions(emulator, model) == {"3": ["default", "new"], "2": [], "1": []}


def test_version_ids_are_never_given_twice(emulator: Emulator) -> None:
    model = emulator.upload(None).partition("@")[0]
    second = emulator.upload(None, parentModel=model)
    emulator.response(emulator.call("DELETE", f"/v1/{second}:deleteVersion"))
    assert emulator.upload(None, parentModel=model) == f"{model}@3"


def test_aliases_move_between_versions_and_default_never_vanishes(emulator: Emulator) -> None:
    model = emulator.upload(None, model={"versionAliases": ["golden"]}).partition("@")[0]
    emulator.upload(None, parentModel=model)
    merged = emulator.post(f"{model}@2:mergeVersionAliases", {"versionAliases": ["golden", "default"]})
    assert merged.body["versionAliases"] == ["golden", "default"]
    assert versions(emulator, model) == {"2": ["golden", "default"], "1": []}
    emulator.post(f"{model}@2:mergeVersionAliases", {"versionAliases": ["-golden"]})
    assert versions(emulator, model) == {"2": ["default"], "1": []}
    refused = emulator.post(f"{model}@2:mergeVersionAliases", {"versionAliases": ["-default"]})
    assert refused.error == (400, "FAILED_PRECONDITION")
    for bad in ("1", "Upper", "x", "a" * 129, "a_b"):
        answer = emulator.post(f"{model}@2:mergeVersionAliases", {"versionAliases": [bad]})
        assert answer.error == (400, "INVALID_ARGUMENT"), bad


def test_own_model_ids_are_checked_and_taken_once(emulator: Emulator) -> None:
    assert emulator.upload(None, modelId="my-model_1") == f"{NUMBERED}/models/my-model_1@1"
    body = {"model": {"displayName": "x"}, "modelId": "my-model_1"}
    assert emulator.post(f"{PARENT}/models:upload", body).error == (409, "ALREADY_EXISTS")
    for bad in ("1a", "Upper", "a.b", "a" * 64, "../x"):
        answer = emulator.post(f"{PARENT}/models:upload", {**body, "modelId": bad})
        assert answer.error == (400, "INVALID_ARGUMENT"), bad


def test_a_parent_model_must_exist(emulator: Emulator) -> None:
    body = {"model": {"displayName": "x"}, "parentModel": f"{PARENT}/models/404"}
    assert emulator.post(f"{PARENT}/models:upload", body).error == (404, "NOT_FOUND")


def test_artifacts_must_exist(emulator: Emulator, bucket: str) -> None:
    model = {"displayName": "x", "artifactUri": f"gs://{bucket}/nothing"}
    operation = emulator.finish(emulator.post(f"{PARENT}/models:upload", {"model": model}))
    assert operation["error"]["code"] == 3
    assert f"gs://{bucket}/nothing" in operation["error"]["message"]
    model["artifactUri"] = "/local/path"
    assert emulator.post(f"{PARENT}/models:upload", {"model": model}).error == (400, "INVALID_ARGUMENT")


def test_a_patch_changes_the_masked_fields_only(emulator: Emulator) -> None:
    model = emulator.upload(None, model={"description": "old", "labels": {"a": "1"}}).partition("@")[0]
    before = emulator.get(model).body

    def patch(mask: str, **fields: Any) -> Any:
        return emulator.call("PATCH", f"/v1/{model}", fields, params={"updateMask": mask})

    after = patch("displayName,labels", displayName="new", labels={"b": "2"}, description="ignored").body
    assert (after["displayName"], after["labels"], after["description"]) == ("new", {"b": "2"}, "old")
    assert after["etag"] != before["etag"]
    assert "description" not in patch("description").body
    assert patch("labels.c", labels={"c": "3"}).body["labels"] == {"b": "2", "c": "3"}
    assert patch("artifactUri", artifactUri="gs://x/y").error == (400, "INVALID_ARGUMENT")
    assert patch("nope").error == (400, "INVALID_ARGUMENT")
    assert patch("").error == (400, "INVALID_ARGUMENT")
    assert patch("labels", labels={"Bad": "1"}).error == (400, "INVALID_ARGUMENT")
    assert emulator.get(model).body["labels"] == {"b": "2", "c": "3"}


def test_names_are_shared_by_all_versions_and_descriptions_of_versions_are_not(emulator: Emulator) -> None:
    model = emulator.upload(None).partition("@")[0]
    emulator.upload(None, parentModel=model)

    def patch(name: str, **fields: Any) -> Any:
        return emulator.call("PATCH", f"/v1/{name}", fields, params={"updateMask": ",".join(fields)})

    assert patch(model, displayName="shared", description="d").status == 200
    assert patch(f"{model}@2", versionDescription="second").status == 200
    found = [emulator.get(f"{model}@{version}").body for version in (1, 2)]
    assert [(one["displayName"], one["description"]) for one in found] == [("shared", "d")] * 2
    assert ["versionDescription" in one for one in found] == [False, True]
    refused = [
        patch(f"{model}@2", displayName="x"),
        patch(model, versionDescription="x"),
        patch(model, displayName="x", versionDescription="x"),
    ]
    assert [answer.error for answer in refused] == [(400, "FAILED_PRECONDITION")] * 3


def test_an_update_of_what_was_read_before_a_change_is_refused(emulator: Emulator) -> None:
    model, endpoint = emulator.upload(None).partition("@")[0], emulator.create_endpoint()
    for name in (model, endpoint):
        etag = emulator.get(name).body["etag"]

        def patch(display_name: str, name: str = name, etag: str = etag) -> Any:
            body = {"displayName": display_name, "etag": etag}
            return emulator.call("PATCH", f"/v1/{name}", body, params={"updateMask": "displayName"})

        assert patch("first").status == 200
        assert patch("second").error == (409, "ABORTED")
        assert emulator.get(name).body["displayName"] == "first"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"command": ["x"]}, "image_uri"),
        ({"predictRoute": "predict"}, "predict_route"),
        ({"healthRoute": "/a b"}, "health_route"),
        ({"ports": [{"containerPort": 70000}]}, "ports"),
        ({"env": [{"name": "a-b", "value": "x"}]}, "a-b"),
    ],
)
def test_a_wrong_container_is_refused_with_the_reason(emulator: Emulator, spec: dict[str, Any], problem: str) -> None:
    image = {} if "command" in spec else {"imageUri": SKLEARN_IMAGE}
    body = {"model": {"displayName": "x", "containerSpec": {**image, **spec}}}
    answer = emulator.post(f"{PARENT}/models:upload", body)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert problem in answer.message


def test_models_are_listed_by_their_default_version_in_the_asked_order(emulator: Emulator) -> None:
    parent = PARENT.replace("test-project", "list-models")
    for name in ("b", "a", "c"):
        body = {"model": {"displayName": name, "labels": {"l": name}}}
        emulator.response(emulator.post(f"{parent}/models:upload", body))

    def listed(**parameters: str) -> list[str]:
        models = emulator.get(f"{parent}/models", params=parameters).body.get("models", [])
        return [model["displayName"] for model in models]

    assert listed() == ["c", "a", "b"]
    assert listed(orderBy="display_name") == ["a", "b", "c"]
    assert listed(orderBy="display_name desc", pageSize="2") == ["c", "b"]
    assert listed(orderBy="create_time") == ["b", "a", "c"]
    assert listed(filter="labels.l:*") == ["c", "a", "b"]
    model_id = emulator.get(f"{parent}/models").body["models"][0]["name"].rpartition("/")[2]
    assert listed(filter=f"model={model_id}") == ["c"]
    assert emulator.get(f"{parent}/models", params={"orderBy": "nope"}).error == (400, "INVALID_ARGUMENT")
    assert emulator.get(f"{parent}/models", params={"pageToken": "x"}).error == (400, "INVALID_ARGUMENT")


def test_deletion_rules_of_versions(emulator: Emulator) -> None:
    model = emulator.upload(None).partition("@")[0]
    only = emulator.call("DELETE", f"/v1/{model}@1:deleteVersion")
    assert only.error == (400, "FAILED_PRECONDITION")
    emulator.upload(None, parentModel=model)
    assert emulator.call("DELETE", f"/v1/{model}@1:deleteVersion").error == (400, "FAILED_PRECONDITION")
    emulator.post(f"{model}@2:mergeVersionAliases", {"versionAliases": ["default"]})
    emulator.response(emulator.call("DELETE", f"/v1/{model}@1:deleteVersion"))
    assert versions(emulator, model) == {"2": ["default"]}
    emulator.response(emulator.call("DELETE", f"/v1/{model}"))
    assert emulator.get(model).error == (404, "NOT_FOUND")
    assert emulator.get(f"{model}:listVersions").error == (404, "NOT_FOUND")


def test_a_version_keeps_the_artifacts_of_its_upload(emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "m/model.pkl", ECHO)
    fields = {
        "displayName": "x",
        "artifactUri": f"gs://{bucket}/m/",
        "containerSpec": {"imageUri": SKLEARN_IMAGE},
    }
    name = emulator.response(emulator.post(f"{PARENT}/models:upload", {"model": fields}))["model"]
    emulator.put(bucket, "m/model.pkl", b"something else")
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, name)
    assert emulator.predict(endpoint, [7]).body["predictions"] == [7]
