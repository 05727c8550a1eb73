"""Objects through google-cloud-storage: contents, versions, preconditions, checksums, metadata, holds."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tasks.emulator.storage.contents import INLINE_LIMIT
from tests.emulator.harness import Emulator


@pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT, INLINE_LIMIT + 1, 9_000_000, 40_000_000])
def test_objects_of_every_size_come_back_as_they_were(place: Any, size: int) -> None:
    """Small ones lie in the index, larger ones in files; the largest come in resumable parts."""
    content = os.urandom(size)
    blob = place.blob("folder/a name with spaces é.bin", chunk_size=10 << 20 if size > 9_000_000 else None)
    blob.upload_from_string(content)
    again = place.get_blob(blob.name)
    assert again.download_as_bytes() == content
    assert again.size == size
    assert again.md5_hash == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert again.crc32c == base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def test_many_clients_at_once_get_their_own_answers(emulator: Emulator, bucket: str) -> None:
    def round_trip(number: int) -> bool:
        content = os.urandom(number * 1000)
        emulator.put(bucket, f"n/{number}é", content)
        return emulator.read(bucket, f"n/{number}é") == content

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(100)))


NAMES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES.filter(lambda name: name not in {".", ".."} and not name.startswith(".well-known/acme")))
def test_every_legal_name_is_a_name_and_never_a_path(emulator: Emulator, place: Any, name: str) -> None:
    """Google's client is not asked: it unquotes some names once too often."""
    answer = requests.post(
        f"{emulator.storage_url}/upload/storage/v1/b/{place.name}/o",
        params={"uploadType": "media", "name": name},
        data=name.encode(),
        timeout=10,
    )
    assert answer.json()["name"] == name
    assert emulator.read(place.name, name) == name.encode()


@pytest.mark.parametrize(
    "name", ["../../escape.txt", "a", "a/b", "a/", "a//b", "/", "a/../b", "a/./b", "x\0y", "é" * 512]
)
def test_names_that_look_like_paths_live_side_by_side(emulator: Emulator, bucket: str, name: str) -> None:
    emulator.put(bucket, "a", b"the file a")
    emulator.put(bucket, name, b"content")
    assert emulator.read(bucket, name) == b"content"
    assert [path for path in emulator.data.parent.rglob("*") if "escape" in path.name] == []


@pytest.mark.parametrize("name", [".", "..", "a\nb", "a\rb", "é" * 513, ".well-known/acme-challenge/x"])
def test_names_that_google_refuses_are_refused(emulator: Emulator, bucket: str, name: str) -> None:
    url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o"
    answer = requests.post(url, params={"uploadType": "media", "name": name}, data=b"x", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["reason"] == "invalid"


def test_a_name_that_is_not_utf_8_is_refused(emulator: Emulator, bucket: str) -> None:
    answer = requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/o/%ff", timeout=10)
    assert answer.status_code == 400


# Generations and preconditions


def test_metadata_count_metagenerations_and_contents_count_generations(place: Any) -> None:
    blob = place.blob("x")
    blob.upload_from_string("one")
    first = blob.generation
    blob.metadata = {"a": "1"}
    blob.patch()
    assert (blob.generation, blob.metageneration, blob.metadata) == (first, 2, {"a": "1"})
    blob.upload_from_string("two")
    assert blob.generation > first
    blob.reload()
    assert (blob.metageneration, blob.metadata) == (1, {"a": "1"})  # the client sends what it has


def attempts(place: Any) -> dict[str, Callable[..., Any]]:
    """Everything that takes preconditions on the object `x`."""
    other = place.blob("other")
    other.upload_from_string("other")
    return {
        "upload": lambda **wanted: place.blob("x").upload_from_string("new", **wanted),
        "download": lambda **wanted: place.blob("x").download_as_bytes(**wanted),
        "get": lambda **wanted: place.blob("x").reload(**wanted),
        "patch": lambda **wanted: place.blob("x").patch(**wanted),
        "compose": lambda **wanted: place.blob("x").compose([other], **wanted),
        "rewrite": lambda **wanted: place.blob("x").rewrite(other, **wanted),
        "copy": lambda **wanted: place.copy_blob(other, place, "x", **wanted),
        "delete": lambda **wanted: place.blob("x").delete(**wanted),
    }


@pytest.mark.parametrize("what", ["upload", "download", "get", "patch", "compose", "rewrite", "copy", "delete"])
def test_every_method_holds_to_the_preconditions_on_its_object(place: Any, what: str) -> None:
    blob = place.blob("x")
    blob.upload_from_string("old")
    attempt = attempts(place)[what]
    wrong = [
        {"if_generation_match": 1},
        {"if_metageneration_match": 7},
        {"if_generation_not_match": blob.generation},
        {"if_metageneration_not_match": 1},
    ]
    # The client has no others for compose, and misspells the last one of uploads.
    wrong = wrong[: {"compose": 2, "upload": 3}.get(what, 4)]
    for demanded in wrong:
        with pytest.raises((exceptions.PreconditionFailed, exceptions.NotModified)):
            attempt(**demanded)
        assert place.blob("x").download_as_bytes() == b"old"
    attempt(if_generation_match=blob.generation, if_metageneration_match=1)


def test_preconditions_on_the_source_of_a_copy_hold(place: Any) -> None:
    source = place.blob("s")
    source.upload_from_string("source")
    for wrong in ({"if_source_generation_match": 1}, {"if_source_metageneration_match": 5}):
        with pytest.raises(exceptions.PreconditionFailed):
            place.copy_blob(source, place, "t", **wrong)
        with pytest.raises(exceptions.PreconditionFailed):
            place.blob("t").rewrite(source, **wrong)
    assert place.get_blob("t") is None


def test_of_many_who_make_an_object_only_once_one_alone_succeeds(emulator: Emulator, bucket: str) -> None:
    url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o"

    def make(number: int) -> int:
        query = {"uploadType": "media", "name": "x", "ifGenerationMatch": "0"}
        return requests.post(url, params=query, data=f"{number}", timeout=30).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(make, range(64)))
    assert statuses == [200] + [412] * 63


