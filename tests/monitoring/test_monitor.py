"""`invoke model.monitor` as its users meet it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud import endpoints, model_registry
from edge_tasks.cloud.client import connect
from edge_tasks.cloud.request_batch import Batch
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.baseline import make_baseline
from edge_tasks.main import program
from edge_tasks.monitoring import requests
from edge_tasks.repo.edge_yaml import load_config
from tests.repositories import Repository, copy

pytestmark = pytest.mark.slow
COLUMNS = ("age", "income", "region")


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A deployed model that takes whatever it is asked, and keeps what that is."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("monitor"))
    try:
        repository.run("invoke", "init")
        repository.run("invoke", "model.train", "--set", "is_vertex=False")
        assert repository.fails("invoke", "model.monitor")[1] == "invoke model.deploy --name hello-world"
        repository.run("invoke", "model.deploy")
        problem, hint = repository.fails("invoke", "model.monitor")
        assert problem == "the endpoint of `hello-world` keeps nothing of what it is asked"
        told = repository.run(*hint.split()).stderr
        assert "from now on 100% of what `hello-world` is asked and answers is kept" in told
        assert "personal data too" in told
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


def rows(amount: int, shift: float = 0.0, seed: int = 1) -> list[list[float]]:
    chance = random.Random(seed)
    return [[chance.gauss(40 + shift, 10), chance.expovariate(1e-4), chance.randrange(4)] for _ in range(amount)]


def ask(repository: Repository, instances: list[Any]) -> None:
    config = load_config(repository.root)
    cloud = connect(config, repository.root)
    endpoint = StateStore(cloud).load().model("hello-world").endpoint
    assert endpoint is not None
    endpoints.predict(cloud, endpoint, json.dumps({"instances": instances}).encode())


def kept(repository: Repository) -> list[Batch]:
    cloud = connect(load_config(repository.root), repository.root)
    return list(requests.read(cloud, "hello-world", requests.now(cloud) - timedelta(days=1)))


def monitored(repository: Repository, *flags: str, status: int = 0) -> dict[str, Any]:
    result = repository.run("invoke", "model.monitor", "--json", *flags, check=False)
    assert result.returncode == status, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["verdict"] in result.stderr
    return found


def test_a_shift_of_what_is_asked_is_found_against_a_file_of_rows(repository: Repository) -> None:
    repository.run("invoke", "model.monitor", "--delete", "--yes")
    table = repository.root / "training.csv"
    lines = [",".join(map(str, row)) for row in rows(3000)]
    table.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    ask(repository, rows(100, seed=2))
    few = eventually(repository, "training.csv", 100)
    assert few["verdict"] == "not enough requests to say: 100 of 200"
    ask(repository, rows(500, seed=3))
    calm = eventually(repository, "training.csv", 600)
    assert (calm["changed"], calm["verdict"]) == ([], "no column has changed against training.csv")
    # The names are the file's: the model is asked with lists.
    assert {one["column"] for one in calm["columns"]} == set(COLUMNS)
    ask(repository, rows(600, shift=10, seed=4))
    alarm = eventually(repository, "training.csv", 1200, status=1)
    assert alarm["changed"] == ["age"]
    shown = repository.run("invoke", "model.monitor", "--baseline", "training.csv", check=False)
    assert shown.returncode == 1
    header, first, *_ = shown.stdout.splitlines()
    assert header.split("\t") == ["column", "before", "now", "distance", "threshold", "verdict"]
    assert first.split("\t")[0::5] == ["age", "changed"]
    assert "1200 requests: `age` has changed against training.csv" in shown.stderr


def eventually(repository: Repository, baseline: str, requests: int, status: int = 0) -> dict[str, Any]:
    """What was asked is there to read after a second."""
    for _ in range(20):
        result = repository.run("invoke", "model.monitor", "--json", "--baseline", baseline, check=False)
        found: dict[str, Any] = json.loads(result.stdout or "{}")
        if found.get("requests") == requests:
            assert result.returncode == status
            return found
    raise AssertionError(result.stdout + result.stderr)


def test_an_alarm_can_be_tried_before_it_is_needed(repository: Repository) -> None:
    sample = repository.root / "sample.jsonl"
    sample.write_text("".join(json.dumps({"age": age, "city": "Köln"}) + "\n" for age, *_ in rows(400)))
    baseline = repository.root / "known.json"
    columns: dict[str, list[Any]] = {"age": [age for age, *_ in rows(400)], "city": ["Köln"] * 400}
    baseline.write_text(make_baseline(columns, "a training").to_json())
    place = ("--baseline", "known.json", "--replay", "sample.jsonl")
    assert monitored(repository, *place)["changed"] == []
    assert monitored(repository, *place, "--shift", "age=+10", status=1)["changed"] == ["age"]
    assert monitored(repository, *place, "--shift", "age=*2", "--shift", "age=-1", status=1)["changed"] == ["age"]
    problem, hint = repository.fails("invoke", "model.monitor", *place, "--shift", "agee=+1")
    assert (problem, hint) == ("there is no column `agee`", "there are `age`, `city`")
    problem, _ = repository.fails("invoke", "model.monitor", *place, "--shift", "city=+1")
    assert problem == "`city` holds no numbers that could be shifted"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--on", "--off"), "--on, --off and --delete contradict each other"),
        (("--on", "--sample", "2"), "the sample 2 is not a share"),
        (("--since", "yesterday"), "`yesterday` is not a length of time"),
        (("--before", "--against", "1"), "--baseline, --before and --against exclude each other"),
        (("--shift", "a=+1"), "--shift changes the rows of --replay"),
        (("--by", "age", "--before"), "--by compares requests with a training or a file"),
        (("--older-than", "1d"), "--older-than says what --delete leaves"),
        (("--training", "gs://a/b.csv"), "--once, --schedule, --training and --target belong to --managed"),
        (("--schedule",), "--once, --schedule, --training and --target belong to --managed"),
        (("--managed", "--schedule", "--off"), "--once, --schedule and --off contradict each other"),
        (
            ("--managed", "--once", "--training", "b.csv", "--baseline", "sample.jsonl"),
            "`b.csv` is not a file",
        ),
        (("--managed", "--by", "age"), "--managed sets up a job of Vertex AI's"),
        (("--html", "no/folder.html"), "the report cannot be written: `no/folder.html` is not a file in a folder"),
        (("--baseline", "nowhere.csv"), "`nowhere.csv` cannot be read"),
        (("--baseline", "edge.yaml"), "`edge.yaml`, line 1 is not JSON"),
        (("--against", "99"), "the version 99 does not serve"),
        ((), "the version of `hello-world` that serves has no baseline.json"),
    ],
)
def test_each_slip_is_told_in_two_lines(
    repository: Repository,
    flags: tuple[str, ...],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: there are many, and starting an interpreter for each takes a second."""
    monkeypatch.chdir(repository.root)
    monkeypatch.setenv("COLUMNS", "200")
    program.run(["edge", "model.monitor", *flags], exit=False)
    out, err = capsys.readouterr()
    assert out == ""
    told, _, hint = err.rpartition("error: ")[2].partition("\n\nhint: ")
    assert told.startswith(problem)
    assert hint.strip()


