"""Lists of objects are what a plain program makes of all names."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tasks.emulator.storage.listing import pattern
from edge_tasks.emulator.storage.names import after_all_with
from tests.emulator.harness import Emulator

LETTERS = "ab/é￿\U0010ffff"
NAMES = ["a", "a/", "a/b", "a/b/", "a/b/a", "a//b", "ab", "b", "b/é", "é/a", "é/￿", "\U0010ffff/a", "\U0010ffff"]


@pytest.fixture(scope="module")
def filled(emulator: Emulator) -> str:
    bucket = emulator.new_bucket()
    for name in NAMES:
        emulator.put(bucket, name, b"x")
    return bucket


def expected(query: dict[str, str]) -> tuple[list[str], list[str]]:
    """What Cloud Storage's documentation says of a list."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    items, prefixes = [], set()
    for name in sorted(NAMES, key=str.encode):
        inside = name.startswith(prefix) and name >= query.get("startOffset", "")
        if not inside or ("endOffset" in query and name >= query["endOffset"]):
            continue
        rest = name[len(prefix) :]
        if delimiter and delimiter in rest:
            folder = prefix + rest[: rest.index(delimiter) + len(delimiter)]
            prefixes.add(folder)
            if folder != name or query.get("includeTrailingDelimiter") != "true":
                continue
        items.append(name)
    return items, sorted(prefixes, key=str.encode)


QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.text(LETTERS, min_size=1, max_size=3),
        "delimiter": st.sampled_from(["/", "b", "//", "é"]),
        "startOffset": st.text(LETTERS, min_size=1, max_size=2),
        "endOffset": st.text(LETTERS, min_size=1, max_size=2),
        "includeTrailingDelimiter": st.sampled_from(["true", "false"]),
    },
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, page=st.integers(1, 5))
def test_a_list_in_pages_is_the_list_of_the_documentation(
    emulator: Emulator, filled: str, query: dict[str, str], page: int
) -> None:
    items: list[str] = []
    prefixes: list[str] = []
    token = ""
    while True:
        answer = emulator.session.get(
            f"{emulator.storage_url}/storage/v1/b/{filled}/o",
            params={**query, "maxResults": str(page), "pageToken": token},
            timeout=10,
        ).json()
        found = [item["name"] for item in answer.get("items", [])]
        assert len(found) + len(answer.get("prefixes", [])) <= page + 1
        items += found
        prefixes += answer.get("prefixes", [])
        token = answer.get("nextPageToken", "")
        if not token:
            break
    assert (items, prefixes) == expected(query)


@pytest.mark.slow
def test_a_page_holds_a_thousand_and_an_empty_list_has_no_items(emulator: Emulator, client: Any) -> None:
    bucket = emulator.new_bucket()
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o"
    assert emulator.session.get(url, timeout=10).json() == {"kind": "storage#objects"}
    for number in range(1005):
        emulator.put(bucket, f"n/{number:04}", b"")
    pages = [[blob.name for blob in page] for page in client.list_blobs(bucket).pages]
    assert [len(page) for page in pages] == [1000, 5]
    assert pages[1][-1] == "n/1004"


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.fixed_dictionaries(
        {"encoding-type": st.just("url")},
        optional={
            "prefix": st.text(LETTERS, min_size=1, max_size=3),
            "delimiter": st.sampled_from(["/", "b", "//", "é"]),
        },
    ),
    page=st.integers(1, 5),
    version=st.sampled_from(["1", "2"]),
)
def test_a_list_in_xml_is_the_list_of_the_documentation(
    emulator: Emulator, filled: str, query: dict[str, str], page: int, version: str
) -> None:
    space = "{http://doc.s3.amazonaws.com/2006-03-01}"
    items: list[str] = []
    prefixes: list[str] = []
    following = {"list-type": "2"} if version == "2" else {}
    while True:
        url = f"{emulator.storage_url}/{filled}"
        answer = emulator.session.get(url, params={**query, **following, "max-keys": str(page)}, timeout=10)
        assert answer.status_code == 200
        told = ET.fromstring(answer.content)
        items += [unquote(entry.text or "") for entry in told.iterfind(f"{space}Contents/{space}Key")]
        prefixes += [unquote(entry.text or "") for entry in told.iterfind(f"{space}CommonPrefixes/{space}Prefix")]
        if told.findtext(f"{space}IsTruncated") == "false":
            break
        if version == "2":
            following["continuation-token"] = unquote(told.findtext(f"{space}NextContinuationToken") or "")
        else:
            following["marker"] = unquote(told.findtext(f"{space}NextMarker") or "")
    assert (items, prefixes) == expected(query)


FIELDS = ("kind", "id", "selfLink", "mediaLink", "name", "bucket", "generation", "size", "etag", "md5Hash", "crc32c")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.sampled_from((*FIELDS, "metadata", "acl", "unknown")), min_size=1))
def test_a_list_of_some_fields_is_a_part_of_the_list_of_all(emulator: Emulator, filled: str, wanted: set[str]) -> None:
    url = f"{emulator.storage_url}/storage/v1/b/{filled}/o"
    whole = emulator.session.get(url, timeout=10).json()["items"]
    some = emulator.session.get(url, params={"fields": f"items({','.join(wanted)})"}, timeout=10).json()
    parts = [{name: item[name] for name in item if name in wanted} for item in whole]
    assert some.get("items", []) == parts


def test_only_the_wanted_fields_come(emulator: Emulator, filled: str) -> None:
    url = f"{emulator.storage_url}/storage/v1/b/{filled}/o"
    query = {"fields": "items(name,bucket),prefixes", "delimiter": "/", "prefix": "a/b"}
    answer = emulator.session.get(url, params=query, timeout=10).json()
    assert answer == {"items": [{"name": "a/b", "bucket": filled}], "prefixes": ["a/b/"]}
    for wrong in ("items(name", "items)", "a,,b", "(a)"):
        assert emulator.session.get(url, params={"fields": wrong}, timeout=10).status_code == 400


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.csv", ["a.csv"], ["a/b.csv", "a.csvx"]),
        ("**.csv", ["a.csv", "a/b.csv"], ["a.txt"]),
        ("**/b", ["b", "a/b", "a/c/b"], ["ab"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[a-c]x", ["ax"], ["dx"]),
        ("[!a-c]x", ["dx"], ["ax"]),
        ("{one,two}/*", ["one/x", "two/y"], ["three/x"]),
        ("a.b", ["a.b"], ["axb"]),
        ("\\*", ["*"], ["x"]),
    ],
)
def test_globs_match_as_documented(glob: str, yes: list[str], no: list[str]) -> None:
    assert [name for name in yes if not pattern(glob).fullmatch(name)] == []
    assert [name for name in no if pattern(glob).fullmatch(name)] == []


@given(prefix=st.text(LETTERS, min_size=1, max_size=4), rest=st.text(LETTERS, max_size=3))
def test_the_text_behind_a_prefix_is_behind_all_that_begins_with_it(prefix: str, rest: str) -> None:
    behind = after_all_with(prefix)
    if behind is None:
        assert re.fullmatch("\U0010ffff+", prefix)
    else:
        assert prefix + rest < behind
        assert not behind.startswith(prefix)
