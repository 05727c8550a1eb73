"""A claim in the bucket: one holder at a time, and a dead one does not stay in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_tasks.cloud import object_lock
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.object_lock import claimed
from edge_tasks.repo.edge_yaml import load_config
from tests.buckets import bucket

NAME = "vertex/my-model/claims/1"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bucket(tmp_path_factory.mktemp("claims")) as root:
        yield root


@pytest.fixture
def cloud(root: Path) -> Cloud:
    return connect(load_config(root, {}), root)


def test_of_several_who_find_nothing_at_once_one_alone_makes_it(cloud: Cloud) -> None:
    made: list[int] = []

    def find_or_make(number: int) -> None:
        with claimed(cloud, NAME):
            if not made:
                time.sleep(0.2)  # time for another to find nothing, too
                made.append(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(find_or_make, range(6)))
    assert len(made) == 1
    assert not cloud.bucket.blob(NAME).exists()


@pytest.mark.slow
def test_the_claim_of_a_dead_holder_is_taken_over(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_lock, "STALE_AGE", 1.0)
    cloud.bucket.blob(NAME).upload_from_string("a token of somebody who died")
    started = time.monotonic()
    with claimed(cloud, NAME):
        assert time.monotonic() - started < 30
    assert not cloud.bucket.blob(NAME).exists()
