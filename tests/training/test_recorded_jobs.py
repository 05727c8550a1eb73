"""Jobs through the emulator, and what the records say of them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.jobs import CUSTOM_JOBS
from edge_tasks.domain.runs import COMPLETED, FAILED, INTERRUPTED, QUEUED, RunRecord
from edge_tasks.experiments.listing import list_runs, load_run
from edge_tasks.repo.edge_yaml import load_config
from tests.repositories import Repository

TRAIN = ("python", "models/hello-world/train.py", "with", "is_vertex=True")

IN_JOB = 'import os\nif "EDGE_TRAINING_ORDER" in os.environ:\n    '

# As Vertex AI does it with a worker: all its processes end without a word, then its command is run again.
RESTARTED = """\
    from pathlib import Path
    print("attempt", flush=True)
    _run.log_scalar("attempts", 1)
    mark = Path(os.environ["ATTEMPTED"])
    if not mark.exists():
        import sys, time, psutil
        mark.touch()
        time.sleep(13)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os.execv(sys.executable, [sys.executable, "-m", "edge_tasks.training.job"])
"""


@pytest.fixture
def repository(hello_world: Repository) -> Repository:
    hello_world.run("invoke", "init")
    return hello_world


def cloud_of(root: Path) -> Cloud:
    return connect(load_config(root, {}), root)


def recorded(root: Path) -> list[RunRecord]:
    config, cloud = load_config(root, {}), cloud_of(root)
    return [load_run(cloud, config, run.model_name, run.run_id).record for run in list_runs(cloud, config).runs]


def test_a_job_whose_requirements_cannot_be_installed_is_recorded_with_the_reason(repository: Repository) -> None:
    path = repository.root / "edge.yaml"
    requirement = "    training_requirements: [no-such-package-as-this==1.0]\n"
    path.write_text(path.read_text().replace("    training_machine_type:", f"{requirement}    training_machine_type:"))
    assert repository.run(*TRAIN, check=False).returncode == 1
    (record,) = recorded(repository.root)
    assert record.status == FAILED
    assert "no-such-package-as-this" in f"{record.error}{record.trace}"


def test_a_job_that_ends_well_without_results_is_recorded_as_failed(repository: Repository) -> None:
    change_training(repository, f"{IN_JOB}os._exit(0)\n", "from edge_tasks")
    done = repository.run(*TRAIN, check=False)
    assert "the training ended without saving a model" in done.stderr
    (record,) = recorded(repository.root)
    assert record.status == FAILED
    assert record.error == "the training ended without saving a model"


def test_a_job_is_one_run_in_the_bucket_and_in_vertex_ai_experiments_also_when_it_is_asked_for_twice(
    repository: Repository,
) -> None:
    path = repository.root / "edge.yaml"
    path.write_text(path.read_text().replace("  # vertex_experiment: my-runs", "  vertex_experiment: my-runs"))
    repository.run(*TRAIN)
    repository.run(*TRAIN)
    (record,) = recorded(repository.root)
    assert record.status == COMPLETED
    assert record.model_version
    cloud = cloud_of(repository.root)
    name = f"{cloud.parent}/metadataStores/default/contexts/my-runs-{record.run_id}"
    context = cloud.metadata.get_context(name=name)
    metadata = json.loads(type(context).to_json(context))["metadata"]
    assert metadata["_state"] == "COMPLETE"
    assert metadata["_metrics"] == record.metrics
    assert metadata["_params"]["strategy"] == record.parameters["strategy"]


def change_training(repository: Repository, text: str, before: str) -> None:
    """Put `text` into the train.py, before the first `before`."""
    script = repository.root / "models/hello-world/train.py"
    script.write_text(script.read_text().replace(before, text + before, 1))


@pytest.mark.unmeasured
def test_a_job_may_use_several_processes_however_they_are_started(repository: Repository) -> None:
    """Python names train.py to a process that it starts afresh, which cannot find it by a name without its folder.

    A server that forks processes listens on a socket in the job's TMPDIR, whose path must not be long.
    """
    pools = """    import multiprocessing
    for way in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(way).Pool(1) as pool:
            assert pool.map_async(twice, [21]).get(60) == [42]
