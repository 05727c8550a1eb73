"""`pipeline.*`: the DVC pipeline of a repository, run by the emulator's Vertex AI Pipelines as on Google's."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.repositories import Repository, copy

pytestmark = pytest.mark.slow

MODEL = Path("models") / "hello-world"
FILE = f"{MODEL.as_posix()}/dvc.yaml"
STAGES = ("hello-world-prepare", "hello-world-words", "hello-world-train", "hello-world-evaluate")
REGISTER = "hello-world-register"


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository with data that were added by hand, stages that make a file and a folder, and one after the training.

    Nothing was ever trained or prepared on this machine. Only the training imports more than Python's own modules.
    """
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("pipelines"))
    try:
        repository.run("invoke", "init")
        _extend(repository)
        repository.run("invoke", "pipeline.run")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


SCRIPTS = {
    "prepare": """\
        from pathlib import Path

        data = Path(__file__).resolve().parents[2] / "data"
        (data / "rows.csv").write_text("".join(f"{len(name)}\\n" for name in (data / "names.txt").read_text().split()))
        """,
    "words": """\
        from pathlib import Path

        data = Path(__file__).resolve().parents[2] / "data"
        (data / "words").mkdir()
        for word in (data / "names.txt").read_text().split():
            (data / "words" / f"{word}.txt").write_text(word)
        """,
    "evaluate": """\
        import json
        from pathlib import Path

        here, data = Path(__file__).parent, Path(__file__).resolve().parents[2] / "data"
        found = {"model": (here / "model" / "model.joblib").stat().st_size > 0}
        found["words"] = sorted(path.name for path in (data / "words").iterdir())
        (here / "evaluation.json").write_text(json.dumps(found))
        """,
}


