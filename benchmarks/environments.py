"""Isolated environments: what the first one costs, from packages that uv has kept, and what a job in one costs more."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from benchmarks.jobs import IMAGE, wait
from benchmarks.laboratory import Laboratory
from benchmarks.row import DifferenceRow, Peer, Row
from benchmarks.sample import Sample, compared, timed
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.emulator.runtime.environments import Environments
from edge_tasks.emulator.runtime.image_contents import of_training
from edge_tasks.jobs.package import TRAINING_REQUIREMENTS, repository_requirements
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process

AT_MOST_FIRST = 10.0
AT_MOST_MORE = 0.2
REPETITIONS = 15
FIRSTS = 3


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Make the environment of the example's training, and run a job in one as often as in the shared one, by turns."""
    laboratory.initialised()
    requirements = (*repository_requirements(laboratory.repository / "requirements.txt"), *TRAINING_REQUIREMENTS)
    contents = of_training(IMAGE)._replace(requirements=requirements)
    caches = (laboratory.folder / "environments" / str(number) for number in itertools.count())
    # The first of all fetches the packages.
    firsts = [timed(lambda: Environments(next(caches)).ensure(contents)) for _ in range(FIRSTS + 1)][1:]
    yield Row("an isolated environment, the first time", Sample(tuple(firsts)), limit=AT_MOST_FIRST)
    config = load_config(laboratory.repository)
    cloud = connect(config, laboratory.repository)

    def run(kind: str) -> None:
        emulator_process.ensure_running(laboratory.repository, kind)
        _job(cloud)

    try:
        isolated, shared = compared([lambda: run("isolated"), lambda: run("shared")], REPETITIONS, warm_ups=3)
    finally:
        emulator_process.ensure_running(laboratory.repository)
    yield DifferenceRow("a job in an isolated environment", isolated, Peer("shared", shared), AT_MOST_MORE)


def _job(cloud: Cloud) -> None:
    pool: dict[str, Any] = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": {"image_uri": IMAGE, "command": ["python3", "-c"], "args": ["import json"]},
    }
    job = {"display_name": "a command", "job_spec": {"worker_pool_specs": [pool]}}
    wait(cloud, cloud.jobs.create_custom_job(parent=cloud.parent, custom_job=job).name)
