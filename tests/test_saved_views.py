"""Views saved for the team: names and addresses that are refused, and the objects that hold them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.view_store import ViewStore
from edge_tasks.dashboard import views
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.saved_views import SavedView, checked_address, checked_name, dump_view, parse_view
from edge_tasks.errors import ConflictError, EdgeError, NotFoundError
from tests.browser import HOSTILE

# Names that must be kept as they are and lead nowhere else in the bucket.
NAMES = ["best of ada", "../../.edge_state/lock", "a/b", "..", "%2e%2e%2f", "Größe 1 · β", "__proto__", HOSTILE[:60]]


def view(name: str, address: str = "#/?filter=user%3Dada", at: str = "2026-11-28T23:00:00+00:00") -> SavedView:
    return SavedView(name, address, "ada", at)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_kept_as_it_is(name: str) -> None:
    assert checked_name(f"  {name} ") == name
    assert parse_view(dump_view(view(name)).encode()) == view(name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x00b", "a\u202eb", "a\x1b[31m"])
def test_a_name_that_nobody_can_read_is_refused(name: str) -> None:
    with pytest.raises(EdgeError, match="characters that can be seen"):
        checked_name(name)


@pytest.mark.parametrize(
    "address", ["#/", "#/?filter=a+%3E+1&column=metrics.acc", "#/groups?by=parameters.C", "#/compare?run=m%2F1&axis=x"]
)
def test_an_address_of_the_table_the_groups_or_the_comparison_is_kept(address: str) -> None:
    assert checked_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        *("javascript:alert(1)", "https://example.com/#/", "#/view/another", "#/run/m/1", "#/?a=<script>", "#/?a='b"),
        *("#/?" + "a" * 4000, "", "//example.com", "#/?a=b#c", "#/\n?a"),
    ],
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(EdgeError, match="a view"):
        checked_address(address)
    assert parse_view(dump_view(view("x", address)).encode()) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"name": "x"}', b'{"name": null, "address": 7}', b"\xff"])
def test_a_body_that_is_no_view_is_refused(body: bytes) -> None:
    with pytest.raises(EdgeError):
        views.wanted(body, "ada")


@pytest.fixture
def kept(cloud: Cloud, config: EdgeConfig) -> ViewStore:
    return ViewStore(cloud, config)


def test_views_are_saved_listed_replaced_and_removed(kept: ViewStore, cloud: Cloud, config: EdgeConfig) -> None:
    for name in NAMES:
        kept.save(view(name))
    assert {one.name for one in kept.list()} == set(NAMES)
    folder = f"{config.experiments.directory}/views/"
    assert len(list(cloud.objects.names(folder))) == len(NAMES)
    with pytest.raises(ConflictError, match="there is a view `a/b` already"):
        kept.save(view("a/b", "#/groups"))
    kept.save(view("a/b", "#/groups"), replace=True)
    assert next(one for one in kept.list() if one.name == "a/b").address == "#/groups"
    # What somebody puts there by hand is left out unless it is a view of that name.
    cloud.objects.write(f"{folder}x.json", dump_view(view("by hand")))
    cloud.objects.write(f"{folder}y.json", b"{")
    cloud.objects.write(f"{folder}z.json", json.dumps({"name": "z", "address": "javascript:1", "by": "", "at": ""}))
    assert {one.name for one in kept.list()} == set(NAMES)
    for name in NAMES:
        kept.remove(name)
    assert kept.list() == []
    with pytest.raises(NotFoundError, match="there is no view"):
        kept.remove("a/b")


def test_of_two_who_save_at_once_one_is_told(kept: ViewStore, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    look = cloud.objects.look

    def meanwhile(name: str) -> Any:
        found = look(name)
        cloud.objects.write(name, dump_view(view("race", "#/groups")))
        return found

    monkeypatch.setattr(cloud.objects, "look", meanwhile)
    with pytest.raises(ConflictError, match="somebody else has just saved `race`"):
        kept.save(view("race"))
    monkeypatch.undo()
    assert next(one for one in kept.list() if one.name == "race").address == "#/groups"
    kept.remove("race")
