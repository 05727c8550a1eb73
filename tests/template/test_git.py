"""The first commit that the post hook makes, and when it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_tasks.tasks import namespace

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def test_everything_is_in_one_commit_on_main(baked: Path, run: Run) -> None:
    assert run("git", "status", "--porcelain", cwd=baked).stdout == ""
    assert run("git", "branch", "--show-current", cwd=baked).stdout == "main\n"
    log = run("git", "log", "--format=%s", cwd=baked).stdout
    assert log == "Start from the vertex:edge template\n"
    tracked = set(run("git", "ls-files", cwd=baked).stdout.splitlines())
    assert {"edge.yaml", "test_payload.json", ".dvc/config"} <= tracked
    assert "100755" in run("git", "ls-files", "--stage", "test_endpoint.sh", cwd=baked).stdout
    assert "120000" in run("git", "ls-files", "--stage", "test_payload.json", cwd=baked).stdout


def test_what_the_loop_writes_and_must_not_be_committed_is_ignored(baked: Path, run: Run) -> None:
    model = next((baked / "models").iterdir()).name
    ignored = [
        ".edge/emulator.log",
        ".dvc/config.local",
        ".venv/bin/python",
        "dvc_plots/index.html",
        "comparison.md",
        "monitoring/digits.md",
        "pipeline.yaml",
        f"models/{model}/model/model.joblib",
        f"models/{model}/__pycache__/train.pyc",
    ]
    if model != "hello-world":
        ignored.append(f"data/{model}.{'csv' if model == 'tabular' else 'npz'}")
    if model == "fashion-mnist":
        ignored.append(f"data/{model}/train-images-idx3-ubyte")
    assert run("git", "check-ignore", *ignored, cwd=baked).stdout.splitlines() == ignored


def test_what_a_task_writes_without_being_told_where_is_ignored(baked: Path, run: Run) -> None:
    tasks = (namespace[name] for name in namespace.task_names)
    defaults = [argument.default for task in tasks for argument in task.get_arguments() if argument.name == "output"]
    # infra/ is Terraform's code, which is committed.
    written = [f"{name}/x" for name in defaults if name not in ("", "infra") and isinstance(name, str)]
    assert {"monitoring/x", "pipeline.yaml/x"} <= set(written)
    assert run("git", "check-ignore", *written, cwd=baked).stdout.split() == written


def test_without_an_identity_the_template_signs_the_commit(bake: Bake, run: Run) -> None:
    author = run("git", "log", "--format=%an <%ae>", cwd=bake()).stdout
    assert author == "vertex-edge <vertex-edge@localhost>\n"


def test_with_an_identity_the_commit_is_the_user_s(
    bake: Bake, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    author = run("git", "log", "--format=%an <%ae>", cwd=bake()).stdout
    assert author == "Ada <ada@example.org>\n"


def test_without_git_the_files_are_there_and_the_user_is_told(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    baked = bake()
    assert (baked / "models" / "hello-world" / "train.py").is_file()
    assert not (baked / ".git").exists()
    assert capfd.readouterr().err.startswith("warning: git is not installed")


def test_inside_another_repository_nothing_is_committed(
    bake_into: Bake, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run("git", "init", "--quiet", cwd=tmp_path)
    baked = bake_into(tmp_path)
    assert not (baked / ".git").exists()
    assert "warning: this folder is already part of a git repository" in capfd.readouterr().err


def test_where_another_repository_looks_away_it_is_a_repository_of_its_own(
    bake_into: Bake, run: Run, tmp_path: Path
) -> None:
    run("git", "init", "--quiet", cwd=tmp_path)
    (tmp_path / ".gitignore").write_text("/demo/\n")
    baked = bake_into(tmp_path / "demo")
    assert (baked / ".git").is_dir()
    assert run("git", "status", "--porcelain", cwd=baked).stdout == ""


def test_git_variables_of_another_repository_do_not_reach_ours(
    bake: Bake, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run("git", "init", "--quiet", cwd=other)
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(other / ".git"))
        patch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
        baked = bake()
    assert (baked / ".git").is_dir()
    assert run("git", "ls-files", cwd=other).stdout == ""


def test_a_commit_that_git_refuses_does_not_undo_the_rest(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\necho 'no commits today' >&2\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    baked = bake()
    assert (baked / "edge.yaml").is_file()
    output = capfd.readouterr()
    assert output.err == "warning: git could not make the first commit: no commits today\n"
    assert "invoke model.deploy" in output.out


def test_rendering_over_an_older_repository_leaves_its_own_files_and_commits(bake: Bake, run: Run) -> None:
    baked = bake()
    own = [baked / "models/hello-world/features.py", baked / "notes.py~", baked / "models/old~hello-world.txt"]
    for path in own:
        path.write_text("mine\n")
    bake(overwrite_if_exists=True)
    assert [path.read_text() for path in own] == ["mine\n"] * 3
    assert not (baked / "models" / "hello-world~hello-world").exists()
    assert run("git", "rev-list", "--count", "HEAD", cwd=baked).stdout == "1\n"
    assert run("git", "diff", "--name-only", cwd=baked).stdout == ""


@pytest.mark.parametrize(
    ("name", "others"), [("answers.py", {"click", "jinja2", "hooks"}), ("post_gen_project.py", set()), ("source.py", set())]
)
def test_what_cookiecutter_runs_needs_nothing_that_it_has_not(repository: Path, name: str, others: set[str]) -> None:
    lines = (repository / "hooks" / name).read_text().splitlines()
    modules = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert modules <= {*sys.stdlib_module_names, *others}
