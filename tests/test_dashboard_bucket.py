"""The dashboard over the records in a real bucket, and its task as users type it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud.client import Cloud, connect, connect_if_running
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.dashboard.bucket import BucketRecords, open_records
from edge_tasks.dashboard.export import export_page
from edge_tasks.dashboard.live import LiveLoop
from edge_tasks.dashboard.records import OUTPUT_LIMIT, Row, details_document
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.runs import COMPLETED, QUEUED, RUNNING, RunRecord, Series, utc_now
from edge_tasks.domain.state import Deployment
from edge_tasks.errors import ConfigError, NoAnswerError, NotFoundError
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process
from tests.buckets import bucket
from tests.repositories import Repository


@pytest.fixture
def records(cloud: Cloud, config: EdgeConfig) -> BucketRecords:
    return open_records(cloud, config, None)


def record(number: int, **values: Any) -> RunRecord:
    run_id = f"20261122-2046{number:02}-1a2b3c4d"
    return RunRecord(**{"run_id": run_id, "model_name": "digits", "status": COMPLETED, "created": utc_now(), **values})


def write(store: RunStore, run: RunRecord) -> RunRecord:
    return store.update(run.model_name, run.run_id, lambda _: run).record


def rows(records: BucketRecords) -> dict[str, Row]:
    return {row.id: row for row in records.rows()}


def test_a_run_is_shown_as_it_was_recorded(store: RunStore, records: BucketRecords) -> None:
    run = write(
        store,
        record(
            1, user="ada", commit="a" * 40, dirty=True, parameters={"C": 0.1}, metrics={"accuracy": 0.9},
            model_version="projects/p/locations/r/models/m@3", tags=("best",), data={"data/x": "f00"},
        ),
    )  # fmt: skip
    row = rows(records)[run.run_id]
    assert (row.status, row.user, row.version, row.tags, row.dirty) == ("completed", "ada", "3", ("best",), True)
    assert (row.parameters, row.metrics) == ({"C": 0.1}, {"accuracy": 0.9})


def test_what_goes_on_is_read_again_without_reading_all(store: RunStore, records: BucketRecords) -> None:
    now = utc_now()
    old, live = record(1), record(2, status=RUNNING, started=now, heartbeat=now)
    for run in (old, live, record(3)):
        write(store, run)
    assert len(rows(records)) == 3
    write(store, live.changed(metrics={"loss": 0.5}))
    write(store, record(4))
    write(store, record(5, model_name="other"))
    write(store, old.changed(tags=("late",)))
    seen = rows(records)
    assert seen[live.run_id].metrics == {"loss": 0.5}
    assert record(4).run_id in seen
    assert seen[old.run_id].tags == ()
    again = open_records(records._cloud, records._config, None)
    assert rows(again)[old.run_id].tags == ("late",)
    assert record(5).run_id in rows(again)


def test_a_run_that_is_not_heard_of_has_died(store: RunStore, records: BucketRecords) -> None:
    write(store, record(1, status=RUNNING, heartbeat=utc_now() - timedelta(hours=1)))
    write(store, record(2, status=QUEUED))
    assert [row.status for row in rows(records).values()] == ["queued", "died"]


def test_the_run_that_serves_is_named(store: RunStore, records: BucketRecords, cloud: Cloud) -> None:
    served, tried, idle = (write(store, record(number)) for number in (1, 2, 3))

    def deployment(run: RunRecord, version: int) -> Deployment:
        model = f"projects/p/locations/r/models/m@{version}"
        return Deployment(
            model=model, deployed_model_id="1", deployed_at=utc_now(), deployed_by="ada", run_id=run.run_id
        )

    states = StateStore(cloud)
    states.create()
    with states.locked() as locked:
        locked.save(locked.state.with_deployment("digits", deployment(served, 1)))
        locked.save(locked.state.with_candidate("digits", deployment(tried, 2)))
    seen = rows(records)
    assert seen[served.run_id].serving == "digits-endpoint (version 1)"
    assert seen[tried.run_id].serving == "digits-endpoint (version 2, a part of the requests)"
    assert seen[idle.run_id].serving is None


def test_objects_that_are_no_runs_are_named(store: RunStore, records: BucketRecords, cloud: Cloud) -> None:
    write(store, record(1))
    for name in ("a", "b"):
        cloud.bucket.blob(f"experiments/runs/digits/{name}.json").upload_from_string(b"?")
    assert len(rows(records)) == 1
    warning = records.place()["warning"]
    assert warning["problem"].startswith("gs://my-bucket/experiments/runs/digits/")
    assert "and 1 more like it" in warning["problem"]


def test_the_details_of_a_run(store: RunStore, records: BucketRecords, tmp_path: Path) -> None:
    run = write(store, record(1, sources={"train.py": 5}, data={"data/x": "f00"}, trace="Traceback"))
    store.write_series("digits", run.run_id, {"loss": Series(steps=[0, 1], values=[1.0, None], timestamps=["", ""])})
    store.write_source("digits", run.run_id, "train.py", b"a = \xff")
    output = tmp_path / "output.txt"
    output.write_bytes(b"x" * (OUTPUT_LIMIT + 10))
    store.write_output("digits", run.run_id, output)

    document = details_document(records.details("digits", run.run_id, 0))
    assert document["series"]["loss"]["values"] == [1.0, None]
    assert (document["data_files"], document["trace"]) == ({"data/x": "f00"}, "Traceback")
    assert (document["output"]["from"], document["output"]["to"]) == (10, OUTPUT_LIMIT + 10)
    assert len(document["output"]["text"]) == OUTPUT_LIMIT
    end = details_document(records.details("digits", run.run_id, OUTPUT_LIMIT + 10))["output"]
    assert end == {"text": "", "from": OUTPUT_LIMIT + 10, "to": OUTPUT_LIMIT + 10}
    assert records.file("digits", run.run_id, "train.py") == "a = \ufffd"


@pytest.mark.parametrize(("result", "shown"), [(42, 42), ({"accuracy": 0.5}, None), (None, None)])
def test_a_result_that_is_the_metrics_is_not_shown_twice(
    store: RunStore, records: BucketRecords, result: object, shown: object
) -> None:
    run = write(store, record(1, metrics={"accuracy": 0.5}, result=result))
    assert details_document(records.details("digits", run.run_id, 0))["result"] == shown


def test_a_broken_run_is_exported_without_a_page_of_its_own(
    store: RunStore, records: BucketRecords, cloud: Cloud, tmp_path: Path
) -> None:
    broken, whole = write(store, record(1)), write(store, record(2))
    cloud.bucket.blob(f"experiments/files/digits/{broken.run_id}/metrics.json").upload_from_string(b"?")
    assert export_page(records, LiveLoop(records._cloud, records._config, tmp_path), tmp_path / "page", Silence()) == 2
    assert [path.stem for path in (tmp_path / "page" / "runs" / "digits").iterdir()] == [whole.run_id]


@pytest.mark.parametrize("names", [("..", "x"), ("digits", "../../x"), ("digits", "nothing")])
def test_a_run_that_is_not_there_is_not_found(records: BucketRecords, names: tuple[str, str]) -> None:
    with pytest.raises(NotFoundError):
        records.details(*names, 0)
    with pytest.raises(NotFoundError):
        records.file(*names, "train.py")


def test_files_that_the_record_does_not_name_are_not_read(store: RunStore, records: BucketRecords) -> None:
    run = write(store, record(1))
    store.write_source("digits", run.run_id, "train.py", b"")
    for name in ("train.py", "../../../runs/digits/x.json"):
        with pytest.raises(NotFoundError, match="the run has no file"):
            records.file("digits", run.run_id, name)


def test_one_model_can_be_shown_alone(store: RunStore, cloud: Cloud, config: EdgeConfig) -> None:
    write(store, record(1))
    write(store, record(2, model_name="other"))
    assert list(rows(open_records(cloud, config, "other"))) == [record(2).run_id]
    with pytest.raises(ConfigError, match="no model `nobody`"):
        open_records(cloud, config, "nobody")


@pytest.mark.slow
def test_servers_that_come_back_on_other_ports_are_found(tmp_path: Path) -> None:
    with bucket(tmp_path) as root:
        config = load_config(root, {})
        cloud = connect(config, root)
        run = write(RunStore(cloud, config), record(1))
        records = open_records(cloud, config, None, lambda: connect_if_running(config, root))
        assert list(rows(records)) == [run.run_id]
        emulator_process.stop(root)
        with pytest.raises(NoAnswerError):
            records.rows()
        assert emulator_process.running(root) is None, "they are the user's to start"
        emulator_process.start(root, port=free_port(), storage_port=free_port())
        with pytest.raises(NoAnswerError):
            records.rows()
        assert list(rows(records)) == [run.run_id]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_task_shows_a_training_and_ends_with_ctrl_c(hello_world: Repository, tmp_path: Path) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("python", "models/hello-world/train.py", "with", "is_vertex=False")
    hello_world.run("invoke", "model.deploy")
    process = hello_world.start("invoke", "dashboard", "--no-browser", "--port", "0")
    try:
        assert process.stdout
        address = next(line.strip() for line in process.stdout if line.startswith("http://127.0.0.1:"))
        url, _, key = address.partition("#key=")
        assert len(key) > 20
        runs: list[Any] = []
        while not runs:
            with urllib.request.urlopen(f"{url}api/runs", timeout=60) as answer:
                update = json.load(answer)
            assert update["problem"] is None
            runs = update["runs"]
        assert [(run["model"], run["status"]) for run in runs] == [("hello-world", "completed")]
        assert runs[0]["metrics"].keys() == {"score"}
        the_loop_is_told(url, key, runs[0]["id"])
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest
        assert rest.splitlines()[-1] == "> the dashboard has ended"
    finally:
        process.kill()
        process.wait()

    folder = tmp_path / "page"
    printed = hello_world.run("invoke", "experiments.dashboard", "--export", str(folder)).stdout
    assert printed == f"{folder}/index.html\n"
    (data,) = (folder / "runs" / "hello-world").iterdir()
    assert "train.py" in data.read_text()


def the_loop_is_told(url: str, key: str, run_id: str) -> None:
    """Sections and questions of a real repository, whose one model serves."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{url}api/{path}", timeout=60) as answer:
            return json.load(answer)

    (model,) = get("loop/models")["content"]["models"]
    assert [(one["version"], one["run"]) for one in model["versions"]] == [("1", run_id)]
    assert [(one["role"], one["run"]) for one in model["serving"]] == [("stable", run_id)]
    served = get("loop/endpoints")["content"]
    (endpoint,) = served["endpoints"]
    assert [(one["version"], one["traffic"]) for one in endpoint["versions"]] == [("1", 100)]
    assert served["lock"] is None
    assert "invoke model.deploy" in {change["command"] for change in served["changes"]}
    assert get("loop/jobs")["content"] == {"jobs": []}
    assert get("loop/pipelines")["problem"] is None
    (watched,) = get("loop/monitoring")["content"]["models"]
    assert (watched["model"], watched["enabled"]) == ("hello-world", False)
    form = get("models/hello-world/form")
    assert form["url"] == endpoint["url"]
    request = urllib.request.Request(
        f"{url}api/models/hello-world/predict",
        json.dumps({"instances": form["example"][:1]}).encode(),
        {"Content-Type": "application/json", "X-Edge-Key": key},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert len(json.load(answer)["answer"]["predictions"]) == 1
    # Nobody has asked for the traffic yet, so that this request is among it.
    (answered,) = get("models/hello-world/traffic")["versions"].values()
    assert (answered["errors"], answered["by_status"]) == (0, {"2xx": answered["requests"]})
    assert sum(answered["steps"]) == answered["requests"] >= 1
    assert 0 < answered["median"] <= answered["slow"] < 60_000
    drifts = get("models/hello-world/drifts")["versions"]
    assert list(drifts) == [endpoint["versions"][0]["id"]]
    assert "keeps nothing" in drifts[endpoint["versions"][0]["id"]]["problem"]


def test_a_repository_without_a_bucket_is_told_what_to_do(hello_world: Repository) -> None:
    problem, hint = hello_world.fails("invoke", "experiments.dashboard", "--no-browser")
    assert problem.endswith("is not there")
    assert hint == "invoke init"
