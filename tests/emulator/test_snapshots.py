"""Snapshots of all that an emulator has stored: taken while it runs, loaded, and another one seeded with them."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.emulator import snapshots
from edge_tasks.emulator.errors import StartError
from tests.emulator.harness import ECHO, Emulator

LARGE = os.urandom(200_000)


def content(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_what_was_saved_is_loaded_and_seeds_another_emulator(
    own_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    first, saved = own_emulator(), tmp_path / "snapshots" / "one"
    bucket, endpoint = first.new_bucket(), first.create_endpoint()
    first.put(bucket, "large", LARGE)
    first.put(bucket, "small", b"as saved")
    first.deployed(endpoint, first.upload(ECHO))
    job = first.run_job(["python", "-c", "print('kept')"])
    unfinished = first.create_job(["sleep", "1000"])
    first.wait_for_job(unfinished, {"JOB_STATE_RUNNING"})
    snapshots.save(first.data, saved)
    first.put(bucket, "small", b"changed")
    first.session.delete(f"{first.storage_url}/storage/v1/b/{bucket}/o/large", timeout=10).raise_for_status()

    second = own_emulator(tmp_path / "second", "--seed", str(saved))
    assert (second.read(bucket, "small"), second.read(bucket, "large")) == (b"as saved", LARGE)
    assert second.predict(endpoint, [5]).body["predictions"] == [5]
    assert second.output(job) == ["kept"]
    # It ran in the other emulator, where it still does.
    assert second.get(unfinished).body["state"] == "JOB_STATE_FAILED"
    assert first.get(unfinished).body["state"] == "JOB_STATE_RUNNING"
    assert first.predict(endpoint, [6]).body["predictions"] == [6]
    second.put(bucket, "small", b"by the second")
    second.stop()
    again = own_emulator(tmp_path / "second", "--seed", str(saved))
    assert again.read(bucket, "small") == b"by the second"

    with pytest.raises(StartError, match="another emulator runs"):
        snapshots.load(first.data, saved)
    first.stop()
    snapshots.load(first.data, saved)
    loaded = own_emulator(first.data)
    assert loaded.url == first.url
    assert (loaded.read(bucket, "small"), loaded.read(bucket, "large")) == (b"as saved", LARGE)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_large_object_is_in_a_snapshot_as_a_link(own_emulator: Callable[..., Emulator], tmp_path: Path) -> None:
    emulator = own_emulator()
    emulator.put(emulator.new_bucket(), "large", LARGE)
    snapshots.save(emulator.data, tmp_path / "saved")
    (file,) = content(tmp_path / "saved" / "cloud-storage" / "contents")
    assert file.stat().st_nlink == 2
    with pytest.raises(StartError, match="exists already"):
        snapshots.save(emulator.data, tmp_path / "saved")


@pytest.mark.parametrize(
    ("card", "text"), [(None, "is not a snapshot"), ({"version": 99}, "newer version"), ([], "is not a snapshot")]
)
def test_what_is_not_a_snapshot_is_not_loaded(tmp_path: Path, card: Any, text: str) -> None:
    data, source = tmp_path / "data", tmp_path / "source"
    for folder in (data, source):
        folder.mkdir()
    (data / "kept").touch()
    if card is not None:
        (source / snapshots.CARD).write_text(json.dumps(card))
    with pytest.raises(StartError, match=text):
        snapshots.load(data, source)
    assert (data / "kept").exists()


@pytest.mark.parametrize(
    ("broken", "text"), [("newer", "newer version"), ("cut", "is damaged"), ("lost", "is damaged")]
)
def test_a_snapshot_that_no_emulator_could_open_replaces_nothing(tmp_path: Path, broken: str, text: str) -> None:
    data, source = tmp_path / "data", tmp_path / "source"
    data.mkdir()
    (data / "kept").touch()
    (source / "cloud-storage").mkdir(parents=True)
    (source / snapshots.CARD).write_text('{"version": 1}')
    for name in (snapshots.STORE, snapshots.INDEX):
        with contextlib.closing(sqlite3.connect(source / name)) as connection:
            connection.execute("CREATE TABLE resources (name)")
            connection.execute(f"PRAGMA user_version={99 if broken == 'newer' else 1}")
    if broken == "cut":
        (source / snapshots.STORE).write_bytes(b"not a database, but long enough to be looked at" * 100)
    elif broken == "lost":
        (source / snapshots.INDEX).unlink()
    with pytest.raises(StartError, match=text):
        snapshots.load(data, source)
    assert (data / "kept").exists()


def test_there_is_nothing_to_save_before_the_first_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="holds nothing that could be saved"):
        snapshots.save(tmp_path, tmp_path / "saved")
