"""Answers as the real service gives them: facts that belong to no test of a feature. docs/fidelity.md lists all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions

from edge_tasks.emulator.services.names import LABEL_RULES
from tests.emulator.harness import ECHO, MACHINE, NUMBERED, PARENT, PYTHON_IMAGE, Emulator, model_of, numbers

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fidelity.md"


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(\w+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 20
    for module, name in named:
        assert f"def {name}(" in (ROOT / "tests" / "emulator" / module).read_text(), f"{module}::{name}"


@pytest.mark.parametrize("path", ["endpoints", "endpoints/404", "datasets"])
def test_every_answer_has_the_headers_of_google(emulator: Emulator, path: str) -> None:
    headers = emulator.session.get(f"{emulator.url}/v1/{PARENT}/{path}", timeout=10).headers
    assert headers["Content-Type"] == "application/json; charset=UTF-8"
    assert headers["Server"] == "ESF"
    assert headers["Vary"] == "Origin, X-Origin, Referer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Xss-Protection"] == "0"


def test_pools_without_a_disk_get_that_of_vertex(emulator: Emulator) -> None:
    job = emulator.run_job(["true"])
    (pool,) = job["jobSpec"]["workerPoolSpecs"]
    assert pool["diskSpec"] == {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100}
    assert pool["replicaCount"] == "1"


@pytest.mark.parametrize(("collection", "kind"), [("customJobs", "CustomJob"), ("tensorboards", "Tensorboard")])
def test_an_id_that_is_no_number_is_a_wrong_name_where_ids_are_numbers(
    emulator: Emulator, collection: str, kind: str
) -> None:
    answer = emulator.get(f"{PARENT}/{collection}/my-own")
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert answer.message == f"List of found errors:\t1.Field: name; Message: Invalid {kind} resource name.\t"
    assert emulator.get(f"{PARENT}/{collection}/404").error == (404, "NOT_FOUND")


def test_the_creation_of_an_endpoint_answers_with_what_was_asked_and_no_more(emulator: Emulator) -> None:
    endpoint = emulator.response(emulator.post(f"{PARENT}/endpoints", {"displayName": "e", "labels": {"a": "b"}}))
    assert endpoint.keys() == {"@type", "name", "displayName", "labels"}
    assert {"createTime", "updateTime", "etag"} <= emulator.get(endpoint["name"]).body.keys()


def test_etags_of_metadata_are_milliseconds(emulator: Emulator) -> None:
    store = f"{PARENT}/metadataStores/etags-{next(numbers)}"
    emulator.response(emulator.post(f"{PARENT}/metadataStores?metadataStoreId={store.rpartition('/')[2]}"))
    context = emulator.post(f"{store}/contexts", {}).body
    assert re.fullmatch(r"\d{13}", context["etag"])
    assert re.fullmatch(r"\S+T\d\d:\d\d:\d\d(\.\d{3})?Z", context["updateTime"])


def test_what_metadata_do_not_hold_is_named_in_the_words_of_vertex(emulator: Emulator) -> None:
    name = f"{PARENT}/metadataStores/none/contexts/none"
    answer = emulator.get(name)
    assert answer.error == (404, "NOT_FOUND")
    shown = name.replace(PARENT, NUMBERED)
    problem = "Resource not found.; GetContext is unable to find context resource with name:"
    assert answer.message == f"{problem} {shown}"


def test_an_experiment_that_a_tensorboard_does_not_hold(emulator: Emulator) -> None:
    answer = emulator.get(f"{PARENT}/tensorboards/1/experiments/x")
    assert answer.message == f"TensorboardExperiment {NUMBERED}/tensorboards/1/experiments/x is not found."


def test_a_model_tells_where_it_is_from_and_holds_empty_schemata(emulator: Emulator) -> None:
    model = emulator.get(emulator.upload(None)).body
    assert model["modelSourceInfo"] == {"sourceType": "CUSTOM"}
    assert model["predictSchemata"] == {}


def test_an_endpoint_in_use_is_not_deleted_in_the_words_of_vertex(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    answer = emulator.call("DELETE", f"/v1/{endpoint}")
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert answer.message == "Endpoint has deployed or being-deployed DeployedModel(s)."


def test_undeploying_with_a_split_to_what_is_not_there_is_refused(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    only = emulator.deployed(endpoint, emulator.upload(ECHO))
    body = {"deployedModelId": only, "trafficSplit": {"0": 100}}
    answer = emulator.post(f"{endpoint}:undeployModel", body)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert answer.message == "The following DeployedModel ID(s) [0] do not exist."
    assert len(emulator.get(endpoint).body["deployedModels"]) == 1


@pytest.mark.parametrize(
    "labels",
    [
        {"Team": "a"},
        {"team": "A"},
        {"-team": "a"},
        {"": "a"},
        {"a.b": "a"},
        {"team": "a" * 64},
        {"a" * 64: ""},
        {"team": "\u5b57" * 43},
        {f"label-{number}": "" for number in range(65)},
    ],
    ids=str,
)
def test_labels_that_google_cloud_does_not_allow_are_refused_in_its_words(
    aiplatform: Any, labels: dict[str, str]
) -> None:
    with pytest.raises(exceptions.BadRequest) as caught:
        aiplatform.Endpoint.create("x", labels=labels)
    assert caught.value.message.endswith(f"List of found errors:\t1.Field: endpoint.labels; Message: {LABEL_RULES}\t")


def test_labels_may_begin_with_a_digit_and_be_of_any_script(aiplatform: Any) -> None:
    labels = {"1st": "a" * 63, "a" * 63: "", "\u5b57": "\u5b57" * 42}
    assert aiplatform.Endpoint.create("x", labels=labels).labels == labels


def test_the_labels_of_a_pipeline_s_model_are_named_by_their_place(emulator: Emulator) -> None:
    pool = {**MACHINE, "containerSpec": {"imageUri": PYTHON_IMAGE}}
    body = {
        "displayName": "x",
        "trainingTaskDefinition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml",
        "trainingTaskInputs": {"workerPoolSpecs": [pool]},
        "modelToUpload": {"displayName": "x", "labels": {"Team": "a"}},
    }
    answer = emulator.post(f"{PARENT}/trainingPipelines", body)
    assert answer.message.startswith(
        "List of found errors:\t1.Field: training_pipeline.model_to_upload.labels; Message"
    )


def test_parameters_become_a_keyword_of_predict(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of("lambda rows, parameters=None: [parameters] * len(rows)")))
    answer = emulator.post(f"{endpoint}:predict", {"instances": [1], "parameters": {"a": 2}})
    assert answer.body["predictions"] == [{"a": 2}]
    assert emulator.predict(endpoint).body["predictions"] == [None]


def test_a_model_that_takes_no_parameters_refuses_them_as_on_vertex(aiplatform: Any, emulator: Emulator) -> None:
    name = emulator.create_endpoint()
    emulator.deployed(name, emulator.upload(model_of("lambda rows: rows")))
    with pytest.raises(Exception, match="got an unexpected keyword argument 'parameters'"):
        aiplatform.Endpoint(name).predict([[1]], parameters={})
