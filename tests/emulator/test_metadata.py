"""Metadata stores by plain HTTP: nodes, the edges between them, and filters over both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.harness import PARENT, Answer, Emulator, numbers

KINDS = ("artifacts", "executions", "contexts")


@pytest.fixture
def store(emulator: Emulator) -> str:
    return new_store(emulator)


def new_store(emulator: Emulator) -> str:
    answer = emulator.post(f"{PARENT}/metadataStores?metadataStoreId=store-{next(numbers)}")
    return str(emulator.response(answer)["name"])


def create(emulator: Emulator, store: str, kind: str, node_id: str = "", **fields: Any) -> str:
    parameters = {f"{kind[:-1]}Id": node_id} if node_id else {}
    answer = emulator.post(f"{store}/{kind}", fields, params=parameters)
    assert answer.status == 200, answer.body
    return str(answer.body["name"])


def patch(emulator: Emulator, name: str, mask: str = "", **fields: Any) -> Answer:
    return emulator.call("PATCH", f"/v1/{name}", fields, params={"updateMask": mask} if mask else {})


def delete(emulator: Emulator, name: str) -> None:
    emulator.response(emulator.call("DELETE", f"/v1/{name}"))


def test_stores_hold_what_is_made_in_them_and_take_it_with_them(emulator: Emulator, store: str) -> None:
    assert emulator.get(store).body["name"] == store
    stores = emulator.get(f"{PARENT}/metadataStores").body["metadataStores"]
    assert store in [found["name"] for found in stores]
    taken = emulator.post(f"{PARENT}/metadataStores?metadataStoreId={store.rpartition('/')[2]}")
    assert taken.error == (409, "ALREADY_EXISTS")
    names = [create(emulator, store, kind, "one") for kind in KINDS]
    event = {"artifact": names[0], "type": "INPUT"}
    assert emulator.post(f"{names[1]}:addExecutionEvents", {"events": [event]}).body == {}
    delete(emulator, store)
    assert {emulator.get(name).status for name in [store, *names]} == {404}
    assert emulator.get(f"{store}/artifacts").error == (404, "NOT_FOUND")
    assert emulator.post(f"{store}/artifacts").error == (404, "NOT_FOUND")


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_are_made_changed_listed_and_deleted(emulator: Emulator, store: str, kind: str) -> None:
    fields = {"displayName": "n", "schemaTitle": "system.X", "metadata": {"a": 1, "b": {"c": [True]}}, "labels": {}}
    name = create(emulator, store, kind, "my-node", **fields)
    assert name == f"{store}/{kind}/my-node"
    node = emulator.get(name).body
    assert (node["metadata"], node["schemaVersion"]) == ({"a": 1.0, "b": {"c": [True]}}, "0.0.1")
    assert node["createTime"] <= node["updateTime"]
    again = emulator.post(f"{store}/{kind}", {}, params={f"{kind[:-1]}Id": "my-node"})
    assert again.error == (409, "ALREADY_EXISTS")
    # Without a mask, what is given is changed.
    changed = patch(emulator, name, description="d", metadata={"z": None}).body
    assert (changed["displayName"], changed["description"], changed["metadata"]) == ("n", "d", {"z": None})
    assert int(changed["etag"]) > int(node["etag"])
    stale = patch(emulator, name, description="e", etag=node["etag"])
    assert stale.error == (409, "ABORTED")
    assert f"`{node['etag']}` does not match server `etag`: `{changed['etag']}`" in stale.message
    assert "description" not in patch(emulator, name, "description").body
    assert patch(emulator, name, "schemaTitle", schemaTitle="x").error == (400, "INVALID_ARGUMENT")
    other = create(emulator, store, kind)
    assert [found["name"] for found in emulator.get(f"{store}/{kind}").body[kind]] == [other, name]
    wrong = emulator.call("DELETE", f"/v1/{name}", params={"etag": node["etag"]})
    assert wrong.error == (400, "FAILED_PRECONDITION")
    delete(emulator, name)
    assert emulator.get(name).error == (404, "NOT_FOUND")
    assert patch(emulator, name, description="x").error == (404, "NOT_FOUND")
    made = emulator.call("PATCH", f"/v1/{name}", {"description": "x"}, params={"allowMissing": "true"})
    assert (made.status, made.body["name"]) == (200, name)


def test_artifacts_are_found_by_what_they_are(emulator: Emulator, store: str) -> None:
    for number in range(3):
        metadata = {"n": number, "t:1": "x y", "b": number == 1, "deep": {"n": 1}}
        create(emulator, store, "artifacts", f"a{number}", uri=f"gs://b/{number}", state="LIVE", metadata=metadata)

    def found(text: str) -> list[str]:
        answer = emulator.get(f"{store}/artifacts", params={"filter": text, "orderBy": "create_time"})
        assert answer.status == 200, answer.body
        return [artifact["name"].rpartition("/")[2] for artifact in answer.body.get("artifacts", [])]

    assert found('uri="gs://b/1"') == ["a1"]
    assert found("state=LIVE AND metadata.n.number_value >= 1.0") == ["a1", "a2"]
    assert found('metadata."t:1".string_value = "x y" AND metadata.b.bool_value = true') == ["a1"]
    assert found("metadata.n.string_value = 1 OR metadata.none.number_value < 5") == []
    assert found(f'name="{store}/artifacts/a2"') == ["a2"]
    for bad in ("metadata.n=1", "metadata.n.number_value=x", 'in_context("x"', "in_context", 'nope("x")', "metadata=1"):
        answer = emulator.get(f"{store}/artifacts", params={"filter": bad})
        assert answer.error == (400, "INVALID_ARGUMENT"), bad


def test_contexts_have_members_and_children(emulator: Emulator, store: str) -> None:
    parent, child, grandchild = (create(emulator, store, "contexts", name) for name in ("pp", "cc", "gg"))
    artifact, execution = create(emulator, store, "artifacts", "aa"), create(emulator, store, "executions", "ee")
    create(emulator, store, "artifacts", "other")

    def add(context: str, *children: str) -> Answer:
        return emulator.post(f"{context}:addContextChildren", {"childContexts": list(children)})

    def members(artifacts: list[str]) -> Answer:
        body = {"artifacts": artifacts, "executions": [execution]}
        return emulator.post(f"{child}:addContextArtifactsAndExecutions", body)

    def names(kind: str, text: str) -> list[str]:
        return [node["name"] for node in emulator.get(f"{store}/{kind}", params={"filter": text}).body.get(kind, [])]

    assert (add(parent, child).status, add(child, grandchild, grandchild).status) == (200, 200)
    assert emulator.get(grandchild).body["parentContexts"] == [child]
    assert names("contexts", f'parent_contexts:"{parent}"') == [child]
    assert names("contexts", f'child_contexts:"{grandchild}"') == [child]
    for above in (parent, grandchild):
        assert add(grandchild, above).error == (400, "INVALID_ARGUMENT")
    assert add(parent, f"{store}/contexts/none").error == (404, "NOT_FOUND")
    assert members([artifact]).status == members([artifact]).status == 200
    assert members([f"{store}/artifacts/none"]).error == (404, "NOT_FOUND")
    assert names("artifacts", f'in_context("{child}")') == [artifact]
    assert names("executions", f'in_context("{child}") AND NOT display_name="x"') == [execution]
    assert names("artifacts", f'in_context("{parent}")') == []
    # A new node of the same name belongs to nothing.
    delete(emulator, artifact)
    create(emulator, store, "artifacts", "aa")
    assert names("artifacts", f'in_context("{child}")') == []
    emulator.post(f"{parent}:removeContextChildren", {"childContexts": [child]})
    assert "parentContexts" not in emulator.get(child).body
    delete(emulator, child)
    assert "parentContexts" not in emulator.get(grandchild).body


def test_what_passes_a_filter_is_purged(emulator: Emulator) -> None:
    store = new_store(emulator)
    names = [create(emulator, store, "artifacts", displayName=name) for name in ("old", "old", "new")]
    context = create(emulator, store, "contexts")
    emulator.post(f"{context}:addContextArtifactsAndExecutions", {"artifacts": names})
    path, old = f"{store}/artifacts:purge", 'display_name="old"'
    asked = emulator.response(emulator.post(path, {"filter": old}))
    assert (asked["purgeCount"], set(asked["purgeSample"])) == ("2", set(names[:2]))
    assert len(emulator.get(f"{store}/artifacts").body["artifacts"]) == 3
    assert emulator.response(emulator.post(path, {"filter": old, "force": True}))["purgeCount"] == "2"
    (left,) = emulator.get(f"{store}/artifacts").body["artifacts"]
    assert left["name"] == names[2]
    members = emulator.get(f"{store}/artifacts", params={"filter": f'in_context("{context}")'}).body["artifacts"]
    assert [member["name"] for member in members] == names[2:]
    assert emulator.post(path, {"force": True}).error == (400, "INVALID_ARGUMENT")
    for kind in ("executions", "contexts"):
        answer = emulator.post(f"{store}/{kind}:purge", {"filter": old, "force": True})
        assert "purgeCount" not in emulator.response(answer)


def test_executions_read_and_write_artifacts(emulator: Emulator, store: str) -> None:
    read, wrote = (create(emulator, store, "artifacts", name) for name in ("in", "out"))
    execution, context = create(emulator, store, "executions", "ee"), create(emulator, store, "contexts", "cc")

    def note(*events: dict[str, str]) -> Answer:
        return emulator.post(f"{execution}:addExecutionEvents", {"events": list(events)})

    assert note({"artifact": read, "type": "INPUT"}, {"artifact": wrote, "type": "OUTPUT"}).body == {}
    assert note({"artifact": read, "type": "INPUT"}).body == {}
    assert note({"artifact": read}).error == (400, "INVALID_ARGUMENT")
    assert note({"artifact": f"{store}/artifacts/none", "type": "INPUT"}).error == (404, "NOT_FOUND")
    graph = emulator.get(f"{execution}:queryExecutionInputsAndOutputs").body
    assert [(event["artifact"], event["type"]) for event in graph["events"]] == [(read, "INPUT"), (wrote, "OUTPUT")]
    assert [node["name"] for node in graph["artifacts"]] == [read, wrote]
    assert [node["name"] for node in graph["executions"]] == [execution]
    body = {"artifacts": [read], "executions": [execution]}
    emulator.post(f"{context}:addContextArtifactsAndExecutions", body)
    graph = emulator.get(f"{context}:queryContextLineageSubgraph").body
    assert [event["artifact"] for event in graph["events"]] == [read]
    delete(emulator, wrote)
    assert len(emulator.get(f"{execution}:queryExecutionInputsAndOutputs").body["events"]) == 1
    delete(emulator, execution)
    create(emulator, store, "executions", "ee")
    assert "events" not in emulator.get(f"{execution}:queryExecutionInputsAndOutputs").body


@pytest.mark.parametrize(
    "fields", [{"displayName": "x" * 129}, {"labels": {"Bad": "1"}}, {"metadata": {"a": "x" * 205_000}}]
)
def test_nodes_follow_the_rules(emulator: Emulator, store: str, fields: dict[str, Any]) -> None:
    assert emulator.post(f"{store}/contexts", fields).error == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("node_id", ["Upper", "a_b", "-a", "a" * 129, "a b"])
def test_ids_follow_the_rules(emulator: Emulator, store: str, node_id: str) -> None:
    answer = emulator.post(f"{store}/contexts", {}, params={"contextId": node_id})
    assert answer.error == (400, "INVALID_ARGUMENT")


def test_metadata_survive_a_kill(own_emulator: Callable[..., Emulator]) -> None:
    first = own_emulator()
    store = new_store(first)
    names = [create(first, store, kind, "one", metadata={"a": 1}) for kind in KINDS]
    first.post(f"{names[1]}:addExecutionEvents", {"events": [{"artifact": names[0], "type": "OUTPUT"}]})
    first.post(f"{names[2]}:addContextArtifactsAndExecutions", {"artifacts": names[:1], "executions": names[1:2]})
    before = [first.get(name).body for name in [store, *names, f"{names[2]}:queryContextLineageSubgraph"]]
    first.kill()
    second = own_emulator()
    assert [second.get(name).body for name in [store, *names, f"{names[2]}:queryContextLineageSubgraph"]] == before


@pytest.mark.parametrize("path", ["metadataSchemas"])
def test_the_rest_of_the_service_is_not_implemented(emulator: Emulator, store: str, path: str) -> None:
    answer = emulator.post(f"{store}/{path}")
    assert answer.error == (501, "UNIMPLEMENTED")
    assert "google.cloud.aiplatform.v1.MetadataService." in answer.message
