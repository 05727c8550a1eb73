"""Vertex AI's own monitoring, set up from our settings, finds a drift; here by the emulator, whose clock is moved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud import monitoring_jobs
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.monitoring_jobs import Wanted
from edge_tasks.errors import CloudError, NotFoundError
from edge_tasks.monitoring import managed
from tests.emulator.harness import ECHO, PARENT, Emulator, eventually

WANTED = Wanted("churn-monitoring", 1, thresholds={"age": 0.1}, default_threshold=0.3, emails=["ada@example.org"])


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator whose clock nobody else reads."""
    emulator = Emulator(tmp_path_factory.mktemp("managed") / "data")
    try:
        yield emulator
    finally:
        emulator.kill()


@pytest.fixture
def cloud(clocked: Emulator) -> Cloud:
    _, project, _, region = PARENT.split("/")
    return Cloud(
        project=project, region=region, bucket_name="b", vertex_url=clocked.url, logging_url=clocked.url,
        storage_url=clocked.storage_url, credentials=AnonymousCredentials(), console_url=None,
    )  # fmt: skip


def watched(emulator: Emulator) -> str:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    return endpoint


def hour(emulator: Emulator, endpoint: str, age: float) -> None:
    """Ask for an hour, and let it pass."""
    chance = random.Random(age)
    instances = [{"age": chance.gauss(age, 10), "city": "York"} for _ in range(300)]
    folder = f"model_deployment_monitoring_{endpoint.rpartition('/')[2]}/"
    url = f"{emulator.storage_url}/storage/v1/b/test-project-bigquery-tables/o"

    def generations() -> list[str]:
        found = emulator.session.get(url, params={"prefix": folder}, timeout=10).json()
        return [item["generation"] for item in found.get("items", [])]

    before = generations()
    assert emulator.predict(endpoint, instances).status == 200
    eventually(lambda: generations() != before, "the row is kept")
    assert emulator.post("/_emulator/clock", {"forward": 3600}).status == 200


def test_a_drift_is_found_and_a_job_that_waits_is_made_again_by_a_change(cloud: Cloud, clocked: Emulator) -> None:
    endpoint = watched(clocked)
    waiting = monitoring_jobs.ensure(cloud, endpoint, WANTED)
    job = monitoring_jobs.ensure(cloud, endpoint, WANTED)
    assert job != waiting
    assert monitoring_jobs.find(cloud, endpoint, "churn-monitoring") == job
    assert managed.findings(cloud, job) == ("pending", [])
    hour(clocked, endpoint, 40)
    hour(clocked, endpoint, 70)
    state, found = managed.findings(cloud, job)
    assert state == "running"
    assert [(managed.row(one)[0], managed.row(one)[1], managed.row(one)[-1]) for one in found] == [
        ("age", "drift", "changed"), ("city", "drift", "same"),
    ]  # fmt: skip
    # One that runs is changed in place.
    assert monitoring_jobs.ensure(cloud, endpoint, replace(WANTED, hours=2)) == job
    monitoring_jobs.delete(cloud, job)
    assert monitoring_jobs.find(cloud, endpoint, "churn-monitoring") is None


def test_skew_is_looked_for_in_the_columns_that_are_named(cloud: Cloud, clocked: Emulator) -> None:
    endpoint = watched(clocked)
    chance = random.Random(1)
    rows = "".join(f"{chance.gauss(40, 10)},York,yes\n" for _ in range(300))
    uri = clocked.put(clocked.new_bucket(), "train.csv", f"age,city,left\n{rows}".encode())
    wanted = replace(WANTED, default_threshold=None, training_uri=uri, target="left")
    job = monitoring_jobs.ensure(cloud, endpoint, wanted)
    hour(clocked, endpoint, 70)
    _, found = managed.findings(cloud, job)
    assert [(one.column, one.objective, one.distance > one.threshold) for one in found] == [("age", "skew", True)]


def test_training_data_that_are_not_there_are_told(cloud: Cloud, clocked: Emulator) -> None:
    endpoint = watched(clocked)
    bucket = clocked.new_bucket()
    job = monitoring_jobs.ensure(cloud, endpoint, replace(WANTED, training_uri=f"gs://{bucket}/nothing.csv"))
    hour(clocked, endpoint, 40)
    state, _ = managed.findings(cloud, job)
    assert state.startswith("running: ")
    assert "nothing.csv" in state


def test_an_endpoint_that_serves_nothing_is_not_monitored(cloud: Cloud, clocked: Emulator) -> None:
    with pytest.raises(NotFoundError, match="serves no model"):
        monitoring_jobs.ensure(cloud, clocked.create_endpoint(), WANTED)
    with pytest.raises(CloudError):
        monitoring_jobs.state(cloud, f"{PARENT}/modelDeploymentMonitoringJobs/1")
