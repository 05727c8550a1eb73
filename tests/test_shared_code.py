"""Code next to train.py, and code that models share: it travels with a job, and a change of it is not missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tasks.jobs.package import shared_files
from edge_tasks.jobs.submit import Submission
from edge_tasks.repo.edge_yaml import load_config
from tests.repositories import Repository


@pytest.mark.parametrize("example", ["hello-world", "digits", "fashion-mnist"])
def test_the_examples_miss_no_change(baked: dict[str, Path], example: str) -> None:
    root = baked[example]
    assert Submission(load_config(root, {}), root, example, "train.py").unnoticed() == []
    assert shared_files(root) == []


def test_what_is_shared_is_src_and_packages_at_the_root(tmp_path: Path) -> None:
    taken = ["shop/__init__.py", "shop/words.txt", "src/own/deep/a.py", "src/single.py"]
    left = ["tests/__init__.py", "models/__init__.py", "src/own.egg-info/PKG-INFO", "src/a.key", "scripts/a.py"]
    left += ["shop/__pycache__/a.pyc", "src/.env"]
    for name in (*taken, *left):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.relative_to(tmp_path).as_posix() for path in shared_files(tmp_path)] == taken


@pytest.mark.slow
def test_shared_code_runs_in_a_job_and_a_change_of_it_is_another_training(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    folder = hello_world.root / "models" / "hello-world"
    (hello_world.root / "src" / "shop").mkdir(parents=True)
    shop = hello_world.root / "src" / "shop" / "__init__.py"
    shop.write_text("BONUS = 1\n")
    (hello_world.root / "prices").mkdir()
    (hello_world.root / "prices" / "__init__.py").write_text("PRICE = 2\n")
    train = folder / "train.py"
    text = train.read_text().replace(
        "from sacred import", "from prices import PRICE\nfrom shop import BONUS\n\nfrom sacred import", 1
    )
    train.write_text(text.replace("    metrics = {", '    metrics = {\n        "shared": BONUS + PRICE,', 1))
    python_path = f"{hello_world.root / 'src'}:{hello_world.root}"

    def trained(*command: str) -> tuple[str, float]:
        said = hello_world.run(*command, PYTHONPATH=python_path).stderr
        job = json.loads((folder / "trained_model.json").read_text())["job"]
        assert "src/shop/__init__.py" in said or "dvc" in command
        return job, json.loads((folder / "metrics.json").read_text())["shared"]

    first, value = trained("invoke", "model.train")
    assert value == 3
    assert "dvc repro does not notice a change of `prices/__init__.py`, `src/shop/__init__.py`" in " ".join(
        hello_world.run("invoke", "doctor", COLUMNS="400", PYTHONPATH=python_path).stdout.split()
    )
    shop.write_text("BONUS = 10\n")
    second, value = trained("invoke", "model.train")
    assert second != first
    assert value == 12

    # As doctor says.
    stages = folder / "dvc.yaml"
    stages.write_text(
        stages.read_text().replace("      - train.py\n", "      - train.py\n      - ../../src\n      - ../../prices\n")
    )
    config = load_config(hello_world.root, {})
    assert Submission(config, hello_world.root, "hello-world", "train.py").unnoticed() == []
    trained("dvc", "repro", "models/hello-world/dvc.yaml")
    shop.write_text("BONUS = 20\n")
    assert trained("dvc", "repro", "models/hello-world/dvc.yaml")[1] == 22