def test_ci_fails_once_for_a_drift_that_nobody_was_told_of(repository: Repository) -> None:
    """With all of it: the version's own baseline, its report as files, groups and true answers."""
    repository.run("invoke", "model.monitor", "--delete", "--yes")
    assert "cannot be compared" in repository.run("invoke", "ci.monitor").stderr
    cloud = connect(load_config(repository.root), repository.root)
    deployed = StateStore(cloud).load().model("hello-world").deployed
    assert deployed is not None
    columns = {name: [row[place] for row in rows(3000)] for place, name in enumerate(COLUMNS)}
    artifact = model_registry.get_model(cloud, deployed.model).artifact_uri.rstrip("/")
    bucket, _, folder = artifact.removeprefix("gs://").partition("/")
    objects, baseline = cloud.objects_in(bucket), f"{folder}/baseline.json"
    objects.write(baseline, make_baseline(columns, "its training").to_json())
    try:
        before = sum(map(len, kept(repository)))
        ask(repository, rows(1200, shift=10, seed=9))
        while sum(map(len, kept(repository))) == before:
            pass
        first = repository.run("invoke", "ci.monitor", check=False)
        assert (first.returncode, "`age` has changed against its training" in first.stderr) == (1, True)
        assert "this fails once, so that somebody looks: run CI's `retrain` for `hello-world`" in first.stderr
        again = repository.run("invoke", "ci.monitor")
        assert "`hello-world`: that is known, nothing more is done about it" in again.stderr
        folder_of_reports = repository.root / "monitoring"
        assert {path.name for path in folder_of_reports.iterdir()} == {
            f"hello-world.{kind}" for kind in ("html", "md", "json")
        }
        assert json.loads((folder_of_reports / "hello-world.json").read_text())["changed"] == ["age"]

        told = repository.run("invoke", "model.monitor", "--by", "region", "--html", "report.html", check=False)
        assert told.returncode == 1
        assert {tuple(line.split("\t")[:2]) for line in told.stdout.splitlines()[1:] if line[0] != "\t"} >= {
            ("0", "training"), ("0", "now"), ("3", "now"),
        }  # fmt: skip
        assert "does not say why" in told.stderr
        assert "Groups of region" in (repository.root / "report.html").read_text()

        logged = kept(repository)
        ids = [(one, len(asked)) for batch in logged for one, asked in zip(batch.request_ids, batch.asked, strict=True)]
        true = "".join(f"{one},{place},1\n" for one, instances in ids for place in range(instances))
        (repository.root / "true.csv").write_text("request_id,instance,label\n" + true)
        days = json.loads(repository.run("invoke", "model.feedback", "--file", "true.csv", "--json").stdout).values()
        total = sum(instances for _, instances in ids)
        assert sum(day["rows"] for day in days) == sum(day["errors"][0] for day in days) == total
        assert all(day["errors"][1] == 0 for day in days)
    finally:
        objects.delete(baseline)