def test_etags_of_the_header_count(emulator: Emulator, place: Any) -> None:
    blob = place.blob("x")
    blob.upload_from_string("one")
    blob.reload()
    assert place.blob("x").download_as_bytes(if_etag_match=blob.etag) == b"one"
    with pytest.raises(exceptions.PreconditionFailed):
        place.blob("x").download_as_bytes(if_etag_match="CAE=")
    with pytest.raises(exceptions.NotModified):
        place.blob("x").reload(if_etag_not_match=blob.etag)


# Versions


def test_a_bucket_with_versioning_keeps_what_was_replaced_or_deleted(place: Any) -> None:
    place.reload()
    place.versioning_enabled = True
    place.patch()
    blob = place.blob("x")
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two")
    second = blob.generation
    place.blob("x").delete()
    assert place.get_blob("x") is None
    kept = list(place.list_blobs(versions=True))
    assert [version.generation for version in kept] == [first, second]
    assert all(version.time_deleted for version in kept)
    assert list(place.list_blobs()) == []
    assert place.blob("x", generation=first).download_as_bytes() == b"one"
    place.blob("x", generation=first).delete()
    assert [version.generation for version in place.list_blobs(versions=True)] == [second]
    place.copy_blob(place.blob("x"), place, "x", source_generation=second)
    assert place.blob("x").download_as_bytes() == b"two"


# Checksums


@pytest.mark.parametrize("kind", ["md5Hash", "crc32c"])
@pytest.mark.parametrize("size", [10, 9_000_000])
def test_a_content_with_a_wrong_checksum_is_refused_and_nothing_is_kept(
    emulator: Emulator, place: Any, kind: str, size: int
) -> None:
    before = len(list((emulator.data / "cloud-storage" / "contents").rglob("*")))
    place.blob("x").upload_from_string("kept")
    wrong = base64.b64encode(b"\1" * (16 if kind == "md5Hash" else 4)).decode()
    blob = place.blob("x")
    blob._properties[kind] = wrong
    blob._changes.add(kind)
    with pytest.raises(exceptions.BadRequest, match="doesn't match calculated"):
        blob.upload_from_string(b"y" * size, checksum=None)
    assert place.blob("x").download_as_bytes() == b"kept"
    assert len(list((emulator.data / "cloud-storage" / "contents").rglob("*"))) <= before + 1


def test_a_checksum_in_a_header_is_checked(emulator: Emulator, bucket: str) -> None:
    url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=x"
    for headers in ({"x-goog-hash": "crc32c=AAAAAA=="}, {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}):
        assert requests.post(url, data=b"x", headers=headers, timeout=10).status_code == 400
    right = base64.b64encode(google_crc32c.value(b"x").to_bytes(4, "big")).decode()
    headers = {"x-goog-hash": f"crc32c={right}"}
    assert requests.post(url, data=b"x", headers=headers, timeout=10).status_code == 200


