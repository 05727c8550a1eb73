"""What is printed or written as the next step works in an environment that has nothing yet, word for word.

A copy of this checkout stands for GitHub. uv does what `pip` is asked for, since it
is quicker; both read the same requirements.

`EDGE_TESTS_PYTHONS=3.10,3.13` walks with those versions of Python in place of the one that runs the tests, and through
all examples; `make test-long` takes all four versions. One that this machine does not have is skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import bytecode
from tests.needs import UV
from tests.repositories import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.needs("uv-cache"), pytest.mark.timeout(1200)]

_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
_CHOSEN = os.environ.get("EDGE_TESTS_PYTHONS", "")
PYTHONS = _CHOSEN.replace(",", " ").split() or [_HERE]
# It trains three times on 60,000 images.
_FASHION = pytest.param("fashion-mnist", marks=[pytest.mark.needs("fashion-mnist"), pytest.mark.timeout(3600)])
EXAMPLES = ["hello-world", "digits", "tabular", _FASHION] if _CHOSEN else ["digits"]

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
            cwd=where, env=self.environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def interpreter(uv: str, version: str) -> Path:
    """Return the Python of that version which this machine has; the test is skipped where it has none."""
    if version == _HERE:
        return Path(sys.base_prefix) / "bin" / f"python{_HERE}"
    known = [*Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python{version}")]
    if known:
        return known[-1]
    found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"there is no Python {version} here")
    return Path(found.stdout.strip())


@pytest.fixture(params=PYTHONS)
def newcomer(tmp_path: Path, github: dict[str, str], mypy_cache: Path, request: pytest.FixtureRequest) -> Newcomer:
    uv, home, programs = shutil.which(UV[0]), tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    python = interpreter(str(uv), str(request.param))
    # `python3 -m venv FOLDER`, and `pip` in what it makes.
    program(
        programs / "python3",
        f'[ "$1 $2" = "-m venv" ] || exec "{python}" "$@"\n'
        f'"{uv}" venv --quiet --python "{python}" "$3" && cp "{programs}/a-pip" "$3/bin/pip"',
    )
    # What has been compiled of the same packages is not compiled again.
    share = bytecode.command(python, '"$VIRTUAL_ENV"')
    program(programs / "a-pip", f'"{uv}" pip "$@" --quiet && exec {share}')
    environment = clean_environment(home)
    paths = environment["PATH"].split(":")[1:]  # without this project's own environment
    mine = str(Path(sys.executable).parent)
    environment["PATH"] = ":".join([str(programs), *(path for path in paths if path != mine)])
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    # What uv and mypy have kept for their user, else everything would be fetched and read again.
    cache = subprocess.run([str(uv), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    kept = {"UV_CACHE_DIR": cache, "MYPY_CACHE_DIR": str(mypy_cache)}
    return Newcomer(tmp_path, {**environment, **ADA, **github, **kept})


def make(newcomer: Newcomer, *answers: str) -> Path:
    """Have cookiecutter make a repository; return its folder."""
    said = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", "gh:fuzzylabs/vertex-edge", *answers],
        cwd=newcomer.folder, env=newcomer.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return newcomer.folder / "my-ml-project"


def block(page: Path, number: int = 0) -> list[str]:
    """A block of commands of a page."""
    return page.read_text(encoding="utf-8").split("```sh\n")[number + 1].split("```")[0].splitlines()


def in_the_text(page: Path, heading: str) -> list[str]:
    """The commands that a section of a page names in its numbered steps."""
    section = page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    steps = " ".join(line.strip() for line in section.splitlines() if re.match(r"\d\. |   \S", line))
    return re.findall(r"`((?:git|dvc|invoke|\./test_endpoint\.sh) [^`]+)`", steps)


@pytest.fixture
def stopped(newcomer: Newcomer) -> Iterator[None]:
    """Ends the servers of the repositories that a test made."""
    yield
    for made in (newcomer.folder / "my-ml-project", newcomer.folder / "mate" / "my-ml-project"):
        if (made / ".venv" / "bin" / "invoke").exists():
            newcomer.types(["source .venv/bin/activate", "invoke local.stop"], made)


ANSWERS = {"hello-world": [1, 1], "digits": [7, 6, 3], "fashion-mnist": [9, 2, 1]}
ACTIVATE = "source .venv/bin/activate"


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_readme_is_walked_to_its_end(newcomer: Newcomer, example: str) -> None:
    made = make(newcomer, f"example={example}")
    readme, model = made / "README.md", made / "models" / example
    if example == "fashion-mnist":  # its comment tells where the data are without a network
        data = model / "data.yaml"
        (line,) = re.findall(r"^# (source: /.+)$", data.read_text(), flags=re.MULTILINE)
        data.write_text(re.sub(r"^source: .*$", line, data.read_text(), flags=re.MULTILINE))
    printed = newcomer.types(block(readme), made)
    asked = json.loads(printed.splitlines()[-1])["predictions"]
    if example == "tabular":
        assert [answer["prediction"] for answer in asked[:2]] == ["yes", "no"]
    else:
        assert asked == ANSWERS[example]
    newcomer.types([ACTIVATE, "git add .", "git commit -qm 'Train'"], made)

    # Change something. `git commit` asks for its message.
    params = model / "params.yaml"
    text = params.read_text()
    params.write_text(re.sub(r"^(strategy|C): .*$", lambda m: f"{m[1]}: {OTHER[m[1]]}", text, flags=re.MULTILINE))
    steps = in_the_text(readme, "Change something")
    assert {"dvc repro", "dvc metrics diff", "dvc push", "invoke model.deploy"} <= set(steps)
    said = newcomer.types([ACTIVATE, "export GIT_EDITOR='echo Change >'", *steps], made)
    assert re.search(r"^models/\S+params.yaml +(strategy|C) ", said, re.MULTILINE), said
    served = newcomer.types([ACTIVATE, "invoke model.list --json"], made)
    assert '"2"' in served
    assert newcomer.types(["git status --porcelain"], made) == ""

    # In the Python process, and the tests.
    newcomer.types([ACTIVATE, *block(readme, 1)], made)
    newcomer.types([ACTIVATE, "pip install -r requirements-dev.txt", "pytest", "git checkout --quiet ."], made)

    # A new team-mate, of a team with a folder that everybody sees.
    (newcomer.folder / "team").mkdir()
    shared = re.findall(r"`(dvc remote add --default team )/path/to/folder`", readme.read_text())[0]
    newcomer.types(
        [ACTIVATE, f"{shared} {newcomer.folder / 'team'}", "git add .dvc/config", "git commit -qm Team", "dvc push"],
        made,
    )
    lines = [line.replace("ADDRESS_OF_THIS_REPOSITORY", str(made)) for line in block(readme, 2)]
    (newcomer.folder / "mate").mkdir()
    said = newcomer.types([*lines, "git status --porcelain", "invoke model.deploy"], newcomer.folder / "mate")
    assert "didn't change" in said
    assert not re.search(r"^ M |^\?\? ", said, re.MULTILINE), said


OTHER = {"strategy": "prior", "C": "3.0"}

OWN_TRAINING = """\
import pandas as pd
from edge_tasks.training import get_config_and_state, open_data, save_results, vertex_wrapper
from sacred import Experiment
from sklearn.ensemble import RandomForestClassifier

