"""`invoke local.start`: from stopped servers to servers that answer."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.laboratory import Laboratory
from benchmarks.row import Peer, Row
from benchmarks.sample import Sample, timed

REPETITIONS = 9
AT_MOST = 3.0


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Time the whole command, which returns when the servers answer."""
    laboratory.initialised()
    starts, again = [], []
    for _ in range(REPETITIONS):
        laboratory.run("invoke", "local.stop")
        starts.append(timed(laboratory.runner("invoke", "local.start")))
        again.append(timed(laboratory.runner("invoke", "local.start")))
    peer = Peer("when they run", Sample(tuple(again)))
    yield Row("invoke local.start, stopped", Sample(tuple(starts)), peer, AT_MOST)
