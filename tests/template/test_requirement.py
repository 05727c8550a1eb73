"""What a new repository installs: the vertex:edge that made it."""

from __future__ import annotations

import importlib
import json
import subprocess
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edge_tasks.tools import installed

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def requirement_module(clean_environment: Path) -> types.ModuleType:
    """hooks/requirement.py, imported as cookiecutter imports it."""
    del clean_environment
    return importlib.import_module("hooks.requirement")


def requirement_of(repository: Path) -> str:
    lines = (repository / "requirements.txt").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("vertex-edge")]
    assert Requirement(line).extras == {"local"}
    return line


def test_a_template_of_this_machine_is_installed_from_its_folder(bake: Bake, repository: Path) -> None:
    assert requirement_of(bake()) == f"vertex-edge[local] @ {repository.as_uri()}"


def test_what_only_this_machine_can_install_is_told(repository: Path, run: Run, tmp_path: Path) -> None:
    said = run("cookiecutter", "--no-input", repository, cwd=tmp_path).stdout
    assert f"requirements.txt installs vertex:edge from here, {repository.as_uri()}:\na team-mate or a CI cannot." in said
    address = "_requirement=vertex-edge[local] @ git+https://example.org/edge.git"
    said = run("cookiecutter", "--no-input", repository, "project_slug=other", address, cwd=tmp_path).stdout
    assert "team-mate" not in said
    assert requirement_of(tmp_path / "other") == address.partition("=")[2]


@pytest.fixture
def host(repository: Path, run: Run, tmp_path: Path) -> Path:
    """A git repository that holds this template, as a git host has it: cookiecutter clones it."""
    work = tmp_path / "work"
    run("git", "clone", "--quiet", "--local", repository, work, cwd=tmp_path)
    run("git", "-C", repository, "ls-files", "--error-unmatch", "cookiecutter.json", cwd=tmp_path)
    for name in ("cookiecutter.json", "hooks", "template"):
        run("cp", "-R", repository / name, f"{work}/", cwd=tmp_path)
    run("git", "add", "--all", cwd=work)
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    run("git", *who, "commit", "--quiet", "--allow-empty", "--message", "As it is here", cwd=work)
    bare = tmp_path / "vertex-edge.git"
    run("git", "clone", "--quiet", "--bare", work, bare, cwd=tmp_path)
    return bare


def test_a_template_of_a_git_host_is_installed_from_there_at_its_commit(
    host: Path, run: Run, tmp_path: Path
) -> None:
    commit = run("git", "rev-parse", "HEAD", cwd=host).stdout.strip()
    run("cookiecutter", "--no-input", f"file://{host}", cwd=tmp_path, env={"HOME": str(tmp_path)})
    made = tmp_path / "my-ml-project"
    assert requirement_of(made) == f"vertex-edge[local] @ git+{host.as_uri()}@{commit}"
    assert json.loads((made / ".edge-template.json").read_text())["requirement"] == requirement_of(made)
    # To get a newer one, its commit is left out.
    assert f"`pip install --upgrade 'vertex-edge[local] @ git+{host.as_uri()}'`" in (made / "README.md").read_text()


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/a/b.git", "git+https://github.com/a/b.git"),
        ("https://ada:s3cret@git.example.org/a/b", "git+https://git.example.org/a/b"),
        ("git@github.com:a/b.git", "git+ssh://git@github.com/a/b.git"),
        ("ssh://git:pw@git.example.org:2222/a/b.git", "git+ssh://git@git.example.org:2222/a/b.git"),
        ("/srv/git/a b.git", "git+file:///srv/git/a%20b.git"),
    ],
)
def test_the_address_is_one_of_pip_s_and_holds_no_secret(
    requirement_module: types.ModuleType, remote: str, address: str
) -> None:
    assert requirement_module.without_credentials(remote) == address
    assert Requirement(f"vertex-edge[local] @ {address}@{'0' * 40}").url == f"{address}@{'0' * 40}"


def test_once_published_the_version_is_enough(
    requirement_module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirement_module, "PUBLISHED", True)
    answers = {"_template_version": "1.2.3", "_template": "gh:a/b", "_repo_dir": "/home/ada/.cookiecutters/b"}
    assert requirement_module.requirement(answers) == "vertex-edge[local]==1.2.3"


def test_the_template_of_an_installed_wheel_asks_for_what_was_installed(
    requirement_module: types.ModuleType, tmp_path: Path
) -> None:
    template = tmp_path / "site-packages" / "edge_tasks" / "_template"
    record = tmp_path / "site-packages" / "vertex_edge-1.2.3.dist-info" / "direct_url.json"
    record.parent.mkdir(parents=True)
    answers = {"_template_version": "1.2.3", "_template": str(template), "_repo_dir": str(template)}
    assert requirement_module.requirement(answers) == "vertex-edge[local]==1.2.3"
    origin = {"url": "https://example.org/b.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}}
    record.write_text(json.dumps(origin))
    assert requirement_module.requirement(answers) == f"vertex-edge[local] @ git+https://example.org/b.git@{'a' * 40}"
    record.write_text(json.dumps({"url": "file:///wheels/vertex_edge-1.2.3-py3-none-any.whl", "archive_info": {}}))
    wheel = "vertex-edge[local] @ file:///wheels/vertex_edge-1.2.3-py3-none-any.whl"
    assert requirement_module.requirement(answers) == wheel


def test_the_package_knows_where_it_came_from(run: Run, tmp_path: Path) -> None:
    line = Requirement(installed.requirement())
    assert (line.name, line.extras) == ("vertex-edge", {"local"})
    assert line.url or str(line.specifier).startswith("==")


def test_without_its_hooks_a_repository_says_what_is_missing(repository: Path, run: Run, tmp_path: Path) -> None:
    run("cookiecutter", "--no-input", "--accept-hooks", "no", repository, "example=digits", cwd=tmp_path)
    made = tmp_path / "my-ml-project"
    done = subprocess.run(["invoke", "init"], cwd=made, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    problem, hint = done.stderr.split("\n\n")
    assert "the template's last step was not run" in problem
    assert "models/digits~digits" in problem
    assert "cookiecutter --accept-hooks yes" in hint
