"""Trainings as jobs that are disturbed at random moments: no model is lost, and none is recorded that is not good.

EDGE_DISTURBANCES is how many are tried (default 3), EDGE_TESTS_SEED the first one's seed, to repeat what failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_tasks.cloud import jobs
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.repo import layout
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.files import folder_sha256
from tests import seeds
from tests.repositories import Repository
from tests.tcp_proxy import TcpProxy

COUNT = int(os.environ.get("EDGE_DISTURBANCES", "3"))
FIRST_SEED = seeds.first()

TRAIN = ("python", "models/hello-world/train.py", "with", "is_vertex=True")


class Laboratory:
    """One repository whose network to Vertex AI can be cut, and its training as a job."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.card = repository.root / ".edge" / "emulator" / "servers.json"
        self.folder = repository.root / "models" / "hello-world"
        self._train = (self.folder / "train.py").read_text()
        self.duration = 0.0

    def measure(self) -> None:
        """Note how long a training takes that nobody disturbs, so that every moment of it can be hit."""
        started = time.monotonic()
        self.change_training(-1)
        self.repository.run(*TRAIN)
        self.duration = time.monotonic() - started

    @property
    def cloud(self) -> Cloud:
        return connect(load_config(self.repository.root), self.repository.root)

    def change_training(self, number: int) -> None:
        """Make it another training: one that is not the same as any before, and takes a second."""
        slow = f"import time; time.sleep(1.0)  # number {number}\n    X = np.array"
        (self.folder / "train.py").write_text(self._train.replace("    X = np.array", f"    {slow}", 1))

    def trained(self) -> dict[str, Any] | None:
        try:
            return dict(json.loads((self.folder / "trained_model.json").read_text()))
        except FileNotFoundError:
            return None

    def check_record(self) -> None:
        """What is recorded is a job that succeeded, the artifact it made, and the one version of its run."""
        trained = self.trained()
        if trained is None:
            return
        cloud = self.cloud
        job = jobs.CUSTOM_JOBS.get(cloud, trained["job"])
        assert job.state == "SUCCEEDED"
        assert job.labels["edge-run"] == trained["run_id"]
        assert folder_sha256(self.folder / "model") == trained["artifact_sha256"]
        assert json.loads((self.folder / "metrics.json").read_text()) == trained["metrics"] == {"score": 0.75}
        versions = self.versions(cloud)
        assert versions.count(trained["run_id"]) == 1

    def versions(self, cloud: Cloud) -> list[str]:
        """Return the run of each registered version; none has two."""
        model_id = layout.registry_model_id(cloud.bucket_name, "hello-world")
        try:
            listed = list(cloud.models.list_model_versions(name=f"{cloud.parent}/models/{model_id}"))
        except Exception as error:  # none is registered yet
            assert "404" in str(error), error
            return []
        runs = [version.labels["edge-run"] for version in listed]
        assert len(runs) == len(set(runs))
        return runs

    def jobs(self) -> list[jobs.Job]:
        return jobs.CUSTOM_JOBS.find(self.cloud, "edge-model", "hello-world")

    def processes(self, words: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if words in line and str(self.repository.root) in line + process.cwd():
                    found.append(process)
        return found


@contextlib.contextmanager
def network(card: Path) -> Any:
    """Lead what looks at `card` through a network that can be cut."""
    servers = json.loads(card.read_text())
    with TcpProxy(int(servers["vertex_url"].rpartition(":")[2])) as proxy:
        card.write_text(json.dumps({**servers, "vertex_url": f"http://127.0.0.1:{proxy.port}"}))
        try:
            yield proxy
        finally:
            if json.loads(card.read_text())["pid"] == servers["pid"]:
                card.write_text(json.dumps(servers))


def kill_the_submitter(_: Laboratory, process: subprocess.Popen[str], __: TcpProxy) -> None:
    send(process, signal.SIGKILL)


def terminate_the_submitter(_: Laboratory, process: subprocess.Popen[str], __: TcpProxy) -> None:
    send(process, signal.SIGTERM)


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        os.killpg(process.pid, number)


def kill_the_job(laboratory: Laboratory, _: subprocess.Popen[str], __: TcpProxy) -> None:
    for job in laboratory.processes("edge_tasks.training.job"):
        with contextlib.suppress(psutil.Error):
            job.kill()


def kill_the_servers(laboratory: Laboratory, _: subprocess.Popen[str], __: TcpProxy) -> None:
    psutil.Process(json.loads(laboratory.card.read_text())["pid"]).kill()


def cut_the_network(_: Laboratory, __: subprocess.Popen[str], proxy: TcpProxy) -> None:
    proxy.cut()
    time.sleep(random.uniform(0.1, 4.0))
    proxy.mend()


DISTURBANCES: tuple[Callable[[Laboratory, subprocess.Popen[str], TcpProxy], None], ...] = (
    kill_the_submitter,
    terminate_the_submitter,
    kill_the_job,
    kill_the_servers,
    cut_the_network,
)


@pytest.mark.timeout(120 + 90 * COUNT)
def test_no_disturbance_loses_a_model_or_records_a_bad_one(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    laboratory = Laboratory(hello_world)
    laboratory.measure()
    for seed in range(FIRST_SEED, FIRST_SEED + COUNT):
        disturb(laboratory, seed)


def disturb(laboratory: Laboratory, seed: int) -> None:
    random.seed(seed)
    disturbance = DISTURBANCES[seed % len(DISTURBANCES)]
    moment = random.uniform(0.0, laboratory.duration)
    say(f"--- EDGE_TESTS_SEED={seed}: {disturbance.__name__} after {moment:.2f} s\n")
    laboratory.change_training(seed)
    earlier = {job.name for job in laboratory.jobs()}
    before = laboratory.trained()
    with network(laboratory.card) as proxy:
        process = laboratory.repository.start(*TRAIN)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        disturbance(laboratory, process, proxy)
        output, _ = process.communicate(timeout=120)
    say(output)
    laboratory.check_record()
    if process.returncode == 0:
        assert laboratory.trained() != before
    elif laboratory.trained() is not None:
        assert laboratory.trained() == before

    # The same again, undisturbed: a job that has succeeded, or still runs, is not repeated.
    new = [job for job in laboratory.jobs() if job.name not in earlier]
    good = [job.name for job in new if job.state == "SUCCEEDED" or not job.done]
    say(laboratory.repository.run(*TRAIN).stderr)
    laboratory.check_record()
    trained = laboratory.trained()
    assert trained is not None
    assert trained != before
    if good:
        assert trained["job"] in good
    assert trained["job"] not in earlier


def say(text: str) -> None:
    """Print what is shown when the test fails."""
    sys.stdout.write(text)
