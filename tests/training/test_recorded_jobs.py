"""Jobs through the emulator, and what the records say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tasks.adapters.cloud import Cloud, connect
from edge_tasks.values.edge_yaml import load_config
from edge_tasks.values.run_record import COMPLETED, FAILED, RunRecord
from edge_tasks.work.experiments import list_runs, load_run
from tests.repositories import Repository

TRAIN = ("python", "models/hello-world/train.py", "with", "is_vertex=True")


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
