"""A training as its user sees it: as a job, and in the process."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.laboratory import Laboratory
from benchmarks.row import Peer, Row
from benchmarks.sample import compared

TRAINING = ("python", "models/digits/train.py", "with")


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare `is_vertex=True` with `is_vertex=False`, whole commands."""
    laboratory.trained()
    as_job = laboratory.runner(*TRAINING, "is_vertex=True", "force=True")
    in_process = laboratory.runner(*TRAINING, "is_vertex=False")
    job, process = compared([as_job, in_process], repetitions=5)
    yield Row("train.py with is_vertex=True", job, Peer("with is_vertex=False", process))