# Downloads


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 120_000), last=st.none() | st.integers(0, 120_000), size=st.sampled_from([1, 500, 100_000]))
def test_a_range_is_that_part_of_the_content(
    emulator: Emulator, bucket: str, first: int, last: int | None, size: int
) -> None:
    content = bytes(number % 251 for number in range(size))
    emulator.put(bucket, str(size), content)
    header = f"bytes={first}-{'' if last is None else last}"
    for path in (f"/storage/v1/b/{bucket}/o/{size}", f"/download/storage/v1/b/{bucket}/o/{size}", f"/{bucket}/{size}"):
        answer = emulator.session.get(
            f"{emulator.storage_url}{path}", params={"alt": "media"}, headers={"Range": header}, timeout=10
        )
        if last is not None and last < first:
            assert (answer.status_code, answer.content) == (200, content)
        elif first >= size:
            assert answer.status_code == 416
        else:
            end = size if last is None else min(size, last + 1)
            assert (answer.status_code, answer.content) == (206, content[first:end])
            assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"


def test_the_last_bytes_can_be_asked_for(emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "x", b"0123456789")
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o/x?alt=media"
    assert emulator.session.get(url, headers={"Range": "bytes=-3"}, timeout=10).content == b"789"


def test_zipped_content_comes_unzipped_to_who_does_not_take_gzip(emulator: Emulator, place: Any) -> None:
    text = b"some text " * 100_000
    blob = place.blob("x.txt")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(text), content_type="text/plain")
    url = f"{emulator.storage_url}/storage/v1/b/{place.name}/o/x.txt?alt=media"
    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert plain.content == text
    assert "Content-Encoding" not in plain.headers
    zipped = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=10, stream=True)
    assert gzip.decompress(zipped.raw.read()) == text
    assert place.blob("x.txt").download_as_bytes() == text
    assert gzip.decompress(place.blob("x.txt").download_as_bytes(raw_download=True)) == text


# Copies


def test_copies_share_a_file_and_live_on_alone(emulator: Emulator, place: Any) -> None:
    content = os.urandom(2_000_000)
    source = place.blob("source")
    source.upload_from_string(content)
    place.copy_blob(source, place, "copy")
    source.delete()
    assert place.blob("copy").download_as_bytes() == content
    place.blob("copy").delete()
    large = [path for path in (emulator.data / "cloud-storage").rglob("*") if path.is_file()]
    assert not [path for path in large if path.stat().st_size == len(content)]


def test_a_rewrite_into_another_class_takes_several_calls(place: Any) -> None:
    source = place.blob("source")
    source.upload_from_string(b"x" * (3 << 20))
    target = place.blob("target")
    target.storage_class = "NEARLINE"
    query = {"maxBytesRewrittenPerCall": str(1 << 20)}
    path = f"{source.path}/rewriteTo{target.path}"
    steps = []
    while True:
        body = {"storageClass": "NEARLINE"}
        answer = place.client._post_resource(path, body, query_params=query)
        steps.append((int(answer["totalBytesRewritten"]), answer["done"]))
        if answer["done"]:
            break
        assert place.get_blob("target") is None
        query["rewriteToken"] = answer["rewriteToken"]
    assert steps == [(1 << 20, False), (2 << 20, False), (3 << 20, True)]
    assert place.get_blob("target").storage_class == "NEARLINE"
    with pytest.raises(exceptions.BadRequest):
        place.client._post_resource(path, {}, query_params={"rewriteToken": "bm9uc2Vuc2U="})


def test_a_move_is_one_step(place: Any) -> None:
    place.blob("old").upload_from_string("content")
    moved = place.move_blob(place.blob("old"), "new/name")
    assert moved.name == "new/name"
    assert [blob.name for blob in place.list_blobs()] == ["new/name"]
    with pytest.raises(exceptions.NotFound):
        place.move_blob(place.blob("old"), "other")


def test_parts_are_composed_in_their_order(place: Any) -> None:
    pieces = [os.urandom(size) for size in (10, 200_000, 1)]
    blobs = [place.blob(f"part{number}") for number in range(3)]
    for blob, piece in zip(blobs, pieces, strict=True):
        blob.upload_from_string(piece)
    whole = place.blob("whole")
    whole.compose(blobs)
    whole.reload()
    assert whole.download_as_bytes() == b"".join(pieces)
    assert (whole.component_count, whole.md5_hash) == (3, None)
    with pytest.raises(exceptions.NotFound):
        place.blob("other").compose([place.blob("nothing")])
    with pytest.raises(exceptions.BadRequest, match="exceeds the maximum"):
        place.blob("other").compose(blobs * 11)


def test_many_are_deleted_in_one_batch(place: Any) -> None:
    for number in range(5):
        place.blob(f"n{number}").upload_from_string("x")
    with pytest.raises(exceptions.NotFound), place.client.batch():
        for number in range(6):
            place.blob(f"n{number}").delete()
    assert list(place.list_blobs()) == []


# Metadata, holds, retention


