"""What a new repository tells to install is what made it, and can be installed in a fresh environment."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hooks import source
from tests import bytecode
from tests.needs import ENVIRONMENT, UV, index
from tests.repositories import BIN, clean_environment

pytestmark = pytest.mark.slow

GH = "git+https://github.com/fuzzylabs/vertex-edge.git@"


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose commit its git host has, too."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    git(folder, "remote", "add", "origin", "https://github.com/fuzzylabs/vertex-edge.git")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    return folder


@pytest.mark.parametrize(
    ("origin", "written"),
    [
        ("https://github.com/fuzzylabs/vertex-edge.git", "git+https://github.com/fuzzylabs/vertex-edge.git"),
        ("https://ada:secret@git.example.org/edge", "git+https://git.example.org/edge"),
        ("git@github.com:fuzzylabs/vertex-edge.git", "git+ssh://git@github.com/fuzzylabs/vertex-edge.git"),
        ("ssh://git@git.example.org:2222/edge.git", "git+ssh://git@git.example.org:2222/edge.git"),
        ("file:///srv/git/edge.git", "git+file:///srv/git/edge.git"),
    ],
)
def test_a_commit_that_the_host_has_is_named_by_the_hosts_address(checkout: Path, origin: str, written: str) -> None:
    git(checkout, "remote", "set-url", "origin", origin)
    expected = f"vertex-edge[local] @ {written}@{git(checkout, 'rev-parse', 'HEAD')}"
    assert source.requirement("0.1.0", checkout) == expected


@pytest.mark.parametrize("why", ["changed", "not pushed", "no remote", "a folder as remote", "no git"])
def test_what_only_this_machine_has_is_named_by_its_folder(checkout: Path, why: str) -> None:
    if why == "changed":
        (checkout / "pyproject.toml").write_text("# changed\n")
    elif why == "not pushed":
        git(checkout, "commit", "--quiet", "--allow-empty", "--message", "More")
    elif why == "no remote":
        git(checkout, "remote", "remove", "origin")
    elif why == "a folder as remote":
        git(checkout, "remote", "set-url", "origin", "/srv/git/edge")
    else:
        (checkout / ".git").rename(checkout / "not-git")
    assert source.requirement("0.1.0", checkout) == f"vertex-edge[local] @ {checkout.as_uri()}"
    assert "%20" in checkout.as_uri()


def test_once_published_the_version_is_all(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PUBLISHED", True)
    assert source.requirement("0.1.0", checkout) == "vertex-edge[local]==0.1.0"


def test_a_template_in_a_package_is_what_pip_installed(tmp_path: Path) -> None:
    """This environment's own package was installed from a folder or from a wheel."""
    assert re.match(r"vertex-edge\[local\] @ file:///|vertex-edge\[local\]==", source.requirement("0.1.0", tmp_path))


@dataclass(frozen=True)
class Made:
    """A repository that `cookiecutter gh:fuzzylabs/vertex-edge` made, and what it printed."""

    root: Path
    environment: dict[str, str]
    printed: str

    @property
    def requirement(self) -> str:
        lines = (self.root / "requirements.txt").read_text().splitlines()
        return next(line for line in lines if line.startswith("vertex-edge"))


@pytest.fixture(scope="module")
def made(github: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    (folder / "home").mkdir()
    environment = clean_environment(folder / "home") | github
    command = [str(BIN / "cookiecutter"), "--no-input", "gh:fuzzylabs/vertex-edge", "project_name=Mine"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    yield Made(folder / "mine", environment, done.stdout)


def test_a_repository_made_from_github_names_its_commit(made: Made, tmp_path: Path) -> None:
    commit = made.requirement.removeprefix(f"vertex-edge[local] @ {GH}")
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    # The address leads to the commit.
    clone = ["git", "clone", "--quiet", GH.removeprefix("git+").rstrip("@"), str(tmp_path / "clone")]
    subprocess.run(clone, env=made.environment, check=True, capture_output=True)
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == commit


@pytest.mark.slow
@pytest.mark.needs("uv-cache")
def test_what_cookiecutter_prints_works_in_a_fresh_environment(made: Made, tmp_path: Path) -> None:
    """Word for word, but for pip: uv installs, from its cache, and from a clone of the commit in its place."""
    steps = [line.strip() for line in made.printed.splitlines() if line.startswith("    ")]
    assert steps[:4] == [
        *("cd mine", "python3 -m venv .venv", "source .venv/bin/activate", "pip install -r requirements.txt")
    ]
    address, commit = GH.removeprefix("git+").rstrip("@"), made.requirement.rpartition("@")[2]
    asked = [*UV, "cache", "dir"]
    cache = subprocess.run(asked, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout.strip()
    environment = made.environment | {"UV_CACHE_DIR": cache, "UV_OFFLINE": "1", "UV_LINK_MODE": "hardlink"}
    # uv keeps what comes from another index apart: it is told the one that this environment was made from.
    if index():
        environment["UV_DEFAULT_INDEX"] = index()
    install = f"""
        git clone --quiet {address} {tmp_path}/clone
        git -C {tmp_path}/clone checkout --quiet {commit}
        sed 's|@ git+.*|@ {(tmp_path / "clone").as_uri()}|' requirements.txt > {tmp_path}/requirements.txt
        {" ".join(UV)} pip install --quiet -r {tmp_path}/requirements.txt
        {bytecode.command(Path(sys.base_prefix) / "bin" / "python3", '"$VIRTUAL_ENV"')}
    """
    script = "\n".join(["set -e", *steps]).replace("pip install -r requirements.txt", install)
    script = script.replace("-m venv", "-m venv --without-pip")  # it takes pip three seconds to install itself
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=made.root.parent, env=environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert '{"predictions":[1,1]' in done.stdout.replace(" ", "")
    finally:
        edge = made.root / ".venv" / "bin" / "edge"
        if edge.exists():
            subprocess.run([edge, "local.stop"], cwd=made.root, env=environment, check=False, capture_output=True)


def test_the_requirement_stands_where_jobs_and_people_look_for_it(made: Made) -> None:
    from edge_tasks.jobs.package import repository_requirements

    asked = repository_requirements(made.root / "requirements.txt")
    assert not [text for text in asked if "vertex-edge" in text]  # it travels as source
    assert [text for text in asked if text.startswith("scikit-learn==")]
    assert "-r requirements.txt" in (made.root / "requirements-dev.txt").read_text()
