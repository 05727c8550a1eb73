"""A team of two and a CI, in three clones with target gcp: one bucket, one registry, one endpoint, one shared state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tasks.tools import emulator_process
from tests.google_cloud.conftest import PROJECT, REGION, Google
from tests.repositories import Repository

pytestmark = pytest.mark.slow


def named(google: Google, servers: emulator_process.Servers, name: str, root: Path) -> Repository:
    """Return the repository at `root` with the environment of a person of that name.

    Their credentials are those of the emulator's metadata server, which DVC's gcsfs takes, too.
    """
    led = emulator_process.environment(servers, PROJECT, REGION)
    environment = {name: value for name, value in google.repository.environment.items() if name != "NO_GCE_CHECK"}
    environment |= {name: value for name, value in led.items() if name != "PYTHONPATH"}
    home = root.parent / f"home-{name}"
    home.mkdir()
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", f"{name}@b"))
    }
    return Repository(root, environment | identity | {"HOME": str(home)})


def commit(repository: Repository, message: str) -> None:
    repository.run("git", "commit", "--quiet", "--all", "--message", message)
    repository.run("git", "push", "--quiet", "origin", "HEAD:main")


def is_clean(repository: Repository) -> bool:
    return repository.run("git", "status", "--porcelain").stdout == ""


def test_three_clones_share_data_models_and_releases(
    google: Google, servers: emulator_process.Servers, tmp_path: Path
) -> None:
    google.init()
    google.credentials.unlink()
    ada = named(google, servers, "ada", google.repository.root)
    origin = tmp_path / "origin.git"
    ada.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(origin))
    ada.run("git", "remote", "add", "origin", str(origin))
    commit(ada, "Work on Google Cloud")
    ada.run("dvc", "repro", "--quiet")
    ada.run("git", "add", "--all")
    ada.run("dvc", "push", "--quiet")
    commit(ada, "Train")

    clones = []
    for name in ("bob", "ci"):
        root = tmp_path / name
        ada.run("git", "clone", "--quiet", str(origin), str(root))
        clones.append(named(google, servers, name, root))
    bob, ci = clones

    # Bob has what Ada made, and nothing of it changes.
    bob.run("dvc", "pull", "--quiet")
    assert "didn't change" in bob.run("dvc", "repro").stdout
    bob.run("invoke", "init")
    assert is_clean(bob)
    bob.run("invoke", "model.deploy")

    # CI finds nothing to train, nothing to record, and that Bob's release serves.
    ci.run("invoke", "ci.train")
    assert "there is nothing to commit" in ci.run("invoke", "ci.record").stderr
    assert "version 1 serves already" in ci.run("invoke", "ci.deploy").stderr

    # Bob's change is trained by CI, released in two steps, and everybody sees it.
    bob.set_parameter("hello-world", "strategy", "uniform")
    commit(bob, "Try another strategy")
    ci.run("git", "pull", "--quiet")
    ci.run("invoke", "ci.train")
    ci.run("invoke", "ci.record")
    ci.run("invoke", "ci.deploy", "--traffic", "10")
    ada.run("git", "pull", "--quiet", "--ff-only", "origin", "main")
    ada.run("dvc", "pull", "--quiet")
    assert "didn't change" in ada.run("dvc", "repro").stdout
    assert is_clean(ada)
    ada.run("invoke", "model.promote")
    assert json.loads(bob.run("invoke", "model.predict").stdout)["modelVersionId"] == "2"
