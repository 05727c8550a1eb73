"""The stages of a baked repository, by the real DVC, and its own tests, by its own pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from edge_tasks.setup.template import render_model

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

DVC = (sys.executable, "-m", "dvc")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.fixture
def copy(baked: Path, tmp_path: Path) -> Path:
    """A repository of each example to change."""
    return shutil.copytree(baked, tmp_path / "copy", symlinks=True)


def edges(run: Run, repository: Path) -> set[tuple[str, str]]:
    """Return which stage comes before which, as DVC sees it from the root."""
    dot = run(*DVC, "dag", "--dot", cwd=repository).stdout
    pairs = [line.strip(' ";').split('" -> "') for line in dot.splitlines() if "->" in line]
    return {(before, after) for before, after in pairs}


def test_the_report_comes_after_every_model_s_stages(baked: Path, run: Run) -> None:
    model = next((baked / "models").iterdir()).name
    expected = {(f"models/{model}/dvc.yaml:train", "report")}
    if model != "hello-world":
        expected.add((f"models/{model}/dvc.yaml:prepare", f"models/{model}/dvc.yaml:train"))
    if model == "fashion-mnist":
        expected.add((f"models/{model}/dvc.yaml:get-data", f"models/{model}/dvc.yaml:prepare"))
    assert edges(run, baked) == expected


def test_training_depends_on_its_code_and_all_its_parameters(baked: Path) -> None:
    model = next((baked / "models").iterdir())
    train = yaml.safe_load((model / "dvc.yaml").read_text())["stages"]["train"]
    assert train["cmd"] == "python train.py with params.yaml"
    assert train["deps"][:2] == [f"../../.code/{model.name}", "../../src"]
    assert (model / train["deps"][0] / "train.py").samefile(model / "train.py")
    assert train["params"] == [{"params.yaml": None}]
    assert train["outs"] == [
        {"model": {"persist": True}},
        {"trained_model.json": {"cache": False, "persist": True}},
    ]
    assert train["metrics"] == [{"metrics.json": {"cache": False, "persist": True}}]


def test_dvc_does_not_look_into_other_people_s_folders(copy: Path, run: Run) -> None:
    for folder in (".venv", "venv", ".edge/jobs/1", "env/lib/python3.10/site-packages/edge_tasks"):
        (copy / folder).mkdir(parents=True)
        (copy / folder / "dvc.yaml").write_text("not: a pipeline\n")
    run(*DVC, "stage", "list", "--all", cwd=copy)


def test_a_root_repro_runs_the_models_stages_and_the_second_does_nothing(copy: Path, run: Run, tmp_path: Path) -> None:
    model = next((copy / "models").iterdir())
    # What training and the report write, without the package: this is about DVC's files alone.
    (tmp_path / "bin").mkdir()
    invoke = tmp_path / "bin" / "invoke"
    invoke.write_text("#!/bin/sh\necho '# Report' > report.md\n")
    invoke.chmod(0o755)
    if model.name == "fashion-mnist":
        (model / "get_data.py").write_text(
            "import pathlib\n"
            "folder = pathlib.Path('../../data/fashion-mnist')\n"
            "folder.mkdir(exist_ok=True)\n"
            "(folder / 'images').write_text('images')\n"
        )
        (model / "prepare.py").write_text(
            "import pathlib, shutil\n"
            "shutil.copy('../../data/fashion-mnist/images', '../../data/fashion-mnist.npz')\n"
        )
    (model / "train.py").write_text(
        "import json, pathlib, sys, yaml\n"
        "assert sys.argv[1:] == ['with', 'params.yaml']\n"
        "for folder in ('model', 'plots'):\n"
        "    pathlib.Path(folder).mkdir(exist_ok=True)\n"
        "pathlib.Path('model/model.joblib').write_text('model')\n"
        "pathlib.Path('trained_model.json').write_text('{}')\n"
        "pathlib.Path('plots/confusion.csv').write_text('actual,predicted\\n1,1\\n1,2\\n')\n"
        "if pathlib.Path('get_data.py').exists():\n"
        "    pathlib.Path('plots/classes.csv').write_text('class,f1\\nBag,0.9\\n')\n"
        "score = 1 if yaml.safe_load(open('params.yaml'))['is_vertex'] else 0\n"
        "pathlib.Path('metrics.json').write_text(json.dumps({'score': score}))\n"
    )
    env = {"PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])}
    run(*DVC, "repro", cwd=copy, env=env)
    assert (copy / "report.md").read_text() == "# Report\n"
    assert "score" in run(*DVC, "metrics", "show", cwd=copy).stdout
    written = {f"models/{model.name}/{name}" for name in ("dvc.lock", "metrics.json", "trained_model.json")}
    status = run("git", "status", "--porcelain", "--untracked-files=all", cwd=copy).stdout.splitlines()
    new = {line[3:] for line in status if line.startswith("??")}
    plots = {path.relative_to(copy).as_posix() for path in (model / "plots").iterdir()}
    assert new == written | plots | {"dvc.lock", "report.md"}
    assert "Data and pipelines are up to date" in run(*DVC, "repro", cwd=copy, env=env).stdout

    params = model / "params.yaml"
    params.write_text(params.read_text().replace("is_vertex: true", "is_vertex: false"))
    assert "Running stage 'models/" in run(*DVC, "repro", cwd=copy, env=env).stdout
    assert "is_vertex" in run(*DVC, "params", "diff", "HEAD", cwd=copy).stdout
    if model.name != "hello-world":
        run(*DVC, "plots", "show", cwd=copy)


def test_its_own_tests_pass(copy: Path, run: Run) -> None:
    done = run(*PYTEST, cwd=copy)
    assert "passed" in done.stdout
    assert "warning" not in done.stdout


@pytest.mark.slow
def test_the_tests_of_several_models_pass_side_by_side(bake: Bake, run: Run) -> None:
    baked = bake(example="digits")
    for example, name in (("digits", "digits-2"), ("hello-world", "hello")):
        render_model(example, {"model_name": name, "project_slug": "a"}, baked / "models" / name)
    done = run(*PYTEST, cwd=baked)
    assert "12 passed" in done.stdout
    # Two models of one example keep their data apart: DVC refuses one output of two stages.
    assert {before for before, _ in edges(run, baked)} >= {
        "models/digits/dvc.yaml:prepare",
        "models/digits-2/dvc.yaml:prepare",
    }
