"""Runs that are shown elsewhere, too: in Vertex AI Experiments, and in a MongoDB."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.endpoints import same_resource
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.cloud.secret_manager import read_secret
from edge_tasks.cloud.vertex_experiments import show_run
from edge_tasks.domain.config import Experiments
from edge_tasks.domain.runs import COMPLETED, RUNNING, RunRecord, utc_now
from edge_tasks.errors import CloudError
from edge_tasks.jobs.package import mirror_requirements
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process
from edge_tasks.tracking import uploader
from edge_tasks.tracking.sinks import mongo
from edge_tasks.tracking.sinks.background import BackgroundSink
from edge_tasks.tracking.sinks.mongo import MongoEvents

EDGE_YAML = """\
google_cloud_project: {project_id: my-project, region: us-central1}
storage_bucket: {bucket_name: my-bucket}
"""
SECRET = "mongodb://user:password@mongo.example/sacred"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    root = tmp_path_factory.mktemp("mirrors")
    (root / "edge.yaml").write_text(EDGE_YAML)
    try:
        yield connect(load_config(root, {}), root)
    finally:
        emulator_process.stop(root)


def shown(cloud: Cloud, context_id: str) -> dict[str, Any]:
    """The metadata of a context as JSON."""
    context = cloud.metadata.get_context(name=f"{cloud.parent}/metadataStores/default/contexts/{context_id}")
    found: dict[str, Any] = json.loads(type(context).to_json(context))
    return found


def test_a_run_is_shown_in_vertex_ai_experiments_as_the_sdk_would(cloud: Cloud) -> None:
    record = RunRecord(
        run_id="20261122-204655-1a2b3c4d",
        model_name="wine",
        status=RUNNING,
        created=utc_now(),
        parameters={"rate": 0.5, "kernel": "rbf", "deep": {"layers": 2}, "flag": True, "list": [1]},
    )
    show_run(cloud, "my-runs", record)
    show_run(cloud, "my-runs", record.changed(run_id="20261122-204655-other"))
    begun = shown(cloud, f"my-runs-{record.run_id}")
    assert begun["schemaTitle"] == "system.ExperimentRun"
    assert begun["displayName"] == record.run_id
    # Google answers the project as a number.
    (experiment,) = begun["parentContexts"]
    assert same_resource(experiment, f"{cloud.parent}/metadataStores/default/contexts/my-runs")
    assert begun["metadata"]["_state"] == "RUNNING"
    assert begun["metadata"]["_params"] == {
        "rate": 0.5,
        "kernel": "rbf",
        "deep.layers": 2.0,
        "flag": "True",
        "list": "[1]",
    }
    show_run(cloud, "my-runs", record.changed(status=COMPLETED, metrics={"score": 0.75}))
    ended = shown(cloud, f"my-runs-{record.run_id}")
    assert ended["metadata"]["_state"] == "COMPLETE"
    assert ended["metadata"]["_metrics"] == {"score": 0.75}
    assert shown(cloud, "my-runs")["schemaTitle"] == "system.Experiment"


def test_numbers_that_json_does_not_know_are_shown_as_texts(cloud: Cloud) -> None:
    record = RunRecord(
        run_id="20261122-204655-endless",
        model_name="wine",
        status=COMPLETED,
        created=utc_now(),
        parameters={"clip": math.inf},
        metrics={"score": math.nan},
    )
    show_run(cloud, "my-runs", record)
    metadata = shown(cloud, f"my-runs-{record.run_id}")["metadata"]
    assert (metadata["_params"], metadata["_metrics"]) == ({"clip": "inf"}, {"score": "nan"})


def opened(show: Callable[[RunRecord], None]) -> Callable[[], nullcontext[Callable[[RunRecord], None]]]:
    return lambda: nullcontext(show)


@pytest.mark.slow
def test_a_mirror_that_hangs_or_fails_takes_nothing_from_the_record(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader, "END_LIMIT", 10.0)
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    storage.create_bucket(cloud)
    store = RunStore(cloud, load_config(tmp_path, {}))
    release, output = threading.Event(), tmp_path / "output.txt"

    def hangs(_: RunRecord) -> None:
        release.wait(60)

    def fails(_: RunRecord) -> None:
        raise RuntimeError("no such thing")

    for show, word in ((hangs, "did not take the rest within"), (fails, "RuntimeError: no such thing")):
        told: list[str] = []
        run_id = f"20261122-204655-{show.__name__}"

        def begin(before: RunRecord | None, run_id: str = run_id) -> RunRecord:
            return before or RunRecord(run_id=run_id, model_name="wine", status=RUNNING, created=utc_now())

        lost = f"the run {run_id} is not shown in the other place, or in part only"
        mirror = BackgroundSink(opened(show), "the other place", lost, told.append)
        writing = uploader.Uploader("wine", run_id, output, lambda: store, begin, told.append, 1.0, mirror)
        writing.start({})
        writing.note(status=COMPLETED, metrics={"score": 0.75})
        writing.end()
        record = store.read("wine", run_id).record
        assert (record.status, record.metrics) == (COMPLETED, {"score": 0.75})
        assert f"the run {run_id} is not shown in the other place, or in part only: " in told[-1]
        assert word in told[-1]
    release.set()


def test_jobs_install_what_mirrors_need_only_when_they_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    config = load_config(tmp_path, {})
    assert mirror_requirements(config) == []
    wanting = config.model_copy(
        update={"experiments": Experiments(vertex_experiment="my-runs", mongo_uri_secret="mongo")}
    )
    assert [requirement.partition(">")[0] for requirement in mirror_requirements(wanting)] == [
        *("google-cloud-aiplatform", "pymongo")
    ]


@contextmanager
def secret_manager(status: int) -> Iterator[tuple[str, list[str]]]:
    """A server that answers as Secret Manager does; yields its address and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            payload = {"payload": {"data": base64.b64encode(SECRET.encode()).decode()}}
            self.wfile.write(json.dumps(payload).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_address_is_read_from_secret_manager(cloud: Cloud) -> None:
    with secret_manager(200) as (url, asked):
        assert read_secret(replace(cloud, secrets_url=url), "mongo") == SECRET
    assert asked == ["/v1/projects/my-project/secrets/mongo/versions/latest:access"]


def test_a_secret_that_cannot_be_read_says_why_and_not_what(cloud: Cloud) -> None:
    with secret_manager(403) as (url, _), pytest.raises(CloudError, match="answered 403") as refused:
        read_secret(replace(cloud, secrets_url=url), "mongo")
    assert "password" not in str(refused.value)
    assert refused.value.hint
    with pytest.raises(CloudError, match="target `local` has no Secret Manager"):
        read_secret(cloud, "mongo")


def sacred_run(folder: Path) -> Any:
    """What the observer needs of Sacred's run."""
    (folder / "train.py").write_text("x = 1\n")
    return SimpleNamespace(
        experiment_info={"name": "wine", "base_dir": str(folder), "sources": [("train.py", "abc")]},
        main_function=SimpleNamespace(signature=SimpleNamespace(name="run")),
        host_info={"hostname": "laptop"},
        start_time=utc_now().replace(tzinfo=None),
        config={"rate": 0.5},
        meta_info={},
    )


def observe(folder: Path, address: str, run_id: str = "20261122-204655-1a2b3c4d") -> list[str]:
    """Let the observer see a run; return what it tells."""
    told: list[str] = []
    output = folder / "output.txt"
    output.write_bytes(b"printed \xff\n")
    observer = MongoEvents(sacred_run(folder), run_id, lambda: address, output, told.append)
    now = utc_now().replace(tzinfo=None)
    observer.log_metrics(
        metrics_by_name={"loss": {"steps": [0, 1], "values": [0.5, 0.25], "timestamps": [now, now]}}, info={}
    )
    observer.heartbeat_event(info={}, captured_out="", beat_time=now, result=None)
    observer.completed_event(stop_time=now, result={"score": 0.75})
    observer.join()
    return told


@pytest.mark.slow
def test_a_database_that_is_away_is_told_and_its_password_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "_CALL_LIMIT", 0.5)
    (told,) = observe(tmp_path, "mongodb://user:password@127.0.0.1:9/")
    assert "is not in MongoDB" in told
    assert "127.0.0.1:9" in told
    assert "password" not in told


def test_a_run_is_in_mongodb_as_omniboard_shows_it(tmp_path: Path, mongodb: str) -> None:
    import pymongo

    for _ in range(2):  # Vertex AI may run a job twice
        assert observe(tmp_path, mongodb) == []
    with pymongo.MongoClient[dict[str, Any]](mongodb) as client:
        (entry,) = client["sacred"]["runs"].find()
        metrics = list(client["sacred"]["metrics"].find({"name": "loss"}))
    assert (entry["_id"], entry["status"]) == ("20261122-204655-1a2b3c4d", "COMPLETED")
    assert entry["config"] == {"rate": 0.5}
    assert entry["result"] == {"score": 0.75}
    assert entry["captured_out"] == "printed \ufffd\n"
    assert metrics[0]["values"][:2] == [0.5, 0.25]
