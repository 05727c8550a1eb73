"""What is printed or written as the next step works in an environment that has nothing yet, word for word.

A copy of this checkout stands for GitHub. uv does what `pip` is asked for, since it
is quicker; both read the same requirements.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.published import publish
from tests.repositories import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.needs("uv-cache"), pytest.mark.timeout(600)]

ADA = {
    f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "a@b"))
}


@dataclass(frozen=True)
class Newcomer:
    """Somebody with Python, git and curl: a folder, and an environment without anything of this project's."""

    folder: Path
    environment: dict[str, str]

    def types(self, lines: list[str], where: Path) -> str:
        """Type the lines one after the other in one shell; return what they print."""
        done = subprocess.run(
            ["bash", "-c", "\n".join(["set -e", *lines])],
            cwd=where, env=self.environment, capture_output=True, text=True, timeout=540,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    uv, home, programs = shutil.which("uv"), tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    # `python3 -m venv FOLDER`, and `pip` in what it makes.
    program(
        programs / "python3",
        f'[ "$1 $2" = "-m venv" ] || exec "{python}" "$@"\n'
        f'"{uv}" venv --quiet --python "{python}" "$3" && cp "{programs}/a-pip" "$3/bin/pip"',
    )
    program(programs / "a-pip", f'exec "{uv}" pip "$@" --quiet')
    environment = clean_environment(home)
    paths = environment["PATH"].split(":")[1:]  # without this project's own environment
    mine = str(Path(sys.executable).parent)
    environment["PATH"] = ":".join([str(programs), *(path for path in paths if path != mine)])
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    # What uv has kept for its user, else everything would be fetched again.
    cache = subprocess.run([str(uv), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    return Newcomer(tmp_path, {**environment, **ADA, **publish(tmp_path), "UV_CACHE_DIR": cache})


def make(newcomer: Newcomer, *answers: str) -> Path:
    """Have cookiecutter make a repository; return its folder."""
    said = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", "gh:fuzzylabs/vertex-edge", *answers],
        cwd=newcomer.folder, env=newcomer.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return newcomer.folder / "my-ml-project"


def block(page: Path) -> list[str]:
    """The first block of commands of a page."""
    return page.read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0].splitlines()


@pytest.fixture
def stopped(newcomer: Newcomer) -> Iterator[None]:
    """Ends the servers of the repository that a test made."""
    yield
    made = newcomer.folder / "my-ml-project"
    if (made / ".venv").exists():
        newcomer.types(["source .venv/bin/activate", "invoke local.stop"], made)


@pytest.mark.usefixtures("stopped")
def test_what_the_readme_says_works(newcomer: Newcomer) -> None:
    made = make(newcomer)
    printed = newcomer.types(block(made / "README.md"), made)
    assert json.loads(printed.splitlines()[-1])["predictions"] == [1, 1]


@pytest.mark.usefixtures("stopped")
def test_what_contributing_says_works(newcomer: Newcomer) -> None:
    made = make(newcomer, "ci=github")
    text = (made / "CONTRIBUTING.md").read_text(encoding="utf-8")
    checks = re.findall(r"^   ```sh\n(.*?)^   ```", text, flags=re.MULTILINE | re.DOTALL)[0]
    newcomer.types([*block(made / "CONTRIBUTING.md"), *map(str.strip, checks.splitlines()), "invoke doctor"], made)
    # CI installs the same.
    assert "pip install -r requirements-dev.txt" in (made / ".github/workflows/check.yml").read_text(encoding="utf-8")
