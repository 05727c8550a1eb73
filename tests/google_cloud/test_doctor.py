"""`invoke doctor`: each thing that can be broken is found, and told with what fixes it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.google_cloud.conftest import BUCKET, PROJECT, REGION, Google
from tests.repositories import Repository, copy


def results(repository: Repository, **changes: str) -> dict[str, tuple[str, str, str]]:
    """Return state, fact and fix of each check."""
    result = repository.run("invoke", "doctor", "--json", check=False, **changes)
    assert "Traceback" not in result.stderr, result.stderr
    return {row["check"]: (row["state"], row["fact"], row["fix"]) for row in json.loads(result.stdout)}


@pytest.fixture(scope="module")
def laptop(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository with target local that has nothing of Google."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("doctor"))
    repository.run("invoke", "init")
    yield repository
    repository.run("invoke", "local.stop", check=False)


def test_a_laptop_in_order(laptop: Repository) -> None:
    result = laptop.run("invoke", "doctor")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[0] == ["check", "state", "found", "fix"]
    assert {row[1] for row in rows[1:]} == {"ok"}
    assert [row[0] for row in rows[1:]] == [
        *("Python", "packages", "git", "edge.yaml", "DVC", "data"),
        *("hello-world: machines", "hello-world: serving image", "hello-world: training image"),
        *("hello-world: training code", "hello-world: artifact"),
        *("local servers", "bucket", "state"),
    ]


def test_it_starts_nothing(laptop: Repository) -> None:
    laptop.run("invoke", "local.stop")
    found = results(laptop)
    assert found["local servers"] == ("ok", "they do not run; commands start them when they need them", "")
    assert laptop.fails("invoke", "local.status")[0] == "the local servers do not run"
    laptop.run("invoke", "local.start")


def test_servers_that_hang_are_found(laptop: Repository) -> None:
    laptop.run("invoke", "local.start")
    pid = json.loads((laptop.root / ".edge" / "emulator" / "servers.json").read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = results(laptop)
    finally:
        psutil.Process(pid).resume()
    assert found["local servers"][:2] == ("broken", f"they run (process {pid}) but do not answer")
    assert found["state"] == ("unknown", "not looked at: it takes bucket", "")


PYTHON_IMAGE = "mirror.gcr.io/library/python:3.10-slim"
TRAINING = "us-docker.pkg.dev/vertex-ai/training"


@pytest.mark.parametrize(
    ("old", "new", "check", "state", "fact", "fix"),
    [
        ("target: local", "targt: local", "edge.yaml", "broken", "`edge.yaml`: the key `targt` is unknown", "did you"),
        ("n1-standard-4", "n1-standrd-4", "machines", "broken", "which is not a machine type", "did you mean"),
        ("sklearn-cpu.1-6", "sklearn-cpu.1-5", "serving image", "broken", "holds 1.5", "pip install"),
        (PYTHON_IMAGE, f"{TRAINING}/sklearn-cpu.1-6:latest", "training image", "warning",
         "cannot be used since 2026-07-11", "choose a newer one: https://"),
        (PYTHON_IMAGE, f"{TRAINING}/sklearn-cpu.1-9:latest", "training image", "warning",
         "not in this version's table of images", "look it up: https://"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_edge_yaml_is_found(
    laptop: Repository, old: str, new: str, check: str, state: str, fact: str, fix: str
) -> None:
    path = laptop.root / "edge.yaml"
    before = path.read_text()
    try:
        path.write_text(before.replace(old, new))
        found = results(laptop)
    finally:
        path.write_text(before)
    found_state, found_fact, found_fix = found.get(check) or found[f"hello-world: {check}"]
    assert found_state == state
    assert fact in found_fact
    assert found_fix.startswith(fix)


def test_the_lock_of_a_holder_that_died_is_found(google: Google) -> None:
    google.init()
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage  # type: ignore[attr-defined,unused-ignore]

    client = storage.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": google.buckets.url})
    blob = client.bucket(BUCKET).blob(".edge_state/lock")
    holder = {"owner": "grace", "host": "h", "pid": 7, "command": "invoke model.deploy", "created": "c", "token": "t"}
    blob.metadata = {"renewed": "2026-01-01T00:00:00Z"}
    blob.upload_from_string(json.dumps(holder))
    state, fact, fix = results(google.repository)["state"]
    assert (state, fix) == ("warning", "invoke state.unlock")
    assert "locked by grace on h (process 7), `invoke model.deploy`, since c, no sign of life for" in fact


def test_google_cloud_in_order(google: Google) -> None:
    google.init()
    found = results(google.repository)
    assert {state for state, _, _ in found.values()} == {"ok"}
    assert found["bucket"][1] == f"gs://{BUCKET} in {REGION}, with uniform access and no public access"


def test_google_cloud_before_init(google: Google) -> None:
    """What can be repaired by `invoke init` is told so, and what lies behind something broken is not guessed at."""
    google.change(billing=False)
    (google.repository.root / "edge.yaml").write_text(
        (google.repository.root / "edge.yaml").read_text().replace("my-gcp-project", PROJECT)
    )
    result = google.repository.run("invoke", "doctor", EDGE_TARGET="gcp", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: broken: DVC, credentials, billing, APIs, bucket, state\n")
    found = results(google.repository, EDGE_TARGET="gcp")
    assert found["credentials"] == ("broken", "of a person, with quota project none", "invoke init")
    assert found["billing"][0] == "broken"
    assert found["APIs"] == (
        "broken",
        "not enabled: aiplatform.googleapis.com, logging.googleapis.com",
        "invoke init",
    )
    assert found["state"] == ("broken", "there is no shared state", "invoke init")


def test_without_an_account_nothing_behind_it_is_looked_at(google: Google) -> None:
    google.change(account=None)
    found = results(google.repository, EDGE_TARGET="gcp")
    assert found["account"] == ("broken", "gcloud has no account on this machine", "gcloud auth login")
    assert found["project"] == ("unknown", "not looked at: it takes account", "")
    assert found["billing"] == ("unknown", "not looked at: it takes project", "")
