"""What docs/team.md says is so: its recipe makes a small set in CI, and its first cell is that of the notebook."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.repositories import ROOT, clean_environment

TEXT = (ROOT / "docs" / "team.md").read_text(encoding="utf-8")
RECIPE, CONNECT = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)

STAGE = """\
stages:
  get-data:
    cmd: python get_data.py
    deps: [get_data.py]
    outs: [../../data/sales.csv]
"""


def test_a_ci_that_cannot_reach_the_data_makes_a_small_set(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "repository"
    model = root / "models" / "sales"
    for folder in (home / "exports", model, root / "data"):
        folder.mkdir(parents=True)
    (home / "exports" / "sales.csv").write_text("all of it\n")
    (model / "get_data.py").write_text(RECIPE)
    (model / "dvc.yaml").write_text(STAGE)
    environment = {name: value for name, value in clean_environment(home).items() if name != "CI"}

    def run(*command: str, **changes: str) -> None:
        subprocess.run(command, cwd=root, env=environment | changes, check=True, capture_output=True)

    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    run("dvc", "repro", "--quiet", "models/sales/dvc.yaml")
    data, lock = root / "data" / "sales.csv", model / "dvc.lock"
    assert data.read_text() == "all of it\n"
    # A clone, in which neither the data nor what they were copied from is there.
    recorded = lock.read_text()
    data.unlink()
    (home / "exports" / "sales.csv").unlink()
    run("rm", "-rf", ".dvc/cache")
    run("dvc", "repro", "--quiet", "models/sales/dvc.yaml", CI="true")
    assert data.read_text().startswith("month,sold\n")
    assert lock.read_text() != recorded


def test_the_first_cell_of_the_page_is_that_of_the_notebook() -> None:
    path = ROOT / "template" / "<<cookiecutter.project_slug>>" / "notebooks" / "first-look.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "".join(cells[0]["source"]).splitlines()[:3] == CONNECT.strip().splitlines()
