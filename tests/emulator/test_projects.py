"""Projects have an id and a number: requests take both, answers carry the number."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from edge_tasks.emulator.projects import numbered, numbered_filter, project_id, project_number
from edge_tasks.emulator.schema.surface import load
from tests.emulator.harness import ECHO, NUMBERED, PARENT, Emulator


def test_a_project_has_one_number_of_twelve_digits_for_ever() -> None:
    # Written down: another number would orphan what an emulator has stored.
    assert project_number("my-project") == 319519117448
    assert len(str(project_number("another"))) == 12
    assert project_number("another") != project_number("my-project")


def test_a_number_is_the_number_of_its_project() -> None:
    number = project_number("my-project")
    assert project_number(str(number)) == number
    assert project_id(number) == project_id(str(number)) == project_id("my-project") == "my-project"


def test_a_number_whose_id_nobody_has_told_stays_a_number() -> None:
    assert project_id(17) == "17"


@pytest.mark.parametrize("name", ["", "gs://b/projects/p/locations/l", "projects/p", "projects/p/locations/a b", "p"])
def test_what_is_not_the_name_of_a_resource_stays_as_it_is(name: str) -> None:
    assert numbered(name) == name


def test_resource_names_and_those_in_filters_get_the_number() -> None:
    number = project_number("my-project")
    assert numbered("projects/my-project/locations/l") == f"projects/{number}/locations/l"
    assert numbered("projects/my-project/locations/l/models/1@2") == f"projects/{number}/locations/l/models/1@2"
    text = 'in_context("projects/my-project/locations/l/metadataStores/default/contexts/c") AND x="projects/y"'
    assert numbered_filter(text) == text.replace("my-project", str(number))


def test_the_sdk_finds_by_number_what_it_has_made_by_id(aiplatform: Any) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="of a project")
    number = str(project_number("test-project"))
    assert endpoint.resource_name == f"projects/{number}/locations/us-central1/endpoints/{endpoint.name}"
    for project in (number, "test-project"):
        found = aiplatform.Endpoint(endpoint.name, project=project)
        assert found.resource_name == endpoint.resource_name
        (listed,) = aiplatform.Endpoint.list(filter=f"endpoint={endpoint.name}", project=project)
        assert listed.resource_name == endpoint.resource_name


def test_predictions_go_by_id_and_by_number_and_name_the_model_by_number(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    for name in (endpoint, endpoint.replace(NUMBERED, PARENT)):
        assert emulator.predict(name).body["model"].startswith(f"{NUMBERED}/models/")


def test_names_in_the_arguments_of_a_job_stay_as_the_user_wrote_them(emulator: Emulator) -> None:
    job = emulator.run_job(["echo", f"{PARENT}/endpoints/1"])
    assert job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] == [f"{PARENT}/endpoints/1"]
    assert emulator.output(job) == [f"{PARENT}/endpoints/1"]


def test_what_an_earlier_version_has_stored_by_id_is_found_by_number(own_emulator: Callable[..., Emulator]) -> None:
    first = own_emulator()
    model, job = first.upload(ECHO), first.run_job(["true"])
    endpoint = first.create_endpoint()
    deployed = first.deployed(endpoint, model)
    first.stop()
    _store_as_format_1(first.data / "store.sqlite3")
    second = own_emulator(first.data)
    assert second.predict(endpoint.replace(NUMBERED, PARENT), [3]).body["deployedModelId"] == deployed
    assert second.predict(endpoint, [3]).body["model"] == model.partition("@")[0]
    assert second.get(job["name"]).body == job
    assert second.get(f"{PARENT}/models").body["models"][0]["name"] == model.partition("@")[0]


def _store_as_format_1(path: Path) -> None:
    """Rewrite a store as versions did that named resources by the project's id."""
    surface, number = load(), str(project_number("test-project"))

    def old(text: str) -> str:
        return text.replace(f"projects/{number}/", "projects/test-project/")

    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute("SELECT seq, name, kind, parent, body, private FROM resources").fetchall()
        for seq, name, kind, parent, body, private in rows:
            message = surface.new(kind).FromString(body)
            text = old(json_format.MessageToJson(message, descriptor_pool=surface.pool))
            body = json_format.Parse(text, surface.new(kind), descriptor_pool=surface.pool).SerializeToString()
            columns = (old(name), old(parent), old(private), body, seq)
            connection.execute("UPDATE resources SET name=?, parent=?, private=?, body=? WHERE seq=?", columns)
        for (name,) in connection.execute("SELECT name FROM sequences").fetchall():
            connection.execute("UPDATE sequences SET name=? WHERE name=?", (old(name), name))
        connection.execute("DROP TABLE projects")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_resource_manager_tells_the_number_of_a_project_and_its_id(emulator: Emulator) -> None:
    emulator.create_endpoint()
    by_id = emulator.get("/v3/projects/test-project").body
    number = by_id["name"].removeprefix("projects/")
    assert NUMBERED.startswith(f"projects/{number}/")
    assert emulator.get(f"/v3/projects/{number}?$alt=json;enum-encoding=int").body == {**by_id, "state": 1}
    assert (by_id["projectId"], by_id["state"]) == ("test-project", "ACTIVE")
    assert emulator.get("/v3/projects/no%20project").error == (403, "PERMISSION_DENIED")
    assert emulator.call("DELETE", "/v3/projects/test-project").error == (501, "UNIMPLEMENTED")
