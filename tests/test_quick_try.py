"""A quick try stays a try, what gives the same changes nothing, and a release tells where its model comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier

from edge_tasks.errors import TrainingError
from edge_tasks.jobs.quick_try import other_parameters
from edge_tasks.jobs.training import TrainingJob
from edge_tasks.releases import lineage
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.layout import TRAINING_LABEL
from edge_tasks.repo.results import publish, read_results, set_aside
from edge_tasks.repo.trained_model import TrainedModel, load_trained_model, save_trained_model
from edge_tasks.training.sklearn import save_results
from tests.repositories import Repository, copy


def trained(run_id: str, **changes: Any) -> TrainedModel:
    values: dict[str, Any] = {
        "run_id": run_id,
        "model_name": "digits",
        "target": "local",
        "dirty": False,
        "trained_at": datetime.now(timezone.utc),
        "artifact_sha256": "aa",
        "metrics": {"accuracy": 0.9},
        "labels": {TRAINING_LABEL: "0f"},
    }
    return TrainedModel(**values | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with what `dvc repro` made."""
    folder = tmp_path / "models" / "digits"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("C: 1\nkernel: rbf\nis_vertex: true\n")
    save_trained_model(folder, trained("one"))
    return folder


def publish_run(folder: Path, run: TrainedModel, **options: bool) -> str:
    made = folder.parent.parent / "training" / run.run_id
    (made / "model").mkdir(parents=True)
    (made / "model" / "model.joblib").write_bytes(b"model")
    (made / "metrics.json").write_text('{"accuracy": 0.9}')
    publish(read_results(made), folder, run, **options)
    return load_trained_model(folder, "digits").run_id


def test_what_a_training_by_hand_changes_makes_it_a_try(folder: Path) -> None:
    same = {"C": 1.0, "kernel": "rbf", "tolerance": 0.1}
    assert other_parameters(folder, same, ["is_vertex", "C"], {}) == []
    assert other_parameters(folder, same | {"C": 500}, ["C"], {}) == ["C"]
    assert other_parameters(folder, same, ["tolerance"], {}) == ["tolerance"]
    assert other_parameters(folder, {"kernel": "rbf"}, [], {}) == ["C"]


def test_what_dvc_starts_and_the_first_training_are_no_tries(folder: Path) -> None:
    assert other_parameters(folder, {"C": 500}, ["C"], {"DVC_STAGE": "train"}) == []
    assert other_parameters(folder, {"C": 500}, ["C"], {"EDGE_REPRODUCED_FROM": "one"}) == []
    (folder / "trained_model.json").unlink()
    assert other_parameters(folder, {"C": 500}, ["C"], {}) == []


def test_a_training_that_gives_the_same_again_leaves_its_record_as_it_is(folder: Path) -> None:
    before = (folder / "trained_model.json").read_bytes()
    assert publish_run(folder, trained("two", model="projects/other/models/digits@7")) == "one"
    assert (folder / "trained_model.json").read_bytes() == before
    assert (folder / "model" / "model.joblib").read_bytes() == b"model"


@pytest.mark.parametrize(
    "changes",
    [
        {"artifact_sha256": "bb"},
        {"metrics": {"accuracy": 0.8}},
        {"data": {"data/digits.npz": "00"}},
        {"labels": {TRAINING_LABEL: "10"}},
        {"labels": {}},
        {"target": "gcp"},
    ],
    ids=str,
)
def test_what_differs_is_recorded(folder: Path, changes: dict[str, Any]) -> None:
    assert publish_run(folder, trained("two", **changes)) == "two"


def test_trained_again_on_purpose_is_recorded(folder: Path) -> None:
    assert publish_run(folder, trained("two"), again=True) == "two"


def test_a_run_of_what_was_committed_takes_the_place_of_one_of_what_was_not(folder: Path) -> None:
    save_trained_model(folder, trained("one", dirty=True))
    assert publish_run(folder, trained("two", dirty=False)) == "two"
    assert publish_run(folder, trained("three", dirty=True)) == "two"


def test_the_results_of_a_try_take_the_place_of_those_of_the_try_before(folder: Path) -> None:
    aside = folder.parent.parent / "tries" / "digits"
    for run_id in ("two", "three"):
        made = folder.parent.parent / "training" / run_id
        (made / "model").mkdir(parents=True)
        (made / "model" / run_id).write_bytes(b"model")
        (made / "metrics.json").write_text('{"accuracy": 0.9}')
        set_aside(read_results(made), aside, trained(run_id))
    assert [path.name for path in (aside / "model").iterdir()] == ["three"]
    assert load_trained_model(aside, "digits").run_id == "three"
    assert load_trained_model(folder, "digits").run_id == "one"


