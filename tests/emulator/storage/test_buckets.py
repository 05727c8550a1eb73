"""Buckets through google-cloud-storage: their settings, who may do what, and what a web page may not do."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tasks.emulator.projects import project_number
from tests.emulator.harness import Emulator


def test_a_new_bucket_is_as_at_google(emulator: Emulator, client: Any) -> None:
    name = emulator.new_bucket(location=None)
    answer = requests.get(f"{emulator.storage_url}/storage/v1/b/{name}", timeout=10).json()
    assert answer["projectNumber"] == str(project_number("p"))
    assert (answer["metageneration"], answer["etag"], answer["storageClass"]) == ("1", "CAE=", "STANDARD")
    assert (answer["location"], answer["locationType"], answer["rpo"]) == ("US", "multi-region", "DEFAULT")
    assert answer["iamConfiguration"]["publicAccessPrevention"] == "inherited"
    assert answer["softDeletePolicy"]["retentionDurationSeconds"] == "604800"
    made = client.create_bucket(f"{name}-de", location="europe-west3")
    assert (made.location, made.location_type) == ("EUROPE-WEST3", "region")


def test_a_name_is_taken_once(client: Any, place: Any) -> None:
    for project, words in (("p", "you already own it"), ("other", "not available")):
        with pytest.raises(exceptions.Conflict, match=words):
            client.create_bucket(place.name, project=project)


@pytest.mark.parametrize("name", ["ab", "Upper", "a..b", "-a-", "127.0.0.1", "goog-x", "a" * 64, "../../x", "a/b"])
def test_a_name_that_no_bucket_may_have_is_refused(emulator: Emulator, name: str) -> None:
    url = f"{emulator.storage_url}/storage/v1/b?project=p"
    answer = requests.post(url, json={"name": name}, timeout=10)
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")


def test_settings_are_kept_also_those_that_do_nothing(client: Any, place: Any) -> None:
    place.reload()
    place.labels = {"team": "a", "stage": "b"}
    place.add_lifecycle_delete_rule(age=30)
    place.versioning_enabled = True
    place.cors = [{"origin": ["*"], "method": ["GET"], "maxAgeSeconds": 60}]
    place.configure_website("index.html", "404.html")
    place.default_event_based_hold = False
    place.storage_class = "NEARLINE"
    place.patch()
    again = client.get_bucket(place.name)
    assert again.labels == {"team": "a", "stage": "b"}
    assert list(again.lifecycle_rules) == [{"action": {"type": "Delete"}, "condition": {"age": 30}}]
    assert (again.versioning_enabled, again.storage_class, again.metageneration) == (True, "NEARLINE", 2)
    assert again.cors[0]["maxAgeSeconds"] == 60
    labels = again.labels
    del labels["stage"]
    again.labels = labels
    again.clear_lifecycle_rules()
    again.patch()
    last = client.get_bucket(place.name)
    assert (last.labels, list(last.lifecycle_rules), last.versioning_enabled) == ({"team": "a"}, [], True)


@pytest.mark.parametrize(
    "body",
    [
        {"storageClass": "FAST"},
        {"labels": {"Upper": "x"}},
        {"versioning": "yes"},
        {"retentionPolicy": {"retentionPeriod": "soon"}},
        {"iamConfiguration": {"publicAccessPrevention": "maybe"}},
        {"location": "EU"},
    ],
)
def test_settings_that_are_wrong_are_refused_and_change_nothing(
    emulator: Emulator, bucket: str, body: dict[str, Any]
) -> None:
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}"
    before = requests.get(url, timeout=10).json()
    assert requests.patch(url, json=body, timeout=10).status_code == 400
    assert requests.get(url, timeout=10).json() == before


def test_a_bucket_with_objects_stays(client: Any, place: Any) -> None:
    place.blob("x").upload_from_string("x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        place.delete()
    place.blob("x").delete()
    place.delete()
    assert client.lookup_bucket(place.name) is None


def test_deletions_are_answered_with_no_content(emulator: Emulator) -> None:
    """Google's command line takes anything else for an error."""
    bucket = emulator.new_bucket()
    emulator.put(bucket, "x", b"x")
    for path in (f"{bucket}/o/x", bucket):
        answer = requests.delete(f"{emulator.storage_url}/storage/v1/b/{path}", timeout=10)
        assert (answer.status_code, answer.content) == (204, b"")


