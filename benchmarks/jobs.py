"""Custom jobs: what running a script as a job costs beyond running it."""

from __future__ import annotations

import io
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.laboratory import Laboratory
from benchmarks.row import DifferenceRow, Peer, Row
from benchmarks.sample import compared
from edge_tasks.cloud import jobs
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.repo.edge_yaml import load_config

POLL_INTERVAL = 0.02
AT_MOST = 2.0
REPETITIONS = 15
SCRIPT = "print(sum(range(1_000_000)))"
MODULE = "benchmark_script"
IMAGE = "python:3.10-slim"
PACKAGE = "packages/benchmark-script-1.0.tar.gz"


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare a script as a job with the script itself: given as a command, and as a package like a training's."""
    laboratory.initialised()
    cloud = connect(load_config(laboratory.repository), laboratory.repository)
    script = laboratory.folder / f"{MODULE}.py"
    script.write_text(SCRIPT, encoding="utf-8")
    cloud.objects.write(PACKAGE, _package())
    directly = laboratory.runner(sys.executable, str(script))
    as_package = _package_runner(cloud)
    command, package, direct = compared(
        [_command_runner(cloud), as_package, directly], repetitions=REPETITIONS, warm_ups=3
    )
    yield DifferenceRow("custom job, a command", command, Peer("directly", direct), AT_MOST)
    yield DifferenceRow("custom job, a package", package, Peer("directly", direct), AT_MOST)


def _command_runner(cloud: Cloud) -> Callable[[], None]:
    pool = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": {"image_uri": IMAGE, "command": ["python3", "-c"], "args": [SCRIPT]},
    }
    job = {"display_name": "a command", "job_spec": {"worker_pool_specs": [pool]}}

    def run() -> None:
        wait(cloud, cloud.jobs.create_custom_job(parent=cloud.parent, custom_job=job).name)

    return run


def _package_runner(cloud: Cloud) -> Callable[[], None]:
    def run() -> None:
        plan = jobs.JobPlan(
            image=IMAGE,
            packages=[f"gs://{cloud.bucket_name}/{PACKAGE}"],
            module=MODULE,
            machine_type="n1-standard-4",
            output_uri=f"gs://{cloud.bucket_name}/benchmark",
            timeout_seconds=60,
        )
        wait(cloud, jobs.create_job(cloud, "a package", plan, labels={}).name)

    return run


def wait(cloud: Cloud, name: str) -> None:
    """Look every 20 ms until the job has succeeded."""
    while True:
        job: Any = cloud.jobs.get_custom_job(name=name)
        state = job.state.name.removeprefix("JOB_STATE_")
        if state == "SUCCEEDED":
            return
        if state in jobs.DONE_STATES:
            raise RuntimeError(f"{name} ended as {state}: {job.error.message}")
        time.sleep(POLL_INTERVAL)


def _package() -> bytes:
    """Return a source distribution that holds the script as a module."""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: benchmark-script\nVersion: 1.0\n",
        "setup.py": f"from setuptools import setup\nsetup(name='benchmark-script', version='1.0', "
        f"py_modules=['{MODULE}'])\n",
        f"{MODULE}.py": SCRIPT,
    }
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"benchmark-script-1.0/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return output.getvalue()
