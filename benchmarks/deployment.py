"""`invoke model.deploy` of a new version, while the one before serves."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.laboratory import Laboratory
from benchmarks.row import Peer, Row
from benchmarks.sample import Sample, timed
from benchmarks.training import TRAINING

REPETITIONS = 5
AT_MOST = 8.0
LOADING = "import joblib; joblib.load('models/digits/model/model.joblib')"


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Time the whole command and, to compare, an interpreter that loads the same model, as every deployment does."""
    laboratory.deployed()
    deployments, loads = [], []
    for _ in range(REPETITIONS):
        laboratory.run(*TRAINING, "is_vertex=True", "force=True")
        deployments.append(timed(laboratory.runner("invoke", "model.deploy")))
        loads.append(timed(laboratory.runner("python", "-c", LOADING)))
    peer = Peer("python loading the model", Sample(tuple(loads)))
    yield Row("invoke model.deploy, a new version", Sample(tuple(deployments)), peer, AT_MOST)
