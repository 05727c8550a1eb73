"""A change of any code that a training uses makes `dvc repro` train; nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

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