def _extend(repository: Repository) -> None:
    root = repository.root
    (root / "data" / "names.txt").write_text("zero\none\n")
    repository.run("dvc", "add", "--quiet", "data/names.txt")
    for name, script in SCRIPTS.items():
        (root / MODEL / f"{name}.py").write_text(textwrap.dedent(script))
    path = root / FILE
    document = yaml.safe_load(path.read_text())
    stages = document["stages"]
    stages["train"]["deps"].append("../../data/rows.csv")
    for name, made in (("prepare", "rows.csv"), ("words", "words")):
        stages[name] = {
            "cmd": f"python {name}.py",
            "deps": [f"{name}.py", "../../data/names.txt"],
            "outs": [f"../../data/{made}"],
        }
    stages["evaluate"] = {
        "cmd": "python evaluate.py",
        "deps": ["evaluate.py", "model", "../../data/words"],
        "metrics": [{"evaluation.json": {"cache": False}}],
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    repository.run("git", "add", "--all")
    repository.run("git", "-c", "user.name=Zoé", "-c", "user.email=zoe@example.com", "commit", "--quiet", "-m", "More")


def trained(repository: Repository) -> dict[str, Any]:
    return dict(json.loads((repository.root / MODEL / "trained_model.json").read_text()))


def jobs(repository: Repository) -> list[Any]:
    """Return the pipeline jobs as the emulator has them, newest first."""
    url = json.loads((repository.root / ".edge" / "emulator" / "servers.json").read_text())["vertex_url"]
    project = yaml.safe_load((repository.root / "edge.yaml").read_text())["google_cloud_project"]
    address = f"{url}/v1/projects/{project['project_id']}/locations/{project['region']}/pipelineJobs"
    return list(requests.get(address, timeout=30).json()["pipelineJobs"])


def states(repository: Repository) -> dict[str, str]:
    """Return the states of the newest job's tasks."""
    return {task["taskName"]: task["state"] for task in jobs(repository)[0]["jobDetail"]["taskDetails"][1:]}


def test_it_leaves_what_dvc_repro_leaves(repository: Repository) -> None:
    (job,) = json.loads(repository.run("invoke", "pipeline.list", "--json").stdout)
    assert {task["name"]: task["state"] for task in job["tasks"]} == dict.fromkeys((*STAGES, REGISTER), "succeeded")
    facts = trained(repository)
    assert facts["job"] == job["name"]
    assert facts["data"].keys() == {"data/rows.csv"}
    evaluation = json.loads((repository.root / MODEL / "evaluation.json").read_text())
    assert evaluation == {"model": True, "words": ["one.txt", "zero.txt"]}
    again = repository.run("dvc", "repro", FILE)
    assert "Running stage" not in again.stdout + again.stderr
    assert trained(repository) == facts


def test_one_record_tells_of_the_run_and_of_the_version_in_the_registry(repository: Repository) -> None:
    (run,) = json.loads(repository.run("invoke", "experiments.list", "--json").stdout)
    facts = trained(repository)
    assert (run["run_id"], run["status"]) == (facts["run_id"], "COMPLETED")
    shown = json.loads(repository.run("invoke", "experiments.show", facts["run_id"], "--json").stdout)
    assert shown["model_version"] == facts["model"]
    assert shown["job"] == facts["job"]
    assert shown["commit"] == facts["commit"]
    assert shown["metrics"] == json.loads((repository.root / MODEL / "metrics.json").read_text())


def test_the_same_code_and_data_give_the_same_run_again(repository: Repository) -> None:
    before = trained(repository)
    result = repository.run("invoke", "pipeline.run")
    assert states(repository) == {**dict.fromkeys(STAGES, "SKIPPED"), REGISTER: "SUCCEEDED"}
    assert "holds the results of this run already" in result.stderr
    assert result.stdout == "models/hello-world/trained_model.json\n"
    assert trained(repository) == before


def test_another_parameter_is_a_try(repository: Repository) -> None:
    before = trained(repository)
    result = repository.run("invoke", "pipeline.run", "--set", "strategy=prior")
    assert result.stdout == ".edge/tries/hello-world/trained_model.json\n"
    tried = json.loads((repository.root / result.stdout.strip()).read_text())
    assert (tried["parameters"]["strategy"], tried["run_id"] != before["run_id"]) == ("prior", True)
    assert tried["model"] != before["model"]
    assert trained(repository) == before


def test_a_failure_names_the_task_and_its_log_can_be_read(repository: Repository) -> None:
    failed = repository.run("invoke", "pipeline.run", "--set", "nothing=1", check=False)
    assert failed.returncode == 1
    assert "ended as failed: the task hello-world-train failed" in failed.stderr
    hint = failed.stderr.rpartition("hint: ")[2].split()
    logged = repository.run(*hint, "--task", "hello-world-train").stdout
    assert "train.py has no parameter `nothing`" in logged


def test_a_file_holds_what_is_run_and_its_code_is_in_the_bucket(repository: Repository) -> None:
    assert repository.run("invoke", "pipeline.export").stdout == "pipeline.yaml\n"
    document = yaml.safe_load((repository.root / "pipeline.yaml").read_text())
    submitted = jobs(repository)[-1]["pipelineSpec"]
    # Vertex AI notes its type there.
    del submitted["deploymentSpec"]["@type"]
    assert submitted == document
    assert document["schemaVersion"] == "2.1.0"
    assert "hello-world-evaluate" in document["root"]["dag"]["tasks"]


def test_moments_that_are_not_a_cron_expression_are_refused_before_anything_is_sent(repository: Repository) -> None:
    result = repository.run("invoke", "pipeline.schedule", "* * *", check=False)
    assert result.stderr.startswith("error: `* * *` is not a cron expression: five fields in UTC")
    assert "hint: invoke pipeline.schedule 'TZ=Europe/Berlin 0 9 * * 1-5'" in result.stderr


def test_a_schedule_runs_it_and_is_made_once(repository: Repository) -> None:
    first = repository.run("invoke", "pipeline.schedule", "0 3 * * *")
    second = repository.run("invoke", "pipeline.schedule", "TZ=Europe/Berlin 30 3 * * *")
    assert first.stdout == second.stdout
    count = len(jobs(repository))
    repository.run("invoke", "local.clock", "--forward", "1d")
    (found,) = json.loads(repository.run("invoke", "pipeline.schedules", "--json").stdout)
    assert (found["cron"], found["runs"], found["last_start"]) == ("TZ=Europe/Berlin 30 3 * * *", 1, "OK")
    assert len(jobs(repository)) == count + 1
    repository.run("invoke", "pipeline.unschedule")
    assert repository.fails("invoke", "pipeline.unschedule")[0] == "the pipeline `hello-world` has no schedule"
