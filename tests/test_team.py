"""A team of two and a CI, in three clones with targets `local` and a folder that all see."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.repositories import Repository, copy

pytestmark = pytest.mark.slow

ADA = {
    f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "a@b"))
}


@pytest.fixture
def ada(baked: dict[str, Path], tmp_path: Path) -> Iterator[Repository]:
    repository = copy(baked["digits"], tmp_path / "ada")
    repository = replace(repository, environment=repository.environment | ADA)
    yield repository
    repository.run("invoke", "local.stop", check=False)


def clone(of: Repository, name: str, folder: Path) -> Repository:
    (folder / name / "home").mkdir(parents=True)
    root = folder / name / "clone"
    of.run("git", "clone", "--quiet", str(of.root), str(root))
    return Repository(root, of.environment | {"HOME": str(folder / name / "home")})


def commit(repository: Repository) -> None:
    repository.run("git", "add", "--all")
    repository.run("git", "commit", "--quiet", "--message", "Work")


def test_what_one_trained_the_others_have_and_nothing_of_it_changes(ada: Repository, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (ada.root / "data" / "notes.csv").write_text("a,b\n1,2\n")
    ada.run("invoke", "init")
    ada.run("dvc", "add", "--quiet", "data/notes.csv")
    commit(ada)
    found = ada.run("invoke", "doctor").stdout
    assert "`data/notes.csv`: in this clone only" in found
    assert "dvc remote add --default team FOLDER" in found
    ada.run("dvc", "repro", "--quiet")
    ada.run("dvc", "remote", "add", "--quiet", "--default", "team", str(tmp_path / "shared"))
    ada.run("dvc", "push", "--quiet")
    commit(ada)
    assert "added: `data/notes.csv`" in ada.run("invoke", "doctor").stdout

    for name in ("bob", "ci"):
        other = clone(ada, name, tmp_path)
        try:
            # The first thing that a user of DVC types.
            other.run("dvc", "pull", "--quiet")
            assert (other.root / "data" / "notes.csv").read_text() == "a,b\n1,2\n"
            other.run("invoke", "init")
            assert "didn't change" in other.run("dvc", "repro").stdout
            assert other.run("git", "status", "--porcelain").stdout == ""
            other.run("invoke", "ci.deploy" if name == "ci" else "model.deploy", CI="true")
            assert "predictions" in other.run("./test_endpoint.sh").stdout
            assert other.run("git", "status", "--porcelain").stdout == ""
        finally:
            other.run("invoke", "local.stop", check=False)


def test_a_clone_without_a_place_for_all_says_so_in_seconds(ada: Repository, tmp_path: Path) -> None:
    (ada.root / "data" / "notes.csv").write_text("a,b\n1,2\n")
    ada.run("invoke", "init")
    ada.run("dvc", "add", "--quiet", "data/notes.csv")
    commit(ada)
    ada.run("dvc", "repro", "--quiet")
    commit(ada)
    bob = clone(ada, "bob", tmp_path)
    began = time.monotonic()
    pulled = bob.run("dvc", "pull", check=False)
    assert time.monotonic() - began < 20
    assert pulled.returncode != 0
    assert "data/notes.csv" in pulled.stderr
    assert "Traceback" not in pulled.stderr
    try:
        bob.run("invoke", "init")
        found = bob.run("invoke", "doctor").stdout
        assert "not here: `data/notes.csv`" in found
        assert "who added them has to dvc push" in found
        # Ada's artifact lies in a bucket of the same name, which is her own emulator's.
        problem, hint = bob.fails("invoke", "model.deploy")
        assert problem == "the artifact of `digits` is not on this machine (models/digits/model)"
        assert hint.startswith("dvc checkout models/digits/model, or dvc pull")
        # What stages make is made again, in a registry to itself; it is the same, so nothing that is committed changes.
        said = bob.run("dvc", "repro").stderr
        assert "trained_model.json is as it was" in said
        assert bob.run("git", "status", "--porcelain").stdout == ""
        bob.run("invoke", "model.deploy")
        assert "predictions" in bob.run("./test_endpoint.sh").stdout
    finally:
        bob.run("invoke", "local.stop", check=False)


def test_the_remote_of_another_target_is_this_machine_s_own_setting(ada: Repository) -> None:
    ada.run("invoke", "dvc.init", EDGE_TARGET="gcp")
    assert "gs://my-gcp-project-my-project/dvcstore" in ada.run("dvc", "remote", "list").stdout
    assert ada.run("git", "status", "--porcelain").stdout == ""
    ada.run("invoke", "dvc.init")
    assert "gs://" not in ada.run("dvc", "remote", "list").stdout
    assert ada.run("git", "status", "--porcelain").stdout == ""


def test_a_repository_whose_template_committed_the_bucket_s_address_goes_on(ada: Repository) -> None:
    config = ada.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("../.edge/dvcstore", "gs://my-gcp-project-my-project/dvcstore"))
    commit(ada)
    ada.run("invoke", "init")
    assert ".edge/dvcstore" in ada.run("dvc", "remote", "list").stdout
    assert ada.run("git", "status", "--porcelain").stdout == ""
    shutil.rmtree(ada.root / ".edge", ignore_errors=True)
