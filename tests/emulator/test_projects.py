"""Projects have an id and a number: requests take both, answers carry the number."""

from __future__ import annotations

import pytest

from edge_tasks.emulator.projects import numbered, numbered_filter, project_id, project_number


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
