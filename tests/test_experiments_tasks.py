"""`invoke experiments.*` as its users meet it."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_tasks.cloud.client import connect
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.repo.edge_yaml import load_config
from tests.repositories import Repository, copy


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A hello-world repository with three runs: two in this process, the second with changed code, and a job."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("experiments-tasks"))
    try:
        problem, hint = repository.fails("invoke", "experiments.list")
        assert problem.endswith("does not exist")
        assert hint == "invoke init"
        repository.run("invoke", "init")
        empty = repository.run("invoke", "experiments.list")
        assert empty.stdout == ""
        assert "no run is recorded yet" in empty.stderr
        repository.run("invoke", "model.train", "--local", "--set", "strategy=uniform", "--set", "seed=1")
        # The further trainings change what this one wrote, which is not a change of what is trained.
        repository.run("git", "add", "--all")
        repository.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "Train")
        train = repository.root / "models" / "hello-world" / "train.py"
        train.write_text(train.read_text() + "\n# changed\n")
        wait_for_another_second()
        repository.run("invoke", "model.train", "--local", "--set", "strategy=prior", "--set", "seed=2")
        repository.run("git", "checkout", "--quiet", str(train))
        wait_for_another_second()
        repository.run("invoke", "model.train", "--set", "strategy=stratified", "--set", "is_vertex=True")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


def wait_for_another_second() -> None:
    """Wait until a run that begins is listed above those before it: they are ordered by the second."""
    time.sleep(1 - time.time() % 1)


@pytest.fixture(scope="module")
def ids(repository: Repository) -> list[str]:
    """The ids of the three runs, oldest first."""
    return [str(run["run_id"]) for run in reversed(listed(repository))][:3]


def listed(repository: Repository, *flags: str) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = json.loads(repository.run("invoke", "experiments.list", "--json", *flags).stdout)
    return runs


def test_every_kind_of_training_is_listed(repository: Repository) -> None:
    job, changed, first = listed(repository)[-3:]
    assert [run["status"] for run in (first, changed, job)] == ["COMPLETED"] * 3
    assert [run["dirty"] for run in (first, changed, job)] == [False, True, False]
    assert first["job"] is None
    assert "customJobs" in str(job["job"])
    assert "models/hello-world-" in str(job["model_version"])
    assert [run["commit"] for run in (first, changed, job)] == [
        repository.run("git", "rev-parse", commit).stdout.strip() for commit in ("HEAD~1", "HEAD", "HEAD")
    ]


def test_runs_are_chosen_and_ordered_by_flags(repository: Repository, ids: list[str]) -> None:
    assert [run["run_id"] for run in listed(repository, "--where", "strategy=prior")] == [ids[1]]
    assert listed(repository, "--status", "failed") == []
    assert [run["run_id"] for run in listed(repository, "--sort", "started", "--limit", "1")] == [ids[0]]
    rows = list(csv.DictReader(io.StringIO(repository.run("invoke", "experiments.list", "--csv").stdout)))
    assert {row["parameters.strategy"] for row in rows} == {"uniform", "prior", "stratified"}
    problem, hint = repository.fails("invoke", "experiments.list", "--where", "stratgy=prior")
    assert (problem, hint) == ("no run has `stratgy`", "did you mean `strategy`?")
    table = repository.run("invoke", "experiments.list", "--limit", "1")
    assert len(table.stdout.splitlines()) == 2
    assert "runs; all of them: --limit 0" in table.stderr


def test_a_run_is_shown_in_full(repository: Repository, ids: list[str]) -> None:
    text = repository.run("invoke", "experiments.show", ids[1]).stdout
    assert "(files differed from it)" in text
    assert "  strategy    prior" in text
    source = repository.run("invoke", "experiments.show", ids[1], "--file", "train.py").stdout
    assert source.endswith("# changed\n")
    assert json.loads(repository.run("invoke", "experiments.show", ids[0], "--json").stdout)["run_id"] == ids[0]
    problem, hint = repository.fails("invoke", "experiments.show", "20")
    assert "runs begin with `20`" in problem
    assert hint == "write more of the id"
    problem, _ = repository.fails("invoke", "experiments.show", "1999")
    assert problem == "there is no run `1999`"
    problem, _ = repository.fails("invoke", "experiments.show", ",".join(ids))
    assert problem == f"there is no run `{','.join(ids)}`"
    assert repository.fails("invoke", "experiments.remove", ",")[0] == "no run is named"


def test_runs_are_compared(repository: Repository, ids: list[str]) -> None:
    lines = repository.run("invoke", "experiments.compare", ids[0], ",".join(ids[1:])).stdout.splitlines()
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert rows[""] == ids
    assert rows["parameters.strategy"] == ["uniform", "prior", "stratified"]
    differing = json.loads(repository.run("invoke", "experiments.compare", ids[0], ids[1], "--json").stdout)[
        "differing"
    ]
    assert differing["parameters"]["seed"] == [1, 2]


def test_a_run_is_not_compared_with_itself(repository: Repository, ids: list[str]) -> None:
    problem, hint = repository.fails("invoke", "experiments.compare", ids[0], ids[0])
    assert (problem, hint) == (f"that is one run, {ids[0]}", "name two or more")


def test_a_run_gets_tags_and_loses_them(repository: Repository, ids: list[str]) -> None:
    assert repository.fails("invoke", "experiments.tag", ids[0], ",")[0] == "no tag is named"
    repository.run("invoke", "experiments.tag", ids[0], "good,first")
    assert [run["run_id"] for run in listed(repository, "--tag", "good")] == [ids[0]]
    repository.run("invoke", "experiments.tag", ids[0], "good", "--remove")
    assert listed(repository, "--tag", "good") == []
    assert [run["tags"] for run in listed(repository, "--tag", "first")] == [["first"]]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_run_is_done_again(repository: Repository, ids: list[str], number: int) -> None:
    before = repository.run("git", "status", "--short", "--untracked-files=no").stdout
    result = repository.run("invoke", "experiments.reproduce", ids[number])
    assert "the metrics are the same" in result.stderr
    assert ("its recorded source files are taken (train.py)" in result.stderr) == (number == 1)
    assert {line.split("\t")[-1] for line in result.stdout.splitlines()[1:]} == {"same"}
    folder = repository.root / ".edge" / "reproductions" / ids[number]
    cache = repository.run("dvc", "--cd", str(folder), "cache", "dir").stdout.strip()
    assert Path(os.path.realpath(cache)) == repository.root / ".dvc" / "cache"
    newest = json.loads(
        repository.run("invoke", "experiments.show", str(listed(repository)[0]["run_id"]), "--json").stdout
    )
    assert newest["reproduced_from"] == ids[number]
    assert newest["status"] == "COMPLETED"
    assert repository.run("git", "status", "--short", "--untracked-files=no").stdout == before
    repository.run("invoke", "experiments.remove", newest["run_id"], "--yes")


@pytest.mark.parametrize(
    ("commit", "problem"),
    [("f" * 40, f"the commit {'f' * 40} is not in this clone"), (None, "not trained in a git repository")],
)
def test_a_run_whose_code_is_not_here_is_not_done_again(
    repository: Repository, ids: list[str], commit: str | None, problem: str
) -> None:
    config = load_config(repository.root, {})
    store = RunStore(connect(config, repository.root), config)
    lost = store.read("hello-world", ids[0]).record.changed(run_id="20200101-000000-lost", commit=commit)
    written = store.write(lost, 0)
    try:
        assert problem in repository.fails("invoke", "experiments.reproduce", "2020")[0]
        assert store.read("hello-world", lost.run_id) == written
    finally:
        store.remove("hello-world", lost.run_id)


def test_a_removed_run_is_gone_and_nothing_is_removed_unasked(repository: Repository, ids: list[str]) -> None:
    problem, hint = repository.fails("invoke", "experiments.remove", ids[0])
    assert (problem, hint) == ("nothing was removed", "add `--yes` to remove without being asked")
    again = repository.run("invoke", "model.train", "--local", "--set", "seed=9")
    assert again.returncode == 0
    newest = str(listed(repository)[0]["run_id"])
    repository.run("invoke", "experiments.remove", newest, "--yes")
    assert newest not in [run["run_id"] for run in listed(repository)]
