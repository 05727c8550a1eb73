"""`invoke --list`, which should cost what invoke itself costs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.laboratory import Laboratory
from benchmarks.row import Peer, RatioRow, Row
from benchmarks.sample import compared

BARE = """from invoke import task


@task
def nothing(context):
    pass
"""
AT_MOST = 1.5


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare with a folder that has one empty task."""
    bare = laboratory.folder / "bare"
    bare.mkdir(exist_ok=True)
    (bare / "tasks.py").write_text(BARE, encoding="utf-8")
    list_ours = laboratory.runner("invoke", "--list")
    list_bare = laboratory.runner("invoke", "--list", folder=bare)
    ours, empty = compared([list_ours, list_bare], repetitions=21, warm_ups=3)
    yield RatioRow("invoke --list", ours, Peer("of one empty task", empty), AT_MOST)