def test_a_release_tells_what_no_commit_tells(folder: Path) -> None:
    one = load_trained_model(folder, "digits")
    assert list(lineage.doubts(folder, one)) == []
    md5 = hashlib.md5((folder / "trained_model.json").read_bytes()).hexdigest()
    lock = (
        "schema: '2.0'\nstages:\n  train:\n    outs:\n    - path: trained_model.json\n      hash: md5\n      md5: {}\n"
    )
    (folder / "dvc.lock").write_text(lock.format(md5))
    assert list(lineage.doubts(folder, one)) == []
    (folder / "dvc.lock").write_text(lock.format("00"))
    (doubt,) = lineage.doubts(folder, one)
    assert "run one of `digits` is not what models/digits/dvc.lock records" in doubt
    (folder / "dvc.lock").unlink()
    (doubt,) = lineage.doubts(folder, trained("one", dirty=True))
    assert "changes that were not committed" in doubt
    with pytest.raises(TrainingError, match="no commit tells its code") as refusal:
        lineage.refuse_dirty(trained("one", dirty=True))
    assert "EDGE_FORCE=1 dvc repro --force models/digits/dvc.yaml" in str(refusal.value.hint)


@pytest.fixture
def tried(baked: dict[str, Path], tmp_path: Path) -> Iterator[Repository]:
    repository = copy(baked["hello-world"], tmp_path)
    repository.run("invoke", "init")
    yield repository
    repository.run("invoke", "local.stop", check=False)


@pytest.mark.slow
def test_a_try_by_hand_is_recorded_and_replaces_nothing_until_it_is_asked_to(tried: Repository) -> None:
    folder = tried.root / "models" / "hello-world"
    here = ("python", "models/hello-world/train.py", "with", "is_vertex=False")
    tried.run("dvc", "repro", "--quiet", "models/hello-world/dvc.yaml")
    first = (folder / "trained_model.json").read_bytes()

    said = tried.run(*here, "strategy=uniform").stderr
    assert "a try, with other parameters than params.yaml (strategy)" in said
    assert "models/hello-world is as it was" in said
    assert (folder / "trained_model.json").read_bytes() == first
    made = load_trained_model(tried.root / ".edge" / "tries" / "hello-world", "hello-world")
    assert made.parameters["strategy"] == "uniform"
    assert made.run_id in tried.run("invoke", "experiments.list").stdout
    deploy = tried.run("invoke", "model.deploy", "--dry-run").stderr
    assert "warning" not in deploy
    printed = tried.run("invoke", "model.train", "--local", "--set", "strategy=prior").stdout
    assert printed.strip() == ".edge/tries/hello-world/trained_model.json"

    tried.run(*here, "strategy=uniform", "publish=True")
    asked = load_trained_model(folder, "hello-world")
    assert asked.parameters["strategy"] == "uniform"
    deploy = tried.run("invoke", "model.deploy", "--dry-run").stderr
    assert f"warning: run {asked.run_id} of `hello-world` is not what models/hello-world/dvc.lock records" in deploy

    (tried.root / "README.md").write_text("not committed\n")
    tried.run("dvc", "repro", "--quiet", "--force", "models/hello-world/dvc.yaml", EDGE_FORCE="1")
    assert json.loads((folder / "trained_model.json").read_text())["dirty"] is True
    assert "warning: `hello-world` was trained with changes" in tried.run("invoke", "model.deploy", "--dry-run").stderr
    problem, hint = tried.fails("invoke", "ci.deploy")
    assert problem.endswith("was trained with changes that were not committed, so no commit tells its code")
    assert hint.endswith("or add --allow-dirty")
    tried.run("invoke", "ci.deploy", "--allow-dirty")


def test_code_that_is_edited_while_a_training_computes_is_not_what_it_trained(tried: Repository) -> None:
    script = tried.root / "models" / "hello-world" / "train.py"
    config = load_config(tried.root)

    def labels(edit: str) -> dict[str, str]:
        def fit(folder: Path) -> None:
            script.write_text(script.read_text() + edit)
            save_results(DummyClassifier().fit([[0]], [0]), {"score": 1.0}, str(folder))

        TrainingJob(config, tried.root, "hello-world", "models/hello-world/train.py", {}, {}).in_process(
            fit, dict, lambda **_: None
        )
        return load_trained_model(script.parent, "hello-world").labels

    before, during, after = labels("# edited\n"), labels(""), labels("")
    assert before[TRAINING_LABEL] != during[TRAINING_LABEL] == after[TRAINING_LABEL]
