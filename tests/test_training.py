"""Trainings as jobs that people can rely on: not paid for twice, not lost, and plain about what went wrong."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml
from typing_extensions import Self

from edge_tasks.cloud import jobs
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.domain.progress import Silence
from edge_tasks.errors import CloudError, ConfigError, NotFoundError
from edge_tasks.jobs.listing import find_job, list_jobs
from edge_tasks.jobs.waiter import PATIENCE, JobSession, JobWaiter
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools.signals import CANCEL
from tests.repositories import Repository
from tests.tcp_proxy import TcpProxy

TRAIN = ("python", "models/hello-world/train.py", "with", "is_vertex=True")
LIMIT = 90.0


@pytest.fixture
def repository(hello_world: Repository) -> Repository:
    hello_world.run("invoke", "init")
    return hello_world


def cloud_of(repository: Repository) -> Cloud:
    return connect(load_config(repository.root), repository.root)


def record(repository: Repository) -> dict[str, Any]:
    return dict(json.loads((repository.root / "models/hello-world/trained_model.json").read_text()))


def jobs_of(repository: Repository) -> list[dict[str, Any]]:
    cloud = cloud_of(repository)
    answer = requests.get(f"{cloud.vertex_url}/v1/{cloud.parent}/customJobs", timeout=30)
    return list(answer.json().get("customJobs", []))


def insert(repository: Repository, code: str) -> None:
    """Put `code` at the beginning of what the training does."""
    train = repository.root / "models" / "hello-world" / "train.py"
    body = code.strip().replace("\n", "\n    ")
    train.write_text(train.read_text().replace("    X = np.array", f"    {body}\n    X = np.array", 1))


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read what a command prints, up to the line with `text`; its own time limit ends it if that never comes."""
    assert process.stdout is not None
    assert any(text in line for line in iter(process.stdout.readline, ""))


@pytest.fixture
def gate(repository: Repository, tmp_path: Path) -> Path:
    """The training waits until this file is there; PATH.reached tells that it waits."""
    gate = tmp_path / "gate"
    insert(
        repository,
        f"""
import pathlib, time
pathlib.Path("{gate}.reached").touch()
while not pathlib.Path("{gate}").exists():
    time.sleep(0.05)
print("through the gate", flush=True)
""",
    )
    return gate


def reached(gate: Path) -> Path:
    return gate.with_name("gate.reached")


