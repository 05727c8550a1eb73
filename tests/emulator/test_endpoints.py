"""Endpoints: deploying, splitting traffic, undeploying, deleting."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.emulator.harness import ECHO, NUMBERED, PARENT, Emulator, eventually, model_of


def test_an_endpoint_is_created_found_changed_and_deleted(emulator: Emulator) -> None:
    parent = PARENT.replace("test-project", "endpoint-project")
    created = emulator.response(emulator.post(f"{parent}/endpoints", {"displayName": "e", "labels": {"a": "b"}}))
    name = created["name"]
    assert emulator.get(name).body["labels"] == {"a": "b"}
    listed = emulator.get(f"{parent}/endpoints", params={"filter": 'display_name="e" AND labels.a=b'})
    assert [endpoint["name"] for endpoint in listed.body["endpoints"]] == [name]
    by_id = emulator.get(f"{parent}/endpoints", params={"filter": f"endpoint={name.rpartition('/')[2]}"})
    assert len(by_id.body["endpoints"]) == 1
    patched = emulator.call("PATCH", f"/v1/{name}", {"displayName": "f"}, params={"updateMask": "display_name"})
    assert (patched.body["displayName"], patched.body["labels"]) == ("f", {"a": "b"})
    emulator.response(emulator.call("DELETE", f"/v1/{name}"))
    assert emulator.get(name).error == (404, "NOT_FOUND")


def test_an_own_endpoint_id_is_taken_once(emulator: Emulator) -> None:
    path = f"{PARENT}/endpoints"
    first = emulator.post(path, {"displayName": "e"}, params={"endpointId": "4711"})
    assert emulator.response(first)["name"] == f"{NUMBERED}/endpoints/4711"
    assert emulator.post(path, {"displayName": "e"}, params={"endpointId": "4711"}).error == (409, "ALREADY_EXISTS")
    wrong = emulator.post(path, {"displayName": "e"}, params={"endpointId": "My-Endpoint"})
    assert wrong.error == (400, "INVALID_ARGUMENT")
    assert "begin with a letter and hold up to 63 lowercase letters" in wrong.body["error"]["message"]


def test_the_answer_of_a_prediction_names_model_and_version(emulator: Emulator) -> None:
    model = emulator.upload(ECHO, model={"displayName": "the model"})
    endpoint = emulator.create_endpoint()
    deployed = emulator.deployed(endpoint, model)
    assert emulator.predict(endpoint, [1, "x", None]).body == {
        "predictions": [1, "x", None],
        "deployedModelId": deployed,
        "model": model.partition("@")[0],
        "modelDisplayName": "the model",
        "modelVersionId": "1",
    }
    (found,) = emulator.get(endpoint).body["deployedModels"]
    assert (found["id"], found["modelVersionId"]) == (deployed, "1")


def test_a_deployment_pins_the_version(emulator: Emulator) -> None:
    model = emulator.upload(model_of("lambda rows: ['first']")).partition("@")[0]
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, model)
    emulator.upload(model_of("lambda rows: ['second']"), parentModel=model, model={"versionAliases": ["default"]})
    assert emulator.predict(endpoint).body["predictions"] == ["first"]
    other = emulator.create_endpoint()
    emulator.deployed(other, f"{model}@default")
    assert emulator.predict(other).body["predictions"] == ["second"]


def test_traffic_is_split_for_each_request(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    first = emulator.deployed(endpoint, emulator.upload(model_of("lambda rows: ['first']")))
    second = emulator.deployed(endpoint, emulator.upload(model_of("lambda rows: ['second']")), {})
    assert emulator.get(endpoint).body["trafficSplit"] == {first: 100}
    assert {emulator.predict(endpoint).body["predictions"][0] for _ in range(20)} == {"first"}
    split = {"trafficSplit": {first: 30, second: 70}}
    assert emulator.call("PATCH", f"/v1/{endpoint}", split, params={"updateMask": "trafficSplit"}).status == 200
    counts = Counter(emulator.predict(endpoint).body["predictions"][0] for _ in range(300))
    # 300 draws of 30 %: six standard deviations are about 48.
    assert 42 <= counts["first"] <= 138


@pytest.mark.parametrize("split", [{"0": 99}, {"0": 100, "1": 1}, {"0": 200, "1": -100}, {"404": 100}])
def test_a_wrong_traffic_split_is_refused(emulator: Emulator, split: dict[str, int]) -> None:
    model = emulator.upload(ECHO)
    answer = emulator.deploy(emulator.create_endpoint(), model, split)
    assert answer.error == (400, "INVALID_ARGUMENT")


def test_undeploying_a_model_with_traffic_needs_a_new_split(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    model = emulator.upload(ECHO)
    first = emulator.deployed(endpoint, model)
    second = emulator.deployed(endpoint, model, {first: 60, "0": 40})
    undeploy = f"{endpoint}:undeployModel"
    assert emulator.post(undeploy, {"deployedModelId": first}).error == (400, "FAILED_PRECONDITION")
    assert emulator.post(undeploy, {"deployedModelId": "404"}).error == (404, "NOT_FOUND")
    emulator.response(emulator.post(undeploy, {"deployedModelId": first, "trafficSplit": {second: 100}}))
    assert emulator.get(endpoint).body["trafficSplit"] == {second: 100}
    emulator.response(emulator.post(undeploy, {"deployedModelId": second}))
    found = emulator.get(endpoint).body
    assert "trafficSplit" not in found
    assert "deployedModels" not in found


def test_what_is_deployed_is_not_deleted(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    model = emulator.upload(ECHO)
    name = model.partition("@")[0]
    emulator.upload(ECHO, parentModel=name, model={"versionAliases": ["default"]})
    deployed = emulator.deployed(endpoint, model)
    for path in (endpoint, name, f"{model}:deleteVersion"):
        assert emulator.call("DELETE", f"/v1/{path}").error == (400, "FAILED_PRECONDITION"), path
    emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed}))
    emulator.response(emulator.call("DELETE", f"/v1/{name}"))
    emulator.response(emulator.call("DELETE", f"/v1/{endpoint}"))


def test_replicas_of_a_deployed_model_can_be_changed(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    deployed = emulator.deployed(endpoint, emulator.upload(ECHO))
    body = {
        "deployedModel": {"id": deployed, "dedicatedResources": {"minReplicaCount": 2, "maxReplicaCount": 4}},
        "updateMask": "dedicatedResources.minReplicaCount,dedicatedResources.maxReplicaCount",
    }
    emulator.response(emulator.post(f"{endpoint}:mutateDeployedModel", body))
    (found,) = emulator.get(endpoint).body["deployedModels"]
    assert found["dedicatedResources"] == {
        "machineSpec": {"machineType": "n1-standard-2"},
        "minReplicaCount": 2,
        "maxReplicaCount": 4,
    }
    body["updateMask"] = "dedicatedResources.machineSpec"
    assert emulator.post(f"{endpoint}:mutateDeployedModel", body).error == (400, "INVALID_ARGUMENT")


def test_a_corrupt_model_fails_its_deploy_and_leaves_the_endpoint_serving(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    before = emulator.get(endpoint).body
    operation = emulator.finish(emulator.deploy(endpoint, emulator.upload(b"no pickle at all")))
    assert operation["error"]["code"] == 9
    assert operation["error"]["message"].startswith("Model server exited unexpectedly.")
    assert "UnpicklingError" in operation["error"]["message"]
    assert emulator.get(endpoint).body == before
    assert emulator.predict(endpoint, [1]).body["predictions"] == [1]


@pytest.mark.parametrize(("image", "problem"), [("tf2-cpu.2-15", "tensorflow"), ("sklearn-cpu.1-6", "model.joblib")])
def test_a_model_without_artifacts_cannot_be_served(emulator: Emulator, image: str, problem: str) -> None:
    model = emulator.upload(None, image=f"us-docker.pkg.dev/vertex-ai/prediction/{image}:latest")
    answer = emulator.deploy(emulator.create_endpoint(), model)
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert problem in answer.message


def test_a_model_of_another_image_is_refused_where_there_is_no_docker(without_docker: Emulator) -> None:
    model = without_docker.upload(ECHO, image="gcr.io/my/image")
    answer = without_docker.deploy(without_docker.create_endpoint(), model)
    assert answer.error == (501, "UNIMPLEMENTED")
    assert "gcr.io/my/image" in answer.message


def test_a_deployment_has_a_machine_and_a_limit_of_replicas_by_default(emulator: Emulator) -> None:
    answer = emulator.deploy(
        emulator.create_endpoint(), emulator.upload(ECHO), dedicatedResources={"machineSpec": {}, "minReplicaCount": 2}
    )
    resources = emulator.response(answer)["deployedModel"]["dedicatedResources"]
    assert resources == {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 2, "maxReplicaCount": 2}


@pytest.mark.parametrize(
    "machine", [{"acceleratorType": "NVIDIA_TESLA_T4"}, {"acceleratorCount": 1}, {"acceleratorCount": -1}]
)
def test_accelerators_have_a_type_and_a_count(emulator: Emulator, machine: dict[str, object]) -> None:
    resources = {"machineSpec": {"machineType": "n1-standard-4", **machine}, "minReplicaCount": 1}
    answer = emulator.deploy(emulator.create_endpoint(), emulator.upload(ECHO), dedicatedResources=resources)
    assert answer.error == (400, "INVALID_ARGUMENT")


def test_a_deploy_without_machines_is_refused(emulator: Emulator) -> None:
    body = {"deployedModel": {"model": emulator.upload(ECHO)}}
    assert emulator.post(f"{emulator.create_endpoint()}:deployModel", body).error == (400, "INVALID_ARGUMENT")


def test_a_cancelled_deploy_ends_its_server_and_leaves_the_endpoint_as_it_was(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    before = emulator.get(endpoint).body
    servers = len(emulator.tree())
    # A model that takes for ever to load.
    model = emulator.upload(b"c__builtin__\neval\n(S'__import__(\"time\").sleep(1000)'\ntR.")
    operation = emulator.deploy(endpoint, model).body
    assert "done" not in operation
    eventually(lambda: len(emulator.tree()) > servers, "the model server has started")
    assert emulator.post(f"{operation['name']}:cancel").status == 200
    ended = emulator.get(operation["name"]).body
    assert (ended["done"], ended["error"]["code"]) == (True, 1)
    assert emulator.get(endpoint).body == before
    eventually(lambda: len(emulator.tree()) == servers, "the model server has ended")