"""
    change_training(repository, pools, "    X = ")
    change_training(repository, "def twice(number):\n    return 2 * number\n\n", "@ex.config")
    done = repository.run(*TRAIN)
    assert "Traceback" not in done.stderr
    (record,) = recorded(repository.root)
    assert record.status == COMPLETED


def test_a_job_that_is_cancelled_before_it_began_is_recorded_as_interrupted(repository: Repository) -> None:
    change_training(repository, f"{IN_JOB}import time\n    time.sleep(600)\n", "from edge_tasks")
    process = repository.start("env", "EDGE_ON_INTERRUPT=cancel", *TRAIN)
    try:
        deadline = time.monotonic() + 120
        while not (found := recorded(repository.root)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert [record.status for record in found] == [QUEUED]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    (record,) = recorded(repository.root)
    assert (record.status, record.started) == (INTERRUPTED, None), printed
    assert record.ended
    (job,) = CUSTOM_JOBS.find(cloud_of(repository.root), "edge-model", "hello-world")
    assert (job.name, job.state) == (record.job, "CANCELLED")
    listed = repository.run("invoke", "experiments.list", "--status", "interrupted").stdout
    assert record.run_id in listed


def test_a_job_whose_worker_is_restarted_is_one_run_and_says_what_the_last_attempt_did(
    repository: Repository, tmp_path: Path
) -> None:
    change_training(repository, RESTARTED.replace('os.environ["ATTEMPTED"]', repr(str(tmp_path / "once"))), "    X = ")
    change_training(repository, "import os\n", "from edge_tasks")
    with (repository.root / "requirements.txt").open("a") as requirements:
        requirements.write("psutil\n")
    repository.run(*TRAIN)
    (record,) = recorded(repository.root)
    assert record.status == COMPLETED
    assert (record.error, record.trace) == (None, None)
    assert record.started
    assert record.ended
    assert record.ended > record.started
    assert (record.ended - record.started).total_seconds() < 13
    config, cloud = load_config(repository.root, {}), cloud_of(repository.root)
    run = load_run(cloud, config, record.model_name, record.run_id)
    assert run.series["attempts"].values == [1]
    assert run.output.count(b"attempt\n") == 1


def test_a_job_is_in_mongodb_too(repository: Repository, mongodb: str) -> None:
    import pymongo

    change_training(repository, f"{IN_JOB}os.environ['EDGE_MONGO_URI'] = {mongodb!r}\n", "from edge_tasks")
    result = repository.run(*TRAIN)
    assert "MongoDB" not in result.stderr
    (record,) = recorded(repository.root)
    with pymongo.MongoClient[dict[str, Any]](mongodb) as client:
        (entry,) = client["sacred"]["runs"].find()
    assert (entry["_id"], entry["status"]) == (record.run_id, "COMPLETED")
    assert entry["config"]["strategy"] == record.parameters["strategy"]


def test_each_trial_of_a_tuning_job_is_a_run_that_names_it(repository: Repository) -> None:
    ranges = "metric: score\ngoal: maximize\nparameters:\n  strategy: {values: [uniform, most_frequent]}\n"
    (repository.root / "models/hello-world/tune.yaml").write_text(ranges)
    repository.run("invoke", "model.tune", "--trials", "2", "--parallel", "2")
    records = recorded(repository.root)
    assert [record.status for record in records] == [COMPLETED, COMPLETED]
    (tags,) = {record.tags for record in records}
    assert {f"{tag.removeprefix('tuning-')}-{trial}" for tag in tags for trial in (1, 2)} == {
        record.run_id for record in records
    }
