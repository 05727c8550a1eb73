"""`init` and `teardown` that are ended at random moments: the same again does the rest.

EDGE_INTERRUPTIONS says how often, EDGE_TESTS_SEED where the random moments begin.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.state import ModelState
from edge_tasks.releases import teardown
from tests import seeds
from tests.repositories import Repository, copy
from tests.test_releases import Team, shared

__all__ = ["shared"]

COUNT = int(os.environ.get("EDGE_INTERRUPTIONS", "3"))
FIRST_SEED = seeds.first()
SEEDS = range(FIRST_SEED, FIRST_SEED + COUNT)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def end_amid(repository: Repository, chance: random.Random, longest: float, *command: str) -> signal.Signals:
    """Start a command and end it at a random moment, if it still runs; return the signal."""
    number = chance.choice(SIGNALS)
    process = repository.start(*command)
    try:
        process.wait(chance.uniform(0.3, longest))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=120)
    if number != signal.SIGKILL:
        assert "in guarded" not in output, output  # a traceback is Python's own, before a task has begun
        # With the status of a signal Python ends that was starting.
        assert process.returncode in {0, 130, 1, -number}, output
    return number


@pytest.mark.parametrize("seed", SEEDS)
def test_a_setup_that_is_ended_at_any_moment_is_completed_by_the_next(
    baked: dict[str, Path], tmp_path: Path, seed: int
) -> None:
    repository = copy(baked["hello-world"], tmp_path)
    try:
        end_amid(repository, random.Random(seed), 6.0, "invoke", "init")
        repository.run("invoke", "init")
        assert "would" not in repository.run("invoke", "init", "--dry-run").stderr
        assert repository.run("invoke", "state.show").stdout
    finally:
        repository.run("invoke", "local.stop", check=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_teardown_that_is_ended_at_any_moment_is_completed_by_the_next(shared: Team, seed: int) -> None:
    chance = random.Random(seed)
    shared.train()
    shared.deploy()
    shared.train()
    shared.deploy(traffic=20)
    if end_amid(shared.repository, chance, 3.0, "invoke", "teardown", "--yes") == signal.SIGKILL:
        shared.repository.run("invoke", "state.unlock", "--yes", check=False)
    assert StateStore(shared.cloud).holder() is None
    shared.repository.run("invoke", "teardown", "--yes")
    assert shared.all_endpoints() == []
    assert teardown.find(shared.cloud, shared.config, bucket=False) == []
    assert shared.state == ModelState()