_config, state = get_config_and_state()
ex = Experiment("churn-model-training", save_git_info=False)


@ex.config
def cfg():
    trees = 10
    model_name = "churn"
    is_vertex = False


@ex.automain
@vertex_wrapper(_config, state)
def run(_run, trees, model_output_dir="./"):
    with open_data("data/sales.csv") as file:
        table = pd.read_csv(file)
    x_train, y_train = table[["age", "visits"]], table["bought"]
    model = RandomForestClassifier(trees, random_state=0).fit(x_train, y_train)
    accuracy = model.score(x_train, y_train)
    save_results(model, {"accuracy": accuracy}, model_output_dir, inputs=x_train)
"""


@pytest.mark.usefixtures("stopped")
def test_the_guide_to_a_model_of_one_s_own_is_walked(newcomer: Newcomer) -> None:
    """What is one's own is a table that `dvc add` keeps, and another training in train.py."""
    page = ROOT / "docs" / "your-own-model.md"
    steps = in_the_text(page, "In five steps")
    assert [step.split()[:2] for step in steps] == [
        ["invoke", "model.init"],
        ["dvc", "repro"],
        ["invoke", "model.train"],
        ["invoke", "model.deploy"],
        ["./test_endpoint.sh", "churn"],
    ]
    made = make(newcomer)
    newcomer.types([*block(made / "README.md")[:4], "invoke init", steps[0]], made)
    folder = made / "models" / "churn"
    (folder / "train.py").write_text(OWN_TRAINING)
    (folder / "params.yaml").write_text("is_vertex: true\ntrees: 20\n")
    (made / "data" / "sales.csv").write_text("age,visits,bought\n" + "20,1,no\n50,9,yes\n" * 20)
    for name in ("prepare.py", "test_payload.json", "test_train.py", "tune.yaml"):
        (folder / name).unlink()
    document = YAML(typ="safe").load(folder / "dvc.yaml")
    del document["stages"]["prepare"]
    deps = document["stages"]["train"]["deps"]
    deps[deps.index("../../data/churn.csv")] = "../../data/sales.csv"
    YAML().dump(document, folder / "dvc.yaml")
    said = newcomer.types([ACTIVATE, "dvc add data/sales.csv", "git add .", "git commit -qm Churn", *steps[1:]], made)
    assert len(json.loads(said.splitlines()[-1])["predictions"]) > 0


@pytest.mark.usefixtures("stopped")
def test_what_contributing_says_works(newcomer: Newcomer) -> None:
    made = make(newcomer, "ci=github")
    text = (made / "CONTRIBUTING.md").read_text(encoding="utf-8")
    checks = re.findall(r"^   ```sh\n(.*?)^   ```", text, flags=re.MULTILINE | re.DOTALL)[0]
    newcomer.types([*block(made / "CONTRIBUTING.md"), *map(str.strip, checks.splitlines()), "invoke doctor"], made)
    # CI installs the same.
    assert "pip install -r requirements-dev.txt" in (made / ".github/workflows/check.yml").read_text(encoding="utf-8")
