"""Vertex AI's own monitoring, set up from our settings, finds a drift; here by the emulator, whose clock is moved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud import clock, managed_monitoring, model_monitors, monitor_schedules, monitoring_jobs
from edge_tasks.cloud.beta import ask
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.monitoring_jobs import Wanted
from edge_tasks.domain.config import Monitoring
from edge_tasks.domain.state import ModelState
from edge_tasks.errors import CloudError, NotFoundError
from edge_tasks.monitoring import managed
from edge_tasks.repo import layout
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_training_data_that_are_not_there_are_told(cloud: Cloud, clocked: Emulator) -> None:
    endpoint = watched(clocked)
    bucket = clocked.new_bucket()
    job = monitoring_jobs.ensure(cloud, endpoint, replace(WANTED, training_uri=f"gs://{bucket}/nothing.csv"))
    hour(clocked, endpoint, 40)
    state, _ = managed.findings(cloud, job)
    assert state.startswith("running: ")
    assert "nothing.csv" in state


@pytest.mark.slow
def test_a_monitor_looks_once_at_lists_and_predictions_and_is_that_of_its_version(
    cloud: Cloud, clocked: Emulator
) -> None:
    """The model answers what it is asked, so a prediction is a list, too."""
    config = {"enabled": True, "samplingRate": 1, "bigqueryDestination": {"outputUri": "bq://test-project.once"}}
    endpoint, model = clocked.create_endpoint(predictRequestResponseLoggingConfig=config), clocked.upload(ECHO)
    clocked.deployed(endpoint, model)
    chance = random.Random(3)
    training = "".join(f"{chance.gauss(40, 10)},York,yes\n" for _ in range(300))
    uri = clocked.put(clocked.new_bucket(), "train.csv", f"age,city,left\n{training}".encode())
    assert clocked.predict(endpoint, [[chance.gauss(70, 10), "York"] for _ in range(300)]).status == 200
    url = f"{clocked.storage_url}/storage/v1/b/test-project-bigquery-tables/o?prefix=once/"
    eventually(lambda: clocked.session.get(url, timeout=10).json().get("items"), "the row is kept")
    logs = {"vertexEndpointLogs": {"endpoints": [endpoint]}}
    wanted = model_monitors.Wanted(
        "churn-monitoring", model, {"age": "float", "city": "categorical"}, {},
        {"columnizedDataset": {"gcsSource": {"gcsUri": uri, "format": "CSV"}}}, logs, ground_truth="left",
        thresholds={"city": 0.5}, emails=["ada@example.org"],
    )  # fmt: skip
    job, found = model_monitors.look(cloud, wanted)
    assert [(managed.row(one)[0], managed.row(one)[1], one.threshold, managed.row(one)[-1]) for one in found] == [
        ("age", "input", 0.3, "changed"), ("city", "input", 0.5, "same"),
    ]  # fmt: skip
    # The same monitor looks again, at predictions, too, and at one column alone.
    against_itself = replace(wanted, baseline=logs, predictions={"a": "float", "b": "string"}, watched=["age"])
    again, found = model_monitors.look(cloud, against_itself)
    assert again.partition("/modelMonitoringJobs/")[0] == job.partition("/modelMonitoringJobs/")[0]
    assert {(one.column, one.objective, one.distance) for one in found} == {
        ("age", "input", 0), ("a", "prediction", 0), ("b", "prediction", 0),
    }  # fmt: skip
    with pytest.raises(CloudError, match=r"failed: The baseline dataset has no values of 'size'"):
        model_monitors.look(cloud, replace(wanted, features={"age": "float", "city": "string", "size": "float"}))
    with pytest.raises(CloudError, match="Vertex AI answered 400: The field 'age' must have a data_type"):
        model_monitors.look(cloud, replace(wanted, features={"age": "number"}))
    other_model = clocked.upload(ECHO)
    other, _ = model_monitors.look(cloud, replace(wanted, model=other_model))
    monitors = model_monitors.find(cloud, "churn-monitoring", [model, other_model])
    assert len(monitors) == 2
    # One of the same name that watches a stranger's model is not found.
    assert model_monitors.find(cloud, "churn-monitoring", [model]) == monitors[1:]
    for monitor in monitors:
        model_monitors.delete(cloud, monitor)
    with pytest.raises(NotFoundError):
        ask(cloud, "GET", other)


def test_a_schedule_looks_again_and_is_that_of_the_version_and_nobody_else_s(cloud: Cloud, clocked: Emulator) -> None:
    bucket, our_id = clocked.new_bucket(), layout.registry_model_id(cloud.bucket_name, "churn")
    model, strangers = clocked.upload(ECHO, modelId=our_id), clocked.upload(ECHO)
    inputs: dict[int, Any] = {}
    for age in (40, 70):
        rows = "".join(f"{random.Random(row).gauss(age, 10)}\n" for row in range(300))
        uri = clocked.put(bucket, f"{age}.csv", f"age\n{rows}".encode())
        inputs[age] = {"columnizedDataset": {"gcsSource": {"gcsUri": uri, "format": "CSV"}}}
    wanted = model_monitors.Wanted("churn-monitoring", model, {"age": "float"}, {}, inputs[40], inputs[70])
    made = monitor_schedules.ensure(cloud, wanted, "0 * * * *")
    assert (made.state, made.runs, monitor_schedules.last_look(cloud, made)) == ("ACTIVE", 0, ("", []))
    assert clocked.post("/_emulator/clock", {"forward": 2 * 3600}).status == 200
    # What was asked is dated by that clock, so the commands that read it go by it, too.
    assert clock.now(cloud) - datetime.now(timezone.utc) > timedelta(hours=1)
    state, found = eventually(lambda: (look := monitor_schedules.last_look(cloud, made))[0] and look, "it looked")
    assert state == "succeeded"
    (one,) = found
    assert (one.column, managed.row(one)[-1], one.until[-2:]) == ("age", "changed", "00")
    (after,) = monitor_schedules.find(cloud, "churn-monitoring", [model])
    assert (after.runs, managed.told(after, state)) == (2, "the last one has succeeded")
    # At other moments it is the same; of another version it is another one, and takes the place of this.
    assert monitor_schedules.ensure(cloud, wanted, "30 * * * *").name == made.name
    second = clocked.upload(ECHO, parentModel=model.partition("@")[0])
    now = monitor_schedules.ensure(cloud, replace(wanted, model=second), "0 6 * * *")
    theirs = monitor_schedules.ensure(cloud, replace(wanted, model=strangers), "0 6 * * *")
    assert [one.name for one in monitor_schedules.find(cloud, "churn-monitoring", [model])] == [now.name]
    ours = managed_monitoring.find(cloud, "churn", ModelState())
    assert [one.kind for one in ours] == [
        managed_monitoring.SCHEDULE, managed_monitoring.MONITOR, managed_monitoring.MONITOR,
    ]  # fmt: skip
    for watcher in ours:
        managed_monitoring.delete(cloud, watcher)
    assert managed_monitoring.find(cloud, "churn", ModelState()) == []
    assert monitor_schedules.find(cloud, "churn-monitoring", [strangers]) == [theirs]
    with pytest.raises(CloudError, match=r"Invalid cron '0 6 \* \* x'"):
        monitor_schedules.ensure(cloud, wanted, "0 6 * * x")


@pytest.mark.parametrize(
    ("window", "cron"), [("30m", "0 * * * *"), ("5h", "0 */4 * * *"), ("1d", "0 6 * * *"), ("2w", "0 6 * * *")]
)
def test_without_a_schedule_in_edge_yaml_one_looks_once_in_a_window(window: str, cron: str) -> None:
    assert managed.default_cron(Monitoring(window=window)) == cron


def test_an_endpoint_that_serves_nothing_is_not_monitored(cloud: Cloud, clocked: Emulator) -> None:
    with pytest.raises(NotFoundError, match="serves no model"):
        monitoring_jobs.ensure(cloud, clocked.create_endpoint(), WANTED)
    with pytest.raises(CloudError):
        monitoring_jobs.state(cloud, f"{PARENT}/modelDeploymentMonitoringJobs/1")
