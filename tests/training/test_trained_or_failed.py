"""What a stage `train` runs fails when the script has trained nothing, and is otherwise as `python train.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOTHING = "error: models/one/train.py ended without an error, but it has not trained: there is no new "
WRITES = "import pathlib, sys\nassert sys.argv == ['train.py', 'with', 'a=1']\nimport sibling\n"
WRITES += "pathlib.Path('trained_model.json').touch()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models/one"
    folder.mkdir(parents=True)
    (folder / "sibling.py").touch()
    return folder


def ran(folder: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "edge_tasks.training", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("source", ["", "def run():\n    pass\n", "import sys\nsys.exit(0)\n", "raise SystemExit\n"])
def test_a_script_that_trains_nothing_fails_and_is_told_what_it_must_call(folder: Path, source: str) -> None:
    (folder / "train.py").write_text(source)
    (folder / "trained_model.json").write_text("of before")
    status, said = ran(folder, "train.py", "with", "params.yaml")
    assert status == 1
    assert said.startswith(NOTHING)
    assert "hint: what trains is marked by `@ex.automain`" in said
    assert "save_results(model, metrics, model_output_dir)" in said


def test_a_script_that_writes_its_record_itself_has_trained(folder: Path) -> None:
    (folder / "train.py").write_text(WRITES)
    assert ran(folder, "train.py", "with", "a=1") == (0, "")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("def f():\n    1 / 0\nf()\n", "ZeroDivisionError: division by zero"),
        ("import x (\n", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(7)\n", ""),
        ("raise KeyboardInterrupt\n", "interrupted"),
    ],
)
def test_an_error_is_shown_without_what_called_the_script(folder: Path, source: str, shown: str) -> None:
    (folder / "train.py").write_text(source)
    status, said = ran(folder, "train.py")
    assert status != 0
    assert said.rstrip().endswith(shown)
    assert "runpy" not in said
    assert "__main__.py" not in said
    assert status == 7 or shown


def test_a_script_that_is_missing_is_named(folder: Path) -> None:
    assert ran(folder, "trian.py")[1].startswith("error: there is no `models/one/trian.py`")
    assert ran(folder)[1].startswith("error: no script is named")
