"""Copies, exports and evaluations of models."""

from __future__ import annotations

from typing import Any

from edge_tasks.emulator.projects import numbered
from tests.emulator.harness import ECHO, PARENT, Answer, Emulator

EUROPE = PARENT.replace("us-central1", "europe-west4")


def copy(emulator: Emulator, source: str, parent: str = EUROPE, **fields: Any) -> Answer:
    return emulator.post(f"{parent}/models:copy", {"sourceModel": source, **fields})


def test_a_copy_serves_in_another_location_when_its_source_is_gone(emulator: Emulator) -> None:
    source = emulator.upload(ECHO, model={"versionAliases": ["golden"], "labels": {"a": "b"}})
    copied = emulator.response(copy(emulator, source))
    emulator.response(emulator.call("DELETE", f"/v1/{source.partition('@')[0]}"))
    assert copied["model"].startswith(f"{numbered(EUROPE)}/models/")
    model = emulator.get(copied["model"]).body
    assert (model["versionAliases"], model["labels"], model["modelSourceInfo"]["copy"]) == (
        ["default"],
        {"a": "b"},
        True,
    )
    endpoint = emulator.response(emulator.post(f"{EUROPE}/endpoints", {"displayName": "e"}))["name"]
    emulator.deployed(endpoint, copied["model"])
    assert emulator.predict(endpoint, [7]).body["predictions"] == [7]


def test_a_copy_may_become_a_version_or_have_an_id_of_its_own(emulator: Emulator) -> None:
    source = emulator.upload(None)
    first = emulator.response(copy(emulator, source, modelId="my-copy"))
    second = emulator.response(copy(emulator, source, parentModel=first["model"]))
    assert (second["model"], second["modelVersionId"]) == (f"{numbered(EUROPE)}/models/my-copy", "2")
    assert emulator.get(f"{EUROPE}/models/my-copy").body["versionId"] == "1"
    assert copy(emulator, source, modelId="my-copy").error == (409, "ALREADY_EXISTS")
    assert copy(emulator, source, modelId="Bad").error == (400, "INVALID_ARGUMENT")
    assert copy(emulator, f"{PARENT}/models/404").error == (404, "NOT_FOUND")
    assert copy(emulator, source, parentModel=f"{EUROPE}/models/404").error == (404, "NOT_FOUND")
    other = PARENT.replace("test-project", "other-project")
    assert copy(emulator, source, other).error == (400, "INVALID_ARGUMENT")


def test_an_export_writes_the_artifacts(emulator: Emulator, bucket: str) -> None:
    model = emulator.upload(ECHO)
    (supported,) = emulator.get(model).body["supportedExportFormats"]
    assert supported == {"id": "custom-trained", "exportableContents": ["ARTIFACT"]}

    def export(**config: Any) -> Answer:
        return emulator.post(f"{model}:export", {"outputConfig": config})

    destination = {"outputUriPrefix": f"gs://{bucket}/exported"}
    operation = emulator.finish(export(exportFormatId="custom-trained", artifactDestination=destination))
    folder = operation["metadata"]["outputInfo"]["artifactOutputUri"]
    assert folder.startswith(f"gs://{bucket}/exported/model-export-a model-")
    name = folder.removeprefix(f"gs://{bucket}/").replace("/", "%2F")
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o/{name}%2Fmodel.pkl?alt=media"
    assert emulator.session.get(url, timeout=10).content == ECHO
    assert export(exportFormatId="nope", artifactDestination=destination).error == (400, "INVALID_ARGUMENT")
    assert export(exportFormatId="custom-trained").error == (400, "INVALID_ARGUMENT")
    without = emulator.upload(None)
    assert emulator.post(f"{without}:export", {"outputConfig": {}}).error == (400, "FAILED_PRECONDITION")


def test_evaluations_are_imported_and_go_with_their_version(emulator: Emulator) -> None:
    model = emulator.upload(None).partition("@")[0]
    assert emulator.get(f"{model}/evaluations").body == {}
    body = {"modelEvaluation": {"displayName": "e", "metrics": {"accuracy": 0.5}, "metricsSchemaUri": "gs://x/y.yaml"}}
    evaluation = emulator.post(f"{model}/evaluations:import", body).body
    assert emulator.get(evaluation["name"]).body == evaluation
    (listed,) = emulator.get(f"{model}@1/evaluations").body["modelEvaluations"]
    assert listed["metrics"] == {"accuracy": 0.5}
    assert emulator.get(f"{model}/evaluations/404").error == (404, "NOT_FOUND")
    part = {"slice": {"dimension": "annotationSpec", "value": "7"}, "metrics": {"accuracy": 0.4}}
    slices = f"{evaluation['name']}/slices"
    imported = emulator.post(f"{slices}:batchImport", {"modelEvaluationSlices": [part]}).body
    (name,) = imported["importedModelEvaluationSlices"]
    assert emulator.get(name).body["slice"] == part["slice"]
    assert [found["name"] for found in emulator.get(slices).body["modelEvaluationSlices"]] == [name]
    assert emulator.get(f"{slices}/404").error == (404, "NOT_FOUND")
    assert emulator.post(f"{slices}:batchImport").error == (400, "INVALID_ARGUMENT")
    assert emulator.get(f"{model}/evaluations/{evaluation['name'].rpartition('/')[2]}").body == evaluation
    emulator.response(emulator.call("DELETE", f"/v1/{model}"))
    assert emulator.get(evaluation["name"]).error == (404, "NOT_FOUND")


def test_the_connection_of_an_endpoint_is_changed_by_an_operation(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    body = {"endpoint": {"displayName": "ignored", "clientConnectionConfig": {"inferenceTimeout": "30s"}}}
    changed = emulator.response(emulator.post(f"{endpoint}:update", body))
    assert changed["clientConnectionConfig"] == {"inferenceTimeout": "30s"}
    assert emulator.get(endpoint).body["displayName"] == "an endpoint"