class TestTheSameTrainingAgain:
    def test_it_takes_the_result_that_is_there_unless_it_is_forced(self, repository: Repository) -> None:
        repository.run(*TRAIN)
        first = record(repository)
        again = repository.run(*TRAIN).stderr
        assert f"training job {first['job'].rpartition('/')[2]} has trained this already" in again
        assert {**record(repository), "trained_at": ""} == {**first, "trained_at": ""}
        repository.run(*TRAIN, "force=True")
        assert record(repository)["model"].endswith("@2")
        repository.run(*TRAIN, EDGE_FORCE="1")
        assert record(repository)["model"].endswith("@3")
        # Another parameter is another training; where it runs is none.
        repository.run(*TRAIN, "strategy=uniform", "publish=True")
        assert record(repository)["parameters"]["strategy"] == "uniform"
        assert len(jobs_of(repository)) == 4

    def test_it_follows_the_job_that_a_killed_training_left(self, repository: Repository, gate: Path) -> None:
        first = repository.start(*TRAIN)
        wait_for(reached(gate).exists)
        first.kill()
        first.communicate()
        second = repository.start(*TRAIN)
        read_until(second, "trains this already: following it")
        gate.touch()
        rest, _ = second.communicate(timeout=LIMIT)
        assert second.returncode == 0, rest
        assert "through the gate" in rest
        (job,) = jobs_of(repository)
        assert record(repository)["job"] == job["name"]
        assert record(repository)["run_id"] == job["labels"]["edge-run"]
        assert record(repository)["model"].endswith("@1")

    def test_of_several_at_once_one_alone_creates_the_job_and_the_version(
        self, repository: Repository, gate: Path
    ) -> None:
        trainings = [repository.start(*TRAIN) for _ in range(4)]
        for training in trainings:
            read_until(training, ": running")
        gate.touch()
        outputs = [training.communicate(timeout=LIMIT)[0] for training in trainings]
        assert [training.returncode for training in trainings] == [0] * 4, outputs
        (job,) = jobs_of(repository)
        cloud = cloud_of(repository)
        model, _, version = record(repository)["model"].partition("@")
        assert [found.version_id for found in cloud.models.list_model_versions(name=model)] == [version]
        assert record(repository)["run_id"] == job["labels"]["edge-run"]
        assert not list(cloud.storage.list_blobs(cloud.bucket_name, prefix="vertex/hello-world/claims/"))

    def test_a_model_that_was_registered_already_is_not_registered_again(self, repository: Repository) -> None:
        repository.run(*TRAIN)
        first = record(repository)
        (repository.root / "models/hello-world/trained_model.json").unlink()
        repository.run(*TRAIN)
        assert record(repository)["model"] == first["model"]

    def test_a_result_that_somebody_removed_is_trained_anew(self, repository: Repository) -> None:
        repository.run(*TRAIN)
        cloud = cloud_of(repository)
        for blob in cloud.storage.list_blobs(cloud.bucket_name, prefix="vertex/"):
            blob.delete()
        repository.run(*TRAIN)
        assert len(jobs_of(repository)) == 2

    def test_a_restarted_worker_keeps_what_it_has_delivered(self, repository: Repository) -> None:
        repository.run(*TRAIN)
        cloud = cloud_of(repository)

        def generations() -> dict[str, int]:
            return {blob.name: blob.generation for blob in cloud.storage.list_blobs(cloud.bucket_name)}

        before = generations()
        (job,) = cloud.jobs.list_custom_jobs(parent=cloud.parent)
        restarted = cloud.jobs.create_custom_job(
            parent=cloud.parent, custom_job={"display_name": "again", "job_spec": job.job_spec}
        )
        wait_for(lambda: jobs.CUSTOM_JOBS.get(cloud, restarted.name).done)
        assert jobs.CUSTOM_JOBS.get(cloud, restarted.name).state == "SUCCEEDED"
        assert generations() == before


class TestInterrupting:
    def interrupt(self, process: subprocess.Popen[str]) -> str:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        assert "Traceback" not in output
        return output

    @pytest.mark.parametrize("how", ["variable", "parameter"])
    def test_the_job_goes_on_when_it_is_to_be_left(self, repository: Repository, gate: Path, how: str) -> None:
        if how == "variable":
            repository.environment["EDGE_ON_INTERRUPT"] = "leave"
            process = repository.start(*TRAIN)
        else:
            process = repository.start(*TRAIN, "on_interrupt=leave")
        wait_for(reached(gate).exists)
        said = self.interrupt(process)
        assert "is still running; train again to follow it" in said
        assert "interrupted: the job is still running; nothing was changed here\n" in said
        gate.touch()
        repository.run(*TRAIN)
        assert len(jobs_of(repository)) == 1
        assert record(repository)["model"].endswith("@1")

    @pytest.mark.parametrize(("answer", "state"), [("leave", "JOB_STATE_RUNNING"), ("c", "JOB_STATE_CANCELLED")])
    def test_on_a_terminal_it_asks(self, repository: Repository, gate: Path, answer: str, state: str) -> None:
        with Terminal(repository, *TRAIN) as terminal:
            wait_for(reached(gate).exists)
            terminal.type("\x03")
            terminal.read_until("leave it, or cancel it? [leave/cancel] ")
            terminal.type(f"{answer}\n")
            assert "nothing was changed" in terminal.read_until("\n", after="interrupted:")
        assert jobs_of(repository)[0]["state"] == state

    def test_a_policy_that_is_none_is_refused_before_anything_is_sent(self, repository: Repository) -> None:
        _, hint = repository.fails(*TRAIN, EDGE_ON_INTERRUPT="explode")
        assert hint == "use `ask`, `cancel` or `leave`"
        assert jobs_of(repository) == []


class Terminal:
    """A command on its own terminal, as a person has it."""

    BECOME = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
    )

    def __init__(self, repository: Repository, *command: str) -> None:
        self._master, slave = os.openpty()
        fcntl.fcntl(self._master, fcntl.F_SETFL, os.O_NONBLOCK)
        environment = {**repository.environment, "TERM": "xterm"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.BECOME, *command],
            cwd=repository.root, env=environment, start_new_session=True, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        self._text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            assert self._process.wait(LIMIT) == 1
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str, after: str = "") -> str:
        """Read what is shown until `text` has come (after `after`), and return it."""

        def seen() -> bool:
            with contextlib.suppress(OSError):  # nothing to read just now, or the command has ended
                self._text += os.read(self._master, 65536).decode(errors="replace")
            return text in self._text.partition(after)[2] if after else text in self._text

        wait_for(seen)
        return self._text


