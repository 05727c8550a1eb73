"""Baking the template, with nothing of the user's own git or cookiecutter settings in it."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from hooks import answers
from tests.forking.commands import forked

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository: what `cookiecutter` is pointed at."""
    return REPOSITORY


@pytest.fixture(scope="session")
def examples() -> list[str]:
    """The choices of the question `example`."""
    return list(CHOICES["example"])


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make HOME an empty folder, and let git know nobody, for the hooks and all programs that the tests start."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("GIT_", "DVC_", "COOKIECUTTER_", "EDGE_", "XDG_", "PYTEST_ADDOPTS")):
                patch.delenv(name)
        patch.delenv("EMAIL", raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.syspath_prepend(str(REPOSITORY))  # for the template's own extension of Jinja
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(home / "dvc-site"))
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield home


@pytest.fixture(scope="session")
def bake_into(clean_environment: Path) -> Callable[..., Path]:
    """A function that bakes into a folder with the given answers, and returns the new repository."""
    config = clean_environment / "cookiecutter.yaml"
    config.write_text(
        f"cookiecutters_dir: {clean_environment / 'cookiecutters'}\nreplay_dir: {clean_environment / 'replay'}\n"
    )

    def bake(output: Path, *, template: Path = REPOSITORY, overwrite_if_exists: bool = False, **answers: str) -> Path:
        output.mkdir(parents=True, exist_ok=True)
        return Path(
            cookiecutter(
                str(template),
                no_input=True,
                extra_context=answers,
                output_dir=str(output),
                config_file=str(config),
                overwrite_if_exists=overwrite_if_exists,
            )
        )

    return bake


@pytest.fixture
def bake(bake_into: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that bakes with the given answers into the test's own folder `out`."""
    return lambda **options: bake_into(tmp_path / "out", **options)


@pytest.fixture(scope="session", params=["hello-world", "tabular", "digits", "fashion-mnist"])
def baked(
    request: pytest.FixtureRequest,
    bake_into: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A repository of each example, with default answers otherwise. For reading only."""
    return bake_into(tmp_path_factory.mktemp("baked"), example=request.param, project_slug="a-repository")


# Every combination of answers to the questions that offer choices.
CHOICES = answers.CHOICES
COMBINATIONS = [dict(zip(CHOICES, answers, strict=True)) for answers in itertools.product(*CHOICES.values())]
# Infrastructure has nothing to do with the example: one of them shows it.
COMBINATIONS = [one for one in COMBINATIONS if one["infrastructure"] == "none" or one["example"] == "hello-world"]


@dataclass(frozen=True)
class Baked:
    """A repository, and the choices that made it."""

    root: Path
    choices: dict[str, str]


@pytest.fixture(scope="session", params=COMBINATIONS, ids=lambda choices: "-".join(choices.values()))
def combination(
    request: pytest.FixtureRequest, bake_into: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Baked:
    """A repository of each combination of choices, with default answers otherwise. For reading only."""
    root = bake_into(tmp_path_factory.mktemp("combination"), project_slug="a-repository", **request.param)
    return Baked(root, request.param)


@pytest.fixture(scope="session")
def answers_module() -> types.ModuleType:
    """hooks/answers.py, imported as cookiecutter imports it."""
    return importlib.import_module("hooks.answers")


@pytest.fixture(scope="session")
def run(clean_environment: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs a program, its output captured, and fails the test if the program fails."""
    del clean_environment

    def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        words, environment = forked(*command, environment={**os.environ, **(env or {})})
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    return run
