"""The template has one source: cookiecutter and `model.init` make the same of it, by the same rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_tasks.errors import ConfigError
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.setup.doctor import _data
from edge_tasks.setup.new_model import init_model
from edge_tasks.setup.template import JINJA_SETTINGS, check_example, examples, render_model
from hooks import answers
from tests.repositories import ROOT, copy


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("example", ["hello-world", "digits", "fashion-mnist"])
def test_a_further_model_is_what_cookiecutter_makes(baked: dict[str, Path], tmp_path: Path, example: str) -> None:
    render_model(example, {"model_name": example, "project_slug": "my-project"}, tmp_path / example)
    assert files(tmp_path / example) == files(baked[example] / "models" / example)


def test_what_a_further_model_s_stages_write_is_nothing_for_git_from_the_start(
    baked: dict[str, Path], tmp_path: Path
) -> None:
    """DVC adds it to .gitignore, too, but takes that back when a later stage fails, as a first training does."""
    repository = copy(baked["hello-world"], tmp_path)
    (repository.root / "data" / ".gitignore").write_text("/mine.csv")
    config = load_config(repository.root, {})
    for name, example in (("churn", "tabular"), ("numbers", "digits"), ("again", "hello-world")):
        init_model(repository.root, config, name, example)
    assert (repository.root / "data" / ".gitignore").read_text() == "/mine.csv\n/churn.csv\n/numbers.npz\n"


def test_doctor_names_data_that_both_dvc_and_git_keep(baked: dict[str, Path], tmp_path: Path) -> None:
    repository = copy(baked["tabular"], tmp_path)
    data = repository.root / "data"
    (data / ".gitignore").unlink()
    for name in ("tabular.csv", "mine.csv"):
        (data / name).write_text("a\n1\n")
    repository.run("git", "add", "--all")
    result = _data(repository.root, load_config(repository.root, {}))
    assert result.fact == "DVC keeps `data/tabular.csv`, and git has it or would take it, too"
    first, _, second = (result.advice or "").partition(", ")
    for command in (first, second):
        repository.run("sh", "-c", command)
    assert repository.run("git", "status", "--porcelain", "data").stdout.split()[-2:] == ["??", "data/.gitignore"]
    assert _data(repository.root, load_config(repository.root, {})).advice is None


def test_jinja_is_set_as_cookiecutter_sets_it() -> None:
    assert json.loads((ROOT / "cookiecutter.json").read_text())["_jinja2_env_vars"] == JINJA_SETTINGS


def test_the_examples_are_those_that_cookiecutter_offers() -> None:
    assert examples() == sorted(answers.CHOICES["example"])


def test_an_example_that_is_none_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        check_example("digit")
    assert caught.value.hint == "did you mean `digits`?"


@pytest.mark.slow
@pytest.mark.parametrize(("example", "parameter"), [("hello-world", "strategy"), ("tabular", "C"), ("digits", "gamma")])
def test_the_tests_of_an_example_go_on_when_its_parameters_are_others(
    baked: dict[str, Path], tmp_path: Path, example: str, parameter: str
) -> None:
    repository = copy(baked["hello-world"], tmp_path)
    repository.run("invoke", "model.init", "churn", "--example", example)
    folder = repository.root / "models" / "churn"
    for name in ("train.py", "params.yaml"):
        text = (folder / name).read_text()
        renamed = re.sub(rf"(?<!\w){parameter}(?![\w=])", "renamed", text)  # not the name of a library's argument
        assert renamed != text
        (folder / name).write_text(renamed)
    repository.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "models/churn")