def test_what_was_kept_can_be_deleted(repository: Repository) -> None:
    problem, hint = repository.fails("invoke", "model.monitor", "--delete")
    assert (problem, hint) == ("nothing was deleted", "add `--yes` to delete without being asked")
    left = repository.run("invoke", "model.monitor", "--delete", "--older-than", "1d", "--yes").stderr
    assert "0 rows or files of rows, 0 files of true answers" in left
    gone = repository.run("invoke", "model.monitor", "--delete", "--yes").stderr
    assert "deleted all that `hello-world` was asked" in gone
    assert kept(repository) == []


def test_vertex_ai_s_own_monitoring_is_set_up_and_ended(repository: Repository) -> None:
    """What it finds is shown in test_managed.py."""
    told = repository.run("invoke", "model.monitor", "--managed").stderr
    assert "looks every 24 h at 100% of the requests; it is pending" in told
    config = load_config(repository.root)
    cloud = connect(config, repository.root)
    training = "\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in rows(3000))])
    cloud.objects.write("training.csv", f"{training}\n".encode())
    (repository.root / "training.csv").write_text(f"{training}\n")
    before = sum(map(len, kept(repository)))
    ask(repository, rows(500, shift=25))
    while sum(map(len, kept(repository))) == before:
        pass
    uri = f"gs://{config.storage_bucket.bucket_name}/training.csv"
    once = ("--managed", "--once", "--baseline", "training.csv", "--training", uri)
    looked = repository.run("invoke", "model.monitor", *once, check=False)
    assert looked.returncode == 1
    assert [line.split("\t")[:2] for line in looked.stdout.splitlines()[1:2]] == [["age", "input"]]
    assert f"compared the last 1d with {uri}" in looked.stderr
    daily = repository.run("invoke", "model.monitor", "--managed", "--schedule", "--baseline", "training.csv").stderr
    assert "looks at `0 6 * * *`, next " in daily
    assert "compares the last 24h with the time before; there was none yet" in daily
    watching = repository.run("invoke", "cost.status").stdout
    assert "hello-world monitoring job " in watching
    assert "hello-world schedule of a model monitor " in watching
    told = repository.run("invoke", "model.monitor", "--managed", "--off").stderr
    assert "/modelDeploymentMonitoringJobs/" in told
    assert "/schedules/" in told
    assert "/modelMonitors/" in told
    problem, hint = repository.fails("invoke", "model.monitor", "--managed", "--off")
    assert (problem, hint) == (
        "`hello-world` has no monitoring job, and no monitor", "invoke model.monitor --name hello-world --managed",
    )  # fmt: skip


def test_after_off_nothing_more_is_kept(repository: Repository) -> None:
    told = repository.run("invoke", "model.monitor", "--off").stderr
    assert "the endpoint of `hello-world` keeps nothing from now on" in told
    assert "stays" in told
    told = repository.run("invoke", "model.monitor", "--on", "--sample", "0.5").stderr
    assert "from now on 50% of what `hello-world` is asked and answers is kept" in told
    requests.switch(connect(load_config(repository.root), repository.root), "hello-world", 1.0)
