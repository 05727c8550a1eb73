"""Runs in the bucket: written whole, listed without a download, and found again."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import (
    COMPLETED,
    DIED,
    LONGEST_SUMMARY,
    QUEUED,
    RUNNING,
    RunRecord,
    Series,
    dump_record,
    dump_summary,
    parse_record,
    parse_summary,
    utc_now,
)
from edge_tasks.errors import ConflictError, EdgeError, NotFoundError
from edge_tasks.experiments.listing import find_run, list_runs, load_run, remove_run


def record(run_id: str = "20261122-204655-1a2b3c4d", **values: Any) -> RunRecord:
    return RunRecord(**{"run_id": run_id, "model_name": "digits", "status": COMPLETED, "created": utc_now(), **values})


def test_a_record_comes_back_as_it_was_written() -> None:
    written = record(parameters={"C": 0.1, "layers": [1, {"a": None}], "name": "é"}, data={"data/x": "abc.dir"})
    assert parse_record(dump_record(written)) == written


def test_a_summary_is_short_whatever_the_record_holds() -> None:
    small = record(parameters={"C": 0.1}, tags=("good",), error="first\nsecond")
    assert parse_summary(dump_summary(small)) == small.summary()
    assert small.summary().error == "first"
    for long in ({"parameters": {"text": "é" * 9000}}, {"tags": ("x" * 9000,)}, {"error": "é" * 99_999}):
        text = dump_summary(record(**long))
        assert len(text.encode()) <= LONGEST_SUMMARY
        assert parse_summary(text).cut == ("error" not in long)


def test_metrics_that_are_no_numbers_survive() -> None:
    """JSON knows neither NaN nor infinity."""
    assert parse_record(dump_record(record(metrics={"loss": math.nan}))).metrics == {"loss": "NaN"}
    assert parse_summary(dump_summary(record(metrics={"loss": -math.inf}))).metrics == {"loss": "-Infinity"}


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"format_version": 1}', '{"format_version": "x"}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(EdgeError, match="it "):
        parse_record(text)


def test_a_record_of_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(EdgeError, match="format 99") as refused:
        parse_record('{"format_version": 99}')
    assert refused.value.hint == "git pull, then pip install -r requirements.txt"


def test_a_run_of_which_nothing_is_heard_died() -> None:
    now = utc_now()
    silent = record(status=RUNNING, started=now - timedelta(hours=2), heartbeat=now - timedelta(hours=1))
    assert silent.status_at(now) == DIED
    assert silent.seconds_at(now) == 3600
    alive = silent.changed(heartbeat=now - timedelta(seconds=30))
    assert alive.status_at(now) == RUNNING
    assert alive.seconds_at(now) == 7200
    assert record(status=QUEUED, created=now - timedelta(hours=20)).status_at(now) == QUEUED
    assert record(status=QUEUED, created=now - timedelta(hours=30)).status_at(now) == DIED
    assert record(created=now - timedelta(days=9)).status_at(now) == COMPLETED


def test_runs_are_listed_newest_first_and_without_their_files(
    store: RunStore, cloud: Cloud, config: EdgeConfig, tmp_path: Path
) -> None:
    (tmp_path / "output.txt").write_bytes(b"hello\n")
    for number in (2, 1, 3):
        store.write(record(f"2026112{number}-000000-00000000"), 0)
        store.write_output("digits", f"2026112{number}-000000-00000000", tmp_path / "output.txt")
    store.write(record("20261122-120000-00000000", model_name="churn"), 0)
    listing = list_runs(cloud, config)
    assert [run.run_id[:15] for run in listing.runs] == [
        *("20261123-000000", "20261122-120000", "20261122-000000", "20261121-000000")
    ]
    assert listing.unreadable == {}
    assert [run.model_name for run in RunStore(cloud, config).list("churn").runs] == ["churn"]


@pytest.mark.slow
def test_the_newest_of_thousands_of_runs_are_those_that_a_whole_list_begins_with(
    store: RunStore, cloud: Cloud, config: EdgeConfig
) -> None:
    begin = datetime(2026, 1, 1)  # noqa: DTZ001
    runs = [
        record(f"{begin + timedelta(minutes=number):%Y%m%d-%H%M%S}-0000{number:04x}", model_name=f"model-{number % 7}")
        for number in range(1100)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda run: store.write(run, 0), runs))
    storage.upload(cloud, b"hello", "experiments/runs/model-1/notes.json")
    whole, newest = list_runs(cloud, config), list_runs(cloud, config, 30)
    assert newest.runs == whole.runs[:30]
    assert newest.total == whole.total == 1100
    assert list_runs(cloud, config, 2000).runs == whole.runs
    assert store.newest(10, "model-3").runs == store.list("model-3").runs[:10]


def test_a_run_whose_summary_was_cut_is_listed_whole(store: RunStore, cloud: Cloud, config: EdgeConfig) -> None:
    long = record(parameters={"text": "x" * 9000}, metrics={"accuracy": 0.9})
    store.write(long, 0)
    assert list_runs(cloud, config).runs == [long.summary()]


def test_garbage_among_the_records_is_named_and_skipped(store: RunStore, cloud: Cloud, config: EdgeConfig) -> None:
    store.write(record(), 0)
    for name in ("experiments/runs/notes.txt", "experiments/runs/digits/copy.json"):
        storage.upload(cloud, b"hello", name)
    blob = cloud.bucket.blob("experiments/runs/digits/broken.json")
    blob.metadata = {"edge-run": '{"run_id": "broken"}'}
    blob.upload_from_string("{}")
    moved = cloud.bucket.blob("experiments/runs/other/20261122-204655-1a2b3c4d.json")
    moved.metadata = {"edge-run": dump_summary(record())}
    moved.upload_from_string(dump_record(record()))
    listing = list_runs(cloud, config)
    assert [run.run_id for run in listing.runs] == ["20261122-204655-1a2b3c4d"]
    assert listing.unreadable == {
        "gs://my-bucket/experiments/runs/notes.txt": "it has no summary of a run",
        "gs://my-bucket/experiments/runs/digits/copy.json": "it has no summary of a run",
        "gs://my-bucket/experiments/runs/digits/broken.json": "it is not a record of a run: model_name: Field required",
        "gs://my-bucket/experiments/runs/other/20261122-204655-1a2b3c4d.json": (
            "it holds the run 20261122-204655-1a2b3c4d of `digits`"
        ),
    }


def test_a_run_that_cannot_be_read_is_told_with_the_command_that_removes_it(
    store: RunStore, cloud: Cloud, config: EdgeConfig
) -> None:
    run = store.write(record(), 0).record
    storage.upload(cloud, b"[", f"experiments/files/digits/{run.run_id}/metrics.json")
    with pytest.raises(EdgeError, match="it holds no series of metrics") as series:
        load_run(cloud, config, "digits", run.run_id)
    blob = cloud.bucket.blob(f"experiments/runs/digits/{run.run_id}.json")
    blob.metadata = {"edge-run": dump_summary(run)}
    blob.upload_from_string("{")
    with pytest.raises(EdgeError, match="it is not a record of a run") as whole:
        load_run(cloud, config, "digits", run.run_id)
    assert series.value.hint == whole.value.hint == f"invoke experiments.remove {run.run_id} removes the run"
    remove_run(cloud, config, list_runs(cloud, config).runs[0])
    assert list_runs(cloud, config).total == 0


def test_a_run_is_loaded_with_its_curves_and_output(
    store: RunStore, cloud: Cloud, config: EdgeConfig, tmp_path: Path
) -> None:
    written = record(sources={"train.py": 3})
    store.write(written, 0)
    bare = load_run(cloud, config, "digits", written.run_id)
    assert (bare.record, bare.series, bare.output) == (written, {}, b"")

    series = {"loss": Series(steps=[0, 1], values=[0.5, None], timestamps=["2026-11-22T00:00:00Z"] * 2)}
    (tmp_path / "output.txt").write_bytes(b"hello\n")
    store.write_series("digits", written.run_id, series)
    store.write_output("digits", written.run_id, tmp_path / "output.txt")
    store.write_source("digits", written.run_id, "train.py", b"x=1")
    loaded = load_run(cloud, config, "digits", written.run_id)
    assert (loaded.series, loaded.output) == (series, b"hello\n")
    assert store.output("digits", written.run_id, 4) == b"o\n"
    assert store.output("digits", written.run_id, 6) == b""
    assert store.source("digits", written.run_id, "train.py") == b"x=1"
    with pytest.raises(NotFoundError):
        store.source("digits", written.run_id, "other.py")


def test_nobody_loses_a_change_to_a_record(store: RunStore) -> None:
    written = store.write(record(), 0)
    store.write(written.record.changed(tags=("first",)), written.generation)
    with pytest.raises(ConflictError):
        store.write(written.record.changed(tags=("second",)), written.generation)
    store.update("digits", written.record.run_id, lambda now: (now or record()).changed(user="ada"), known=written)

    def tag(number: int) -> None:
        store.update(
            "digits",
            written.record.run_id,
            lambda now: (now or record()).changed(tags=(*(now or record()).tags, f"t{number}")),
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tag, range(4)))
    end = store.read("digits", written.record.run_id).record
    assert end.user == "ada"
    assert sorted(end.tags) == ["first", "t0", "t1", "t2", "t3"]


def test_a_removed_run_leaves_nothing(store: RunStore, cloud: Cloud) -> None:
    first, second = record("20261122-000000-00000001"), record("20261122-000000-00000010")
    for one in (first, second):
        store.write(one, 0)
        store.write_source("digits", one.run_id, "train.py", b"")
    store.remove("digits", first.run_id)
    left = sorted(blob.name for blob in cloud.storage.list_blobs("my-bucket"))
    assert left == [
        "experiments/files/digits/20261122-000000-00000010/sources/train.py",
        "experiments/runs/digits/20261122-000000-00000010.json",
    ]
    with pytest.raises(NotFoundError):
        store.read("digits", first.run_id)


def test_an_id_may_be_shortened_while_it_is_unique() -> None:
    runs = [record(run_id) for run_id in ("20261122-204655-aa", "20261122-204656-bb", "20261122-204655-aa-1")]
    assert find_run(runs, "20261122-204656").run_id == "20261122-204656-bb"
    assert find_run(runs, "20261122-204655-aa").run_id == "20261122-204655-aa"
    with pytest.raises(NotFoundError, match="2 runs begin with `20261122-204655`: 20261122-204655-aa, ") as several:
        find_run(runs, "20261122-204655")
    assert several.value.hint == "write more of the id"
    with pytest.raises(NotFoundError, match="there is no run `2025`"):
        find_run(runs, "2025")
