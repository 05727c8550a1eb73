"""A change of any code that a training uses makes `dvc repro` train; nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from edge_tasks.jobs.submit import Submission
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.setup import code_link
from tests.repositories import ROOT, Repository, copy

TEMPLATE = ROOT / "template" / "<<cookiecutter.project_slug>>"


@pytest.fixture
def digits_repository(baked: dict[str, Path], tmp_path: Path) -> Repository:
    return copy(baked["digits"], tmp_path)


def test_dvc_sees_every_change_of_code_and_none_of_what_is_not_for_the_training(
    digits_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = digits_repository
    monkeypatch.chdir(repository.root)
    folder = repository.root / "models" / "digits"
    (folder / "helper.py").write_text("X = 1\n")
    # As if all of it had been trained: what lies there now is recorded.
    (repository.root / "data" / "digits.npz").write_bytes(b"data")
    (folder / "model").mkdir()
    (folder / "model" / "model.joblib").write_bytes(b"model")
    (folder / "plots").mkdir()
    for name in ("metrics.json", "trained_model.json", "plots/confusion.csv"):
        (folder / name).write_text("{}")
    repository.run("dvc", "commit", "--quiet", "--force", "models/digits/dvc.yaml")

    def changed() -> set[str]:
        with Repo(str(repository.root)) as dvc:
            status = dvc.status(targets=["models/digits/dvc.yaml"])
        return {
            path for item in status.get("models/digits/dvc.yaml:train", []) for path in item.get("changed deps", {})
        }

    assert changed() == set()
    for name in ("README.md", "test_train.py", "tune.yaml", "test_payload.json", ".notes", "test_more.py"):
        (folder / name).write_text("other\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.pyc").write_bytes(b"")
    assert changed() == set()

    (folder / "helper.py").write_text("X = 2\n")
    assert changed() == {".code/digits"}
    (folder / "helper.py").unlink()
    assert changed() == {".code/digits"}
    (folder / "helper.py").write_text("X = 1\n")
    assert changed() == set()
    (folder / "words").mkdir()
    (folder / "words" / "stop.txt").write_text("the\n")
    assert changed() == {".code/digits"}
    shutil.rmtree(folder / "words")
    (repository.root / "src" / "shop.py").write_text("BONUS = 1\n")
    assert changed() == {"src"}


def test_a_linked_folder_is_named_until_it_is_a_dependency_for_dvc_does_not_look_into_it(
    hello_world: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = hello_world.root
    folder = root / "models" / "hello-world"
    for place in (root / "elsewhere", root / "src" / "shop"):
        place.mkdir()
        (place / "more.py").write_text("X = 1\n")
    (folder / "lib").symlink_to("../../elsewhere")
    (folder / "shop").symlink_to("../../src/shop")  # the stage depends on src
    monkeypatch.chdir(root)
    config = load_config(root, {})

    def unnoticed() -> list[str]:
        return Submission(config, root, "hello-world", "train.py").unnoticed()

    def sees(module: Path) -> bool:
        hello_world.run("dvc", "commit", "--quiet", "--force", "models/hello-world/dvc.yaml")
        module.write_text(module.read_text() + "Y = 1\n")
        with Repo(str(root)) as dvc:
            return bool(dvc.status(targets=["models/hello-world/dvc.yaml"]))

    (folder / "model").mkdir()
    for name in ("model/model.joblib", "metrics.json", "trained_model.json"):
        (folder / name).write_text("{}")
    assert unnoticed() == ["models/hello-world/lib"]
    assert not sees(root / "elsewhere" / "more.py")
    assert sees(root / "src" / "shop" / "more.py")
    stages = folder / "dvc.yaml"
    stages.write_text(stages.read_text().replace("      - ../../src\n", "      - ../../src\n      - lib\n"))
    assert unnoticed() == []
    assert sees(root / "elsewhere" / "more.py")


def test_the_template_leaves_out_what_model_init_does() -> None:
    lines = (TEMPLATE / ".dvcignore").read_text().splitlines()
    assert [line for line in lines if line.startswith("/.code/")] == list(code_link.IGNORED)


def test_a_model_in_an_older_repository_gets_what_its_stage_depends_on(hello_world: Repository) -> None:
    (hello_world.root / ".code").unlink()
    shutil.rmtree(hello_world.root / "src")
    (hello_world.root / ".dvcignore").write_text(".venv/\n")
    hello_world.run("invoke", "model.init", "churn")
    assert (hello_world.root / ".code" / "churn" / "train.py").is_file()
    assert (hello_world.root / "src" / ".gitkeep").is_file()
    text = (hello_world.root / ".dvcignore").read_text()
    assert text.startswith(".venv/\n")
    assert set(code_link.IGNORED) <= set(text.splitlines())
    code_link.make(hello_world.root)
    assert (hello_world.root / ".dvcignore").read_text() == text
