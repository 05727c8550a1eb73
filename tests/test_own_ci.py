"""This project's own CI does what `make check` does, on every Python that the package says it runs on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.repositories import ROOT

CONFIG = ROOT / ".circleci" / "config.yml"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_config_keeps_to_circleci_s_schema() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [str(checker), "--builtin-schema", "vendor.circle-ci", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_pythons_are_those_of_the_package() -> None:
    (job, _) = yaml.safe_load(CONFIG.read_text())["workflows"]["check"]["jobs"]
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert job["check"]["matrix"]["parameters"]["python"] == re.findall(r"Python :: (3\.\d+)", metadata)


def test_each_python_runs_make_check() -> None:
    (step,) = yaml.safe_load(CONFIG.read_text())["jobs"]["check"]["steps"]
    commands = [step["run"] for step in step["with-packages"]["make"]]
    assert commands == ["make check", "make demo"]
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    assert {"check", "demo", "test-wheel"} <= targets


def test_make_check_is_format_lint_types_and_tests() -> None:
    (recipe,) = re.findall(r"^check: .*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    assert [line.strip() for line in recipe.splitlines()] == [
        "$(BIN)/ruff format --check .",
        "$(MAKE) --no-print-directory lint types test",
    ]


def test_scripts_are_sound() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.suffix != ".py"]
    scripts.append(ROOT / ".ci" / "run")
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([str(shellcheck), *map(str, scripts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