class TestFailing:
    def test_the_error_says_why_and_the_traceback_is_printed_once(self, repository: Repository) -> None:
        insert(repository, 'print("before the end", flush=True)\nraise ValueError("the data are odd")')
        result = repository.run(*TRAIN, check=False)
        assert result.returncode == 1
        problem, _, hint = result.stderr.rpartition("error: the training job")[2].partition("\n\nhint: ")
        assert "ended as FAILED" in problem
        assert "non-zero status of 1" in problem
        assert problem.endswith("\n  | ValueError: the data are odd")
        for once in ("before the end", "Traceback (most recent", 'raise ValueError("the data are odd")'):
            assert result.stderr.count(once) == 1, once
        assert hint.startswith("fix what the log says, then train again")
        assert not (repository.root / "models/hello-world/trained_model.json").exists()

    def test_a_failed_job_is_no_result_to_take(self, repository: Repository, tmp_path: Path) -> None:
        mark = tmp_path / "works"
        insert(repository, f'import pathlib\nassert pathlib.Path("{mark}").exists()')
        assert repository.run(*TRAIN, check=False).returncode == 1
        mark.touch()
        repository.run(*TRAIN)
        assert [job["state"] for job in jobs_of(repository)] == ["JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"]

    def test_a_job_ends_at_its_time_limit(self, repository: Repository) -> None:
        cloud = cloud_of(repository)
        plan = jobs.JobPlan(
            image="python:3.10-slim",
            packages=[],
            module="this",
            output_uri=f"gs://{cloud.bucket_name}/out",
            timeout_seconds=1,
            machine_type="n1-standard-4",
        )
        spec = jobs.job_spec(plan)
        spec["worker_pool_specs"][0]["container_spec"]["args"] = ["sleep 600"]
        message = cloud.jobs.create_custom_job(
            parent=cloud.parent, custom_job={"display_name": "sleeper", "job_spec": spec}
        )
        job = follower(cloud, timeout=1.0).follow(jobs.CUSTOM_JOBS.get(cloud, message.name))
        assert (job.state, job.error) == ("FAILED", "The job has exceeded its timeout of 1 s and was stopped.")

    def test_a_job_that_overruns_what_the_service_promised_is_cancelled(
        self, repository: Repository, gate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a service might that never ends a job: the wait has its own limit."""
        monkeypatch.setattr("edge_tasks.jobs.waiter._OVERRUN", 1.0)
        process = repository.start(*TRAIN, "on_interrupt=leave")
        wait_for(reached(gate).exists)
        self_interrupted = TestInterrupting().interrupt(process)
        assert "is still running" in self_interrupted
        cloud = cloud_of(repository)
        (job,) = jobs.CUSTOM_JOBS.find(cloud, "edge-model", "hello-world")
        with pytest.raises(CloudError, match="did not end within 1 s and was cancelled"):
            follower(cloud, timeout=0.5).follow(job)
        wait_for(lambda: jobs.CUSTOM_JOBS.get(cloud, job.name).state == "CANCELLED")


def follower(cloud: Cloud, timeout: float, patience: float = PATIENCE) -> JobWaiter[jobs.Job]:
    session = JobSession(lambda: cloud, Silence(), CANCEL, lambda *_: None, patience)
    return JobWaiter(session=session, api=jobs.CUSTOM_JOBS, timeout=timeout, later="come again")


@pytest.fixture
def network(repository: Repository) -> Iterator[TcpProxy]:
    """A network that can be cut between the commands and Vertex AI; jobs have another."""
    card = repository.root / ".edge" / "emulator" / "servers.json"
    servers = json.loads(card.read_text())
    with TcpProxy(int(servers["vertex_url"].rpartition(":")[2])) as proxy:
        card.write_text(json.dumps({**servers, "vertex_url": f"http://127.0.0.1:{proxy.port}"}))
        yield proxy


class TestLosing:
    def test_a_lost_network_is_waited_for(self, repository: Repository, gate: Path, network: TcpProxy) -> None:
        process = repository.start(*TRAIN)
        wait_for(reached(gate).exists)
        network.cut()
        read_until(process, "trying again for up to 10 min")
        gate.touch()
        network.mend()
        rest, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, rest
        assert "there is an answer again" in rest
        assert record(repository)["model"].endswith("@1")

    def test_a_network_that_stays_away_is_given_up_and_the_job_goes_on(
        self, repository: Repository, gate: Path, network: TcpProxy
    ) -> None:
        process = repository.start(*TRAIN, "on_interrupt=leave")
        wait_for(reached(gate).exists)
        TestInterrupting().interrupt(process)
        cloud = cloud_of(repository)
        (job,) = jobs.CUSTOM_JOBS.find(cloud, "edge-model", "hello-world")
        network.cut()
        with pytest.raises(CloudError) as caught:
            follower(cloud, timeout=600.0, patience=0.5).follow(job)
        assert caught.value.hint == f"training job {job.job_id} is still running; come again"
        network.mend()
        gate.touch()
        repository.run(*TRAIN)
        assert len(jobs_of(repository)) == 1

    def test_servers_that_were_killed_are_started_again_and_the_lost_job_is_told(
        self, repository: Repository, gate: Path
    ) -> None:
        process = repository.start(*TRAIN)
        wait_for(reached(gate).exists)
        card = json.loads((repository.root / ".edge" / "emulator" / "servers.json").read_text())
        psutil.Process(card["pid"]).kill()
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        assert "ended as FAILED: The emulator was stopped while the job ran." in output
        assert output.rstrip().endswith("hint: it was not the training that failed: train again")
        assert "Traceback" not in output
        gate.touch()
        repository.run(*TRAIN)
        assert record(repository)["model"].endswith("@1")


class TestWhatAJobGets:
    def test_the_settings_of_edge_yaml(self, repository: Repository) -> None:
        settings = {
            "training_machine_type": "n1-highmem-8",
            "training_accelerator_type": "NVIDIA_TESLA_T4",
            "training_accelerator_count": 2,
            "training_spot": True,
            "training_service_account": "trainer@my-gcp-project.iam.gserviceaccount.com",
            "training_timeout_seconds": 1234,
            "training_container_image_uri": "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest",
            "training_requirements": ["joblib>=1"],
            "labels": {"team": "vision"},
        }
        path = repository.root / "edge.yaml"
        document = yaml.safe_load(path.read_text())
        document["models"]["hello-world"] |= settings
        path.write_text(yaml.safe_dump(document))
        repository.run(*TRAIN)
        (job,) = jobs_of(repository)
        spec = job["jobSpec"]
        (pool,) = spec["workerPoolSpecs"]
        assert pool["machineSpec"] == {
            "machineType": "n1-highmem-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 2,
        }  # fmt: skip
        assert spec["scheduling"] == {"timeout": "1234s", "strategy": "SPOT"}
        assert spec["serviceAccount"] == settings["training_service_account"]
        assert pool["pythonPackageSpec"]["executorImageUri"] == settings["training_container_image_uri"]
        assert job["labels"]["team"] == "vision"

    def test_several_replicas_are_a_primary_one_and_a_pool_of_others(self) -> None:
        plan = jobs.JobPlan("python:3.10", [], "m", "gs://b/o", 60, "n1-standard-4", replica_count=4)
        assert [pool["replica_count"] for pool in jobs.job_spec(plan)["worker_pool_specs"]] == [1, 3]

    def test_a_requirement_of_the_model_is_asked_for(self, repository: Repository) -> None:
        path = repository.root / "edge.yaml"
        document = yaml.safe_load(path.read_text())
        document["models"]["hello-world"]["training_requirements"] = ["no-such-distribution-anywhere>=1"]
        path.write_text(yaml.safe_dump(document))
        problem, _ = repository.fails(*TRAIN)
        assert "no-such-distribution-anywhere" in problem

    def test_modules_packages_and_files_of_the_models_folder(self, repository: Repository) -> None:
        folder = repository.root / "models" / "hello-world"
        (folder / "layers").mkdir()
        (folder / "layers" / "__init__.py").write_text("")
        (folder / "layers" / "dense.py").write_text("WIDTH = 7\n")
        (folder / "words.py").write_text(
            "from pathlib import Path\nWORDS = (Path(__file__).parent / 'words.txt').read_text()\n"
        )
        (folder / "words.txt").write_text("a few words")
        (folder / ".env").write_text("SECRET=1")
        insert(
            repository,
            "import layers.dense, words, os\nprint('got', layers.dense.WIDTH, words.WORDS, os.path.exists('.env'))",
        )
        listed = repository.run(*TRAIN, "dry_run=True").stderr
        assert "file: models/hello-world/layers/dense.py (10 bytes)" in listed
        assert "left out, it may hold a secret: models/hello-world/.env" in listed
        assert jobs_of(repository) == []
        assert "got 7 a few words False" in repository.run(*TRAIN).stderr

    def test_the_registered_model_carries_commit_data_and_parameters(self, repository: Repository) -> None:
        repository.run(*TRAIN, "strategy=prior")
        cloud, trained = cloud_of(repository), record(repository)
        version = cloud.models.get_model(name=trained["model"])
        # In addition to those of the job, a version's label tells what serves it.
        labels = dict(version.labels)
        assert labels.pop("edge-serving")
        assert labels == trained["labels"]
        assert re.fullmatch(r"[0-9a-f]{16}", trained["labels"]["edge-parameters"])
        told = json.loads(version.version_description)
        assert told["parameters"]["strategy"] == "prior"
        assert told.keys() == {"commit", "dirty", "data", "parameters"}


class TestAKilledTraining:
    def test_what_it_left_is_removed_by_the_next_and_that_of_a_living_one_is_not(
        self, repository: Repository, gate: Path
    ) -> None:
        here = ("python", "models/hello-world/train.py", "with", "is_vertex=False")
        place = repository.root / ".edge" / "training"

        def folders() -> set[Path]:
            return {path for path in place.iterdir() if path.is_dir()}

        living = repository.start(*here)
        wait_for(reached(gate).exists)
        (kept,) = folders()
        reached(gate).unlink()
        killed = repository.start(*here)
        wait_for(reached(gate).exists)
        assert len(folders()) == 2
        killed.kill()
        killed.communicate()
        assert len(folders()) == 2
        reached(gate).unlink()
        third = repository.start(*here)
        wait_for(reached(gate).exists)
        assert kept in folders()
        assert len(folders()) == 2
        gate.touch()
        for training in (living, third):
            output, _ = training.communicate(timeout=LIMIT)
            assert training.returncode == 0, output
        assert folders() == set()


@pytest.mark.slow
class TestJobsAsCommands:
    def test_a_job_is_listed_read_while_it_runs_and_cancelled(self, repository: Repository, gate: Path) -> None:
        training = repository.start(*TRAIN)
        wait_for(reached(gate).exists)
        (job,) = json.loads(repository.run("invoke", "jobs.list", "--json").stdout)
        assert (job["kind"], job["model"], job["state"]) == ("training", "hello-world", "running")
        following = repository.start("edge", "jobs.logs", job["run"], "--follow")
        read_until(following, "Started")
        said = repository.run("invoke", "jobs.cancel", job["job"][:6]).stderr
        assert said == f"> training job {job['job']} of `hello-world`: cancelled\n"
        rest, _ = following.communicate(timeout=LIMIT)
        assert following.returncode == 1
        assert rest.endswith(f"> training job {job['job']}: cancelled\n")
        output, _ = training.communicate(timeout=LIMIT)
        assert "ended as CANCELLED" in output
        assert output.rstrip().endswith("hint: it was not the training that failed: train again")
        assert repository.fails("invoke", "jobs.cancel", job["job"]) == (
            f"the training job {job['job']} has ended already, as cancelled",
            "invoke jobs.list --state running",
        )
        listed = json.loads(repository.run("invoke", "jobs.list", "--state", "cancelled", "--json").stdout)
        assert [one["job"] for one in listed] == [job["job"]]
        with pytest.raises(NotFoundError, match="there is no job `none`"):
            find_job(cloud_of(repository), load_config(repository.root), "none")
        with pytest.raises(ConfigError, match="`canceled` is not a state") as caught:
            list_jobs(cloud_of(repository), load_config(repository.root), state="canceled")
        assert caught.value.hint == "did you mean `cancelled`?"
