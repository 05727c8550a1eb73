"""`make demo` removes what an earlier demo left, and nothing that somebody made or changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.repositories import ROOT, clean_environment


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """What an earlier demo has left, much smaller."""
    demo = tmp_path / "demo"
    repository = demo / "digits-demo"
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet")
    (repository / ".gitignore").write_text("data/\n")
    (repository / "train.py").write_text("C = 1\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Made from the template")
    (repository / "metrics.json").write_text("{}\n")
    files = {name: git(repository, "hash-object", name) for name in (".gitignore", "metrics.json", "train.py")}
    lines = [f"{git(repository, 'rev-parse', 'HEAD')}  the last commit", *(f"{h}  {n}" for n, h in files.items())]
    (demo / ".made-by-make-demo").touch()
    (demo / ".left-by-make-demo").write_text("".join(f"{line}\n" for line in lines))
    return demo


def run(demo: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo without a terminal, where none of its programs is installed: it ends when it would make anything."""
    environment = {**os.environ, "DEMO_DIR": str(demo), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(
        [str(ROOT / "scripts" / "demo")], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def change(repository: Path) -> str:
    (repository / "train.py").write_text("C = 2\n")
    return "train.py"


def add(repository: Path) -> str:
    (repository / "my model.py").write_text("")
    return "my model.py"


def commit(repository: Path) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "My own")
    return "the last commit"


def add_beside(repository: Path) -> str:
    (repository.parent / "notes.txt").write_text("")
    return "./notes.txt"


def lose_the_notes(repository: Path) -> str:
    (repository.parent / ".left-by-make-demo").unlink()
    return "all of it: an earlier demo was killed"


@pytest.mark.parametrize("disturb", [change, add, commit, add_beside, lose_the_notes])
def test_what_somebody_changed_in_the_demo_is_kept_and_named(demo: Path, disturb) -> None:  # type: ignore[no-untyped-def]
    named = disturb(demo / "digits-demo")
    done = run(demo)
    assert done.returncode == 1
    assert (
        f"was changed after the last demo, and a new demo would remove it:\n  {named}\n\nhint: make demo" in done.stderr
    )
    assert (demo / "digits-demo" / "train.py").exists()


def test_a_demo_that_nobody_changed_is_removed_by_the_next(demo: Path) -> None:
    (demo / "digits-demo" / "data").mkdir()
    (demo / "digits-demo" / "data" / "ignored").touch()
    done = run(demo)
    assert "cookiecutter" in done.stderr.splitlines()[-1]
    assert not (demo / "digits-demo").exists()


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = run(tmp_path)
    assert done.returncode == 1
    assert "was not made by make demo\n\nhint: make demo DEMO_DIR=some/other/folder" in done.stderr
    assert (tmp_path / "mine").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_of_monitoring_goes_through_the_whole_circle(tmp_path: Path) -> None:
    """Deployed, no alarm, an alarm that names the column, trained again, a canary, promoted, no alarm."""
    (tmp_path / "home").mkdir()
    environment = {
        **clean_environment(tmp_path / "home"),
        "DEMO_DIR": str(tmp_path / "demo"),
        "DEMO_REQUESTS": "300",
        **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
    }
    script = ROOT / "scripts" / "demo-monitoring"
    done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    told = done.stderr
    calm, alarm = told.index("no column has changed against its training"), told.index("`age` has changed")
    after = told.rindex("no column has changed against its training")
    assert calm < alarm < told.index("`churn` version 2 serves all the requests") < after
    again = subprocess.run([str(script)], env=environment, capture_output=True, text=True)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
