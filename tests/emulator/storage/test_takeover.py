"""A data folder of a version that kept its files with fake-gcs-server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulator.harness import Emulator, child_environment

# As fake-gcs-server 1.54 wrote it.
KNOWN = {
    "StorageClass": "STANDARD",
    "ContentType": "text/csv",
    "CacheControl": "",
    "Crc32c": "mnG7TA==",
    "Md5Hash": "XUFAKrxLKna5cZ2REBfFkg==",
    "ACL": [],
    "Metadata": {"run": "7"},
    "Created": "2026-11-27T10:45:32.170253Z",
    "Updated": "2026-11-27T10:45:32.170257Z",
    "CustomTime": "0001-01-01T00:00:00Z",
    "Generation": 1795776332170258,
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "storage" / "my-bucket"
    (folder / "a").mkdir(parents=True)
    (folder.parent / "my-bucket.bucketMetadata").touch()
    (folder / "a" / "b c").write_bytes(b"hello")
    os.setxattr(folder / "a" / "b c", "user.metadata", json.dumps(KNOWN).encode())
    (folder / "large").write_bytes(b"x" * 300_000)
    (folder / "by hand.txt").write_bytes(b"without metadata")
    return tmp_path / "data"


def test_buckets_and_objects_are_taken_over_as_they_were(
    old: Path, own_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    emulator = own_emulator(old)
    assert {name: emulator.read("my-bucket", name) for name in ("a/b c", "large", "by hand.txt")} == {
        "a/b c": b"hello",
        "large": b"x" * 300_000,
        "by hand.txt": b"without metadata",
    }
    told: dict[str, Any] = requests.get(f"{emulator.storage_url}/storage/v1/b/my-bucket/o/a%2Fb%20c", timeout=10).json()
    assert (told["generation"], told["metadata"], told["contentType"]) == ("1795776332170258", {"run": "7"}, "text/csv")
    assert (told["md5Hash"], told["timeCreated"]) == (KNOWN["Md5Hash"], KNOWN["Created"])
    # A client that holds a generation can still compare with it.
    upload = f"{emulator.storage_url}/upload/storage/v1/b/my-bucket/o"
    query = {"uploadType": "media", "name": "a/b c", "ifGenerationMatch": "1795776332170258"}
    assert requests.post(upload, params=query, data=b"new", timeout=10).status_code == 200
    assert not (old / "storage").exists()
    emulator.stop()
    again = own_emulator(old)
    assert again.read("my-bucket", "a/b c") == b"new"


def test_a_takeover_that_was_killed_begins_again(old: Path, own_emulator: Callable[..., Emulator]) -> None:
    (old / "cloud-storage.new" / "contents").mkdir(parents=True)
    (old / "cloud-storage.new" / "index.sqlite3").write_bytes(b"half of a file")
    assert own_emulator(old).read("my-bucket", "large") == b"x" * 300_000


def test_a_takeover_that_was_killed_at_its_end_is_finished(old: Path, own_emulator: Callable[..., Emulator]) -> None:
    emulator = own_emulator(old)
    emulator.put("my-bucket", "a/b c", b"new")
    emulator.stop()
    (old / "storage" / "my-bucket").mkdir(parents=True)
    (old / "storage" / "my-bucket" / "a").write_bytes(b"left over")
    again = own_emulator(old)
    assert again.read("my-bucket", "a/b c") == b"new"
    assert not (old / "storage").exists()


def test_an_index_of_a_newer_version_is_refused(tmp_path: Path, own_emulator: Callable[..., Emulator]) -> None:
    import sqlite3

    own_emulator().stop()
    with sqlite3.connect(tmp_path / "data" / "cloud-storage" / "index.sqlite3") as index:
        index.execute("PRAGMA user_version = 99")
    ran = subprocess.run(
        [sys.executable, "-m", "edge_tasks.emulator", "--data", str(tmp_path / "data")],
        capture_output=True, text=True, timeout=30, check=False, env=child_environment(),
    )  # fmt: skip
    assert ran.returncode == 1
    assert "was written by a newer version (format 99, this one reads 1)" in ran.stderr
    assert "hint: update vertex-edge, or start" in ran.stderr
    assert "Traceback" not in ran.stderr
