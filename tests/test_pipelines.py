"""`pipeline.*`: the DVC pipeline of a repository, run by the emulator's Vertex AI Pipelines as on Google's."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repositories import Repository, copy

pytestmark = pytest.mark.slow

MODEL = Path("models") / "digits"
FILE = f"{MODEL.as_posix()}/dvc.yaml"


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A digits repository with data that were added by hand, a stage that makes a folder, and one after the training.

    Nothing was ever trained or prepared on this machine.
    """
    repository = copy(baked["digits"], tmp_path_factory.mktemp("pipelines"))
    try:
        repository.run("invoke", "init")
        _extend(repository)
        repository.run("invoke", "pipeline.run")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


def _extend(repository: Repository) -> None:
    root = repository.root
    (root / "data" / "names.txt").write_text("zero\none\n")
    repository.run("dvc", "add", "--quiet", "data/names.txt")
    path = root / FILE
    document = yaml.safe_load(path.read_text())
    stages = document["stages"]
    (root / MODEL / "words.py").write_text(
        textwrap.dedent("""\
            from pathlib import Path

            data = Path(__file__).resolve().parents[2] / "data"
            (data / "words").mkdir()
            for word in (data / "names.txt").read_text().split():
                (data / "words" / f"{word}.txt").write_text(word)
            """)
    )
    (root / MODEL / "evaluate.py").write_text(
        textwrap.dedent("""\
            import json
            from pathlib import Path

            import joblib

            here, data = Path(__file__).parent, Path(__file__).resolve().parents[2] / "data"
            classes = joblib.load(here / "model" / "model.joblib").classes_
            words = sorted(path.name for path in (data / "words").iterdir())
            (here / "evaluation.json").write_text(json.dumps({"classes": len(classes), "words": words}))
            """)
    )
    stages["words"] = {
        "cmd": "python words.py",
        "deps": ["words.py", "../../data/names.txt"],
        "outs": ["../../data/words"],
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
    return list(json.loads(repository.run("invoke", "pipeline.list", "--json").stdout))


def test_it_leaves_what_dvc_repro_leaves(repository: Repository) -> None:
    (job,) = jobs(repository)
    assert {task["name"]: task["state"] for task in job["tasks"]} == dict.fromkeys(
        ("digits-prepare", "digits-words", "digits-train", "digits-register", "digits-evaluate"), "succeeded"
    )
    facts = trained(repository)
    assert facts["job"] == job["name"]
    assert facts["data"].keys() == {"data/digits.npz"}
    evaluation = json.loads((repository.root / MODEL / "evaluation.json").read_text())
    assert evaluation == {"classes": 10, "words": ["one.txt", "zero.txt"]}
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
    states = {task["name"]: task["state"] for task in jobs(repository)[0]["tasks"]}
    assert states == {
        **dict.fromkeys(("digits-prepare", "digits-words", "digits-train", "digits-evaluate"), "skipped"),
        "digits-register": "succeeded",
    }
    assert "holds the results of this run already" in result.stderr
    assert result.stdout == "models/digits/trained_model.json\n"
    assert trained(repository) == before


def test_another_parameter_is_a_try(repository: Repository) -> None:
    before = trained(repository)
    result = repository.run("invoke", "pipeline.run", "--set", "C=3")
    assert result.stdout == ".edge/tries/digits/trained_model.json\n"
    tried = json.loads((repository.root / result.stdout.strip()).read_text())
    assert (tried["parameters"]["C"], tried["run_id"] != before["run_id"]) == (3.0, True)
    assert tried["model"] != before["model"]
    assert trained(repository) == before


def test_a_failure_names_the_task_and_its_log_can_be_read(repository: Repository) -> None:
    failed = repository.run("invoke", "pipeline.run", "--set", "nothing=1", check=False)
    assert failed.returncode == 1
    assert "ended as failed: the task digits-train failed" in failed.stderr
    hint = failed.stderr.rpartition("hint: ")[2].split()
    logged = repository.run(*hint, "--task", "digits-train").stdout
    assert "train.py has no parameter `nothing`" in logged
    assert repository.fails(*hint, "--task", "none")[0].endswith("has no task `none`")


def test_a_file_is_the_same_each_time_and_its_code_is_in_the_bucket(repository: Repository) -> None:
    assert repository.run("invoke", "pipeline.export").stdout == "pipeline.yaml\n"
    text = (repository.root / "pipeline.yaml").read_text()
    repository.run("invoke", "pipeline.export", "--output", "again.yaml", "--no-upload")
    assert (repository.root / "again.yaml").read_text() == text
    document = yaml.safe_load(text)
    assert document["schemaVersion"] == "2.1.0"
    assert "digits-evaluate" in document["root"]["dag"]["tasks"]


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
    assert repository.fails("invoke", "pipeline.unschedule")[0] == "the pipeline `digits` has no schedule"