def test_all_metadata_are_kept_and_told(place: Any) -> None:
    blob = place.blob("x")
    blob.cache_control, blob.content_disposition, blob.content_language = "max-age=60", "inline", "de"
    blob.metadata, blob.custom_time = {"kéy": "välue"}, datetime(2026, 1, 2, tzinfo=timezone.utc)
    blob.upload_from_string("x", content_type="text/csv")
    again = place.get_blob("x")
    for name in ("cache_control", "content_disposition", "content_language", "content_type", "metadata", "custom_time"):
        assert getattr(again, name) == getattr(blob, name)
    assert again.time_created is not None
    again.custom_time = datetime(2025, 1, 2, tzinfo=timezone.utc)
    with pytest.raises(exceptions.BadRequest, match="custom time"):
        again.patch()


def test_a_hold_keeps_an_object(place: Any) -> None:
    blob = place.blob("x")
    blob.upload_from_string("kept")
    blob.temporary_hold = True
    blob.patch()
    for attempt in (blob.delete, lambda: place.blob("x").upload_from_string("new")):
        with pytest.raises(exceptions.Forbidden, match="under active Temporary hold"):
            attempt()
    assert place.blob("x").download_as_bytes() == b"kept"
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_a_retention_policy_keeps_objects(place: Any) -> None:
    place.reload()
    place.retention_period = 1000
    place.patch()
    blob = place.blob("x")
    blob.upload_from_string("kept")
    blob.reload()
    assert blob.retention_expiration_time > datetime.now(timezone.utc) + timedelta(seconds=900)
    with pytest.raises(exceptions.Forbidden, match="cannot be deleted or overwritten until"):
        blob.delete()
    place.retention_period = None
    place.patch()
    blob.delete()


def test_an_object_with_a_key_is_read_only_with_it(place: Any) -> None:
    key = os.urandom(32)
    place.blob("x", encryption_key=key).upload_from_string("secret")
    assert place.blob("x", encryption_key=key).download_as_bytes() == b"secret"
    for wrong in (None, os.urandom(32)):
        with pytest.raises(exceptions.BadRequest):
            place.blob("x", encryption_key=wrong).download_as_bytes()
    assert place.get_blob("x").md5_hash is None


def test_an_address_may_demand_the_type_and_the_disposition_as_signed_ones_do(emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "x", b"x")
    demanded = {"response-content-type": "text/x", "response-content-disposition": 'attachment; filename="y"'}
    answer = requests.get(f"{emulator.storage_url}/{bucket}/x", demanded, timeout=10)
    assert answer.headers["content-type"] == "text/x"
    assert answer.headers["content-disposition"] == 'attachment; filename="y"'
    wrong = requests.get(f"{emulator.storage_url}/{bucket}/x", {"response-content-type": "a\r\nb: c"}, timeout=10)
    assert (wrong.status_code, "b" in wrong.headers) == (400, False)


def test_what_is_not_emulated_is_said_by_name(emulator: Emulator, bucket: str) -> None:
    base = f"{emulator.storage_url}/storage/v1"
    for path in (
        f"b/{bucket}/notificationConfigs",
        f"b/{bucket}/anywhereCaches",
        "projects/p/hmacKeys",
        f"b/{bucket}/o?softDeleted=true",
        f"b/{bucket}/o/x?softDeleted=true&generation=1",
        "b?project=p&softDeleted=true",
        f"b/{bucket}?softDeleted=true&generation=1",
    ):
        answer = requests.get(f"{base}/{path}", timeout=10)
        assert answer.status_code == 501
        assert "is not implemented by this emulator" in answer.json()["error"]["message"]
    assert requests.get(f"{base}/nonsense", timeout=10).status_code == 404


@pytest.mark.slow
def test_a_reader_never_gets_the_headers_of_one_version_with_the_content_of_another(
    emulator: Emulator, bucket: str
) -> None:
    """Small objects stand in the index itself, whose rows' numbers are given again."""
    stop = threading.Event()

    def replace() -> None:
        for number in range(400):
            emulator.put(bucket, "turning", b"%d" % number * (1 + number % 50))
        stop.set()

    def read() -> int:
        session, seen = requests.Session(), 0
        while not stop.is_set():
            url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o/turning?alt=media"
            answer = session.get(url, timeout=10)
            sums = dict(part.split("=", 1) for part in answer.headers["x-goog-hash"].split(","))
            assert answer.status_code == 200
            assert base64.b64decode(sums["md5"]) == hashlib.md5(answer.content).digest()
            seen += 1
        return seen

    emulator.put(bucket, "turning", b"first")
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        pool.submit(replace).result()
        assert all(reader.result() for reader in readers)