def test_buckets_are_listed_by_project_in_pages(client: Any) -> None:
    names = sorted(f"listed-{number}" for number in range(5))
    for name in names:
        client.create_bucket(name, project="a-project-of-its-own")
    assert [b.name for b in client.list_buckets(project="a-project-of-its-own", page_size=2)] == names
    assert [b.name for b in client.list_buckets(project="a-project-of-its-own", prefix="listed-3")] == ["listed-3"]


def test_a_client_without_a_project_sees_all_buckets(emulator: Emulator, place: Any) -> None:
    """Google's client says `<none>` to an emulator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", emulator.storage_url)
        patch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
        from google.cloud import storage  # type: ignore[attr-defined,import-untyped,unused-ignore]

        assert place.name in {bucket.name for bucket in storage.Client(project="<none>").list_buckets()}


def test_who_may_do_what_is_kept(place: Any) -> None:
    policy = place.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:ada@example.com"}})
    place.set_iam_policy(policy)
    kept = place.get_iam_policy(requested_policy_version=3)
    assert {"role": "roles/storage.objectViewer", "members": {"user:ada@example.com"}} in list(kept.bindings)
    with pytest.raises(exceptions.PreconditionFailed):
        place.set_iam_policy(policy)  # its etag is the one of before
    assert place.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]


def test_who_has_a_role_twice_is_in_one_binding_for_each_condition(place: Any) -> None:
    place.iam_configuration.uniform_bucket_level_access_enabled = True
    place.patch()
    reader, member = "roles/storage.legacyBucketReader", "user:ada@example.com"
    condition = {"title": "some", "description": "", "expression": "true"}
    policy = place.get_iam_policy(requested_policy_version=3)
    policy.version = 3
    policy.bindings.append({"role": reader, "members": {member}})
    policy.bindings.append({"role": reader, "members": {member}, "condition": condition})
    place.set_iam_policy(policy)
    kept = [one for one in place.get_iam_policy(requested_policy_version=3).bindings if one["role"] == reader]
    assert [(len(one["members"]), one.get("condition")) for one in kept] == [(2, None), (1, condition)]


def test_lists_of_access_are_kept_until_iam_alone_decides(place: Any) -> None:
    place.acl.group("team@example.com").grant_read()
    place.acl.save()
    place.acl.reload()
    assert place.acl.group("team@example.com").get_roles() == {"READER"}
    place.reload()
    place.iam_configuration.uniform_bucket_level_access_enabled = True
    place.patch()
    with pytest.raises(exceptions.BadRequest, match="uniform bucket-level access"):
        place.acl.reload()


def test_the_layout_of_a_bucket_is_told(emulator: Emulator) -> None:
    for location, kind in ((None, "multi-region"), ("us-east1", "region")):
        bucket = emulator.new_bucket(location=location)
        answer = requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/storageLayout", timeout=10)
        assert answer.json()["locationType"] == kind


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Origin": "null"},
    ],
)
def test_web_pages_are_refused(emulator: Emulator, bucket: str, headers: dict[str, str]) -> None:
    url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=x"
    assert requests.post(url, data=b"x", headers=headers, timeout=10).status_code == 403
    assert requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/o/x", timeout=10).status_code == 404


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_bytes_that_are_no_request_end_the_connection_and_harm_nobody(emulator: Emulator, data: bytes) -> None:
    host, _, port = emulator.storage_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    with urllib.request.urlopen(f"{emulator.storage_url}/storage/v1/b?project=p") as answer:
        assert answer.status == 200


PATHS = st.sampled_from(
    ["b", "b/{}", "b/{}/o", "b/{}/o/x", "b/{}/o/x/compose", "b/{}/o/x/rewriteTo/b/{}/o/y", "b/{}/iam", "b/{}/acl"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "name",
        "labels",
        "acl",
        "metadata",
        "retention",
        "versioning",
        "lifecycle",
        "sourceObjects",
        "bindings",
        "customTime",
    ]
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH"]),
    path=PATHS,
    body=st.dictionaries(FIELDS, VALUES, max_size=4),
    query=st.dictionaries(
        st.sampled_from(
            ["project", "maxResults", "pageToken", "fields", "ifGenerationMatch", "projection", "matchGlob"]
        ),
        st.text(max_size=6),
        max_size=3,
    ),
)
def test_no_request_is_answered_with_an_internal_error(
    emulator: Emulator, bucket: str, method: str, path: str, body: dict[str, Any], query: dict[str, str]
) -> None:
    url = f"{emulator.storage_url}/storage/v1/{path.replace('{}', bucket)}"
    answer = emulator.session.request(method, url, params=query, json=body, timeout=30)
    assert answer.status_code != 500, (method, url, query, body)
