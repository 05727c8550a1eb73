"""This project's own CI does what `make check` does, on every Python that the package says it runs on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from edge_tasks.dashboard.records import Details, Output, Row, details_document, row_document
from edge_tasks.domain.runs import RunRecord, Series, utc_now
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
    job, *_ = yaml.safe_load(CONFIG.read_text())["workflows"]["check"]["jobs"]
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert job["check"]["matrix"]["parameters"]["python"] == re.findall(r"Python :: (3\.\d+)", metadata)


def test_each_python_runs_make_check() -> None:
    (step,) = yaml.safe_load(CONFIG.read_text())["jobs"]["check"]["steps"]
    commands = [step["run"] for step in step["with-packages"]["make"]]
    assert commands == ["make check", "make demo"]
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    assert {"check", "demo", "test-wheel"} <= targets


def test_the_coverage_is_measured_after_each_change_where_it_is_cheap() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    assert "coverage" in config["workflows"]["check"]["jobs"]
    (step,) = config["jobs"]["coverage"]["steps"]
    assert [run["run"]["command"] for run in step["with-packages"]["make"]] == ["make coverage"]
    # Python 3.12 and later measure without a call for each line.
    assert step["with-packages"]["python"] == "3.13"


def test_the_limit_of_the_coverage_is_close_to_what_is_published() -> None:
    (limit,) = re.findall(r"^fail_under = ([\d.]+)$", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    (published,) = re.findall(r"([\d.]+) % of its lines", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert 0 <= float(published) - float(limit) <= 2


def test_make_check_is_format_lint_types_scripts_and_tests() -> None:
    (recipe,) = re.findall(r"^check: .*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    assert [line.strip() for line in recipe.splitlines()] == [
        "$(BIN)/ruff format --check .",
        "$(MAKE) --no-print-directory lint types javascript test",
    ]


def test_the_page_s_types_are_those_of_the_server_s_json() -> None:
    declared = (ROOT / "scripts" / "javascript" / "page.d.ts").read_text(encoding="utf-8")

    def names(interface: str) -> set[str]:
        (body,) = re.findall(rf"^interface {interface} {{\n(.*?)^}}", declared, flags=re.MULTILINE | re.DOTALL)
        return set(re.findall(r"^  (\w+)\??:", body, flags=re.MULTILINE))

    row = Row(id="1", model="m", status="completed", created="2026-01-01T00:00:00+00:00")
    record = RunRecord(run_id="1", model_name="m", status="completed", created=utc_now())
    details = Details(record, {}, Output("", 0, 0))
    assert names("Run") == row_document(row).keys()
    assert names("Details") == details_document(details).keys()
    assert names("Piece") == details_document(details)["output"].keys()
    assert names("Series") == Series.model_fields.keys()


def test_scripts_are_sound() -> None:
    files = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".py"]
    # Those of Python are ruff's to check.
    scripts = [path for path in files if not path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3")]
    scripts.append(ROOT / ".ci" / "run")
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([str(shellcheck), *map(str, scripts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
