"""Releases that are ended at random moments: nothing is forgotten, and the next release puts everything right.

EDGE_INTERRUPTIONS says how often, EDGE_TESTS_SEED where the random moments begin.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from typing import Any

import pytest

from edge_tasks.cloud.state_store import StateStore
from tests import seeds
from tests.test_releases import NAME, Team, shared

__all__ = ["shared"]

COUNT = int(os.environ.get("EDGE_INTERRUPTIONS", "8"))
FIRST_SEED = seeds.first()

AWAY = [["model.undeploy"], ["model.remove", "--yes"]]
COMMANDS = [["model.deploy"], ["model.deploy", "--traffic", "20"], ["model.promote"], ["model.rollback"], *AWAY]
# Seconds within which a release on a quiet machine is over.
LONGEST = 2.5


@pytest.mark.unmeasured
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + COUNT))
def test_a_release_that_is_ended_at_any_moment_is_put_right_by_the_next(shared: Team, seed: int) -> None:
    chance = random.Random(seed)
    command = COMMANDS[seed % len(COMMANDS)]
    number = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    prepare(shared, command)

    process = shared.repository.start("invoke", *command)
    try:
        process.wait(chance.uniform(0.3, LONGEST))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=120)

    if number == signal.SIGKILL:
        shared.repository.run("invoke", "state.unlock", "--yes", check=False)
    elif output.startswith(">"):  # else Python was still starting
        assert "Traceback" not in output
        # Below zero: it had done everything, and Python was ending.
        assert process.returncode in {0, 130, 143, -signal.SIGINT, -signal.SIGTERM}, output
    assert StateStore(shared.cloud).holder() is None
    if command not in AWAY:
        assert sum(shared.traffic.values()) == 100

    done = shared.deploy()
    assert (shared.traffic, shared.on_endpoint) == ({done.version: 100}, {done.version})
    assert (shared.state.operation, shared.state.trial_endpoint, shared.state.candidate) == (None, None, None)
    assert shared.all_endpoints() == [f"{NAME}-endpoint"]
    runs = Counter(version.labels["edge-run"] for version in versions(shared))
    assert set(runs.values()) == {1}


def prepare(team: Team, command: list[str]) -> None:
    """Let a version serve, so that `command` has something to do."""
    team.train()
    team.deploy()
    team.train()
    if command == ["model.promote"]:
        team.deploy(traffic=20)
    if command == ["model.rollback"]:
        team.deploy()


def versions(team: Team) -> list[Any]:
    """Return every version of the model in the registry, as Vertex AI lists them."""
    deployed = team.state.deployed
    assert deployed is not None
    return list(team.cloud.models.list_model_versions(name=deployed.model.partition("@")[0]))
