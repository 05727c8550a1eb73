"""The commit of a run tells its code, though trainings write into the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_tasks.tools import dvc, git

STAGE = """
stages:
  prepare:
    cmd: python prepare.py
    outs:
      - ../../data/one.csv
  train:
    cmd: python train.py
    outs:
      - model
      - trained_model.json:
          cache: false
    metrics:
      - metrics.json:
          cache: false
"""
# What `dvc repro` writes: DVC itself, a training, and a training of a model that has another payload than its example.
WRITTEN = (
    *("data/.gitignore", "models/one/.gitignore", "models/one/dvc.lock"),
    *("models/one/metrics.json", "models/one/trained_model.json", "models/one/test_payload.json"),
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name in (*WRITTEN, "models/one/train.py", "data/table.csv.dvc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("before\n")
    (root / "models/one/dvc.yaml").write_text(STAGE)
    for arguments in ("init --quiet", "add --all", "-c user.name=a -c user.email=a@b commit --quiet --message one"):
        subprocess.run(["git", "-C", str(root), *arguments.split()], check=True)
    return root


def is_dirty(root: Path) -> bool:
    commit = git.head(root, besides=dvc.outputs(root))
    assert commit is not None
    return commit.dirty


@pytest.mark.parametrize("name", WRITTEN)
def test_what_dvc_repro_writes_leaves_the_commit_of_the_next_model_clean(checkout: Path, name: str) -> None:
    (checkout / name).write_text("after\n")
    assert not is_dirty(checkout)


@pytest.mark.parametrize("name", ["models/one/train.py", "models/one/dvc.yaml", "data/table.csv.dvc"])
def test_what_a_person_changes_does_not(checkout: Path, name: str) -> None:
    before = (checkout / name).read_text()
    (checkout / name).write_text("after\n")
    assert is_dirty(checkout)
    (checkout / name).write_text(before)
