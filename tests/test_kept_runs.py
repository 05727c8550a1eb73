"""Runs that the bucket did not take are kept whole, and sent once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import COMPLETED, RUNNING, RunRecord, Series, utc_now
from edge_tasks.errors import EdgeError
from edge_tasks.experiments.listing import list_runs, load_run
from edge_tasks.tracking.outbox import Outbox

SERIES = {"loss": Series(steps=[0], values=[0.5], timestamps=["2026-11-22T00:00:00Z"])}


@pytest.fixture
def kept(config: EdgeConfig, tmp_path: Path) -> Outbox:
    return Outbox.of(config, tmp_path)


def record(number: int = 0, **values: Any) -> RunRecord:
    return RunRecord(
        **{
            "run_id": f"20261122-204655-{number:08x}",
            "model_name": "digits",
            "status": COMPLETED,
            "created": utc_now(),
            "sources": {"lib/x.py": 3},
            **values,
        }
    )


def keep(kept: Outbox, folder: Path, *records: RunRecord) -> None:
    (folder / "output.txt").write_bytes(b"printed \xff")
    (folder / "x.py").write_bytes(b"x=1")
    for each in records:
        kept.keep(each, SERIES, folder / "output.txt", {"lib/x.py": folder / "x.py"})


def test_a_kept_run_is_sent_whole_and_once(
    kept: Outbox, store: RunStore, cloud: Cloud, config: EdgeConfig, tmp_path: Path
) -> None:
    keep(kept, tmp_path, record(1), record(2), record(3))
    assert kept.send(store, most=2) == [record(1).run_id, record(2).run_id]
    assert kept.send(store) == [record(3).run_id]
    assert kept.send(store) == []
    sent = load_run(cloud, config, "digits", record(1).run_id)
    assert (sent.record.sources, sent.series, sent.output) == ({"lib/x.py": 3}, SERIES, b"printed \xff")
    assert store.source("digits", record(1).run_id, "lib/x.py") == b"x=1"


def test_what_was_recorded_before_is_completed_and_keeps_its_tags(
    kept: Outbox, store: RunStore, tmp_path: Path
) -> None:
    store.write(record(status=RUNNING, tags=("good",)), 0)
    keep(kept, tmp_path, record(metrics={"score": 0.75}))
    kept.send(store)
    now = store.read("digits", record().run_id).record
    assert (now.status, now.metrics, now.tags) == (COMPLETED, {"score": 0.75}, ("good",))


def test_several_processes_may_send_at_once(
    kept: Outbox, store: RunStore, cloud: Cloud, config: EdgeConfig, tmp_path: Path
) -> None:
    keep(kept, tmp_path, *(record(number) for number in range(8)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: kept.send(store), range(4)))
    assert len(list_runs(cloud, config).runs) == 8
    assert list(kept.folder.iterdir()) == []


def test_runs_wait_for_their_own_bucket(config: EdgeConfig, tmp_path: Path) -> None:
    other = config.model_copy(update={"target": "gcp"})
    assert Outbox.of(config, tmp_path) != Outbox.of(other, tmp_path)


def test_what_is_no_kept_run_is_named(kept: Outbox, store: RunStore) -> None:
    (kept.folder / "broken").mkdir(parents=True)
    (kept.folder / "broken" / "record.json").write_text("{}")
    with pytest.raises(EdgeError, match=f"{kept.folder}/broken: it is not a record of a run"):
        kept.send(store)
