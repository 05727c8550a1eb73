"""Schedules of v1beta1 let jobs of model monitors look, by the SDK or without it, by a clock that can be moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.emulator.harness import ECHO, PARENT, Emulator, eventually
from tests.emulator.test_model_monitors import DRIFT, beta, csv, done, job_of, monitor_of, rows

SCHEDULES = f"/v1beta1/{PARENT}/schedules"


@pytest.fixture(scope="module")
def target(clocked: Emulator) -> dict[str, Any]:
    """Rows that are older than those of the training."""
    return csv(clocked, clocked.new_bucket(), "now.csv", rows(70))


@pytest.fixture
def monitor(clocked: Emulator) -> Iterator[str]:
    """A monitor with training data and an objective, which are its jobs'."""
    training = csv(clocked, clocked.new_bucket(), "train.csv", rows(40))
    fields = {"trainingDataset": training, "tabularObjective": {"featureDriftSpec": DRIFT}}
    answer = beta(clocked, "POST", f"/v1beta1/{PARENT}/modelMonitors", monitor_of(clocked.upload(ECHO), **fields))
    name = done(clocked, answer)["name"]
    yield name
    beta(clocked, "DELETE", f"{name}?force=true")


def body(monitor: str, target: dict[str, Any], **fields: Any) -> dict[str, Any]:
    request = {"parent": monitor, "modelMonitoringJob": job_of(target)}
    hourly = {"displayName": "hourly", "cron": "0 * * * *", "maxConcurrentRunCount": "1"}
    return {**hourly, "createModelMonitoringJobRequest": request, **fields}


def forward(emulator: Emulator, hours: float) -> datetime:
    answer = emulator.post("/_emulator/clock", {"forward": hours * 3600})
    assert answer.status == 200, answer.body
    return datetime.fromisoformat(answer.body["now"])


def jobs(emulator: Emulator, monitor: str) -> list[Any]:
    def ended() -> Any:
        found = beta(emulator, "GET", f"{monitor}/modelMonitoringJobs").body.get("modelMonitoringJobs", [])
        states = {job["state"] for job in found}
        return not states & {"JOB_STATE_PENDING", "JOB_STATE_RUNNING"} and [found]

    return list(eventually(ended, "all jobs have ended")[0])


def test_each_moment_starts_a_job_that_finds_what_has_changed(
    clocked: Emulator, monitor: str, target: dict[str, Any]
) -> None:
    made = clocked.post(SCHEDULES, body(monitor, target))
    assert made.status == 200, made.body
    schedule = made.body
    assert schedule["createModelMonitoringJobRequest"]["parent"] == monitor
    forward(clocked, 2)
    found = jobs(clocked, monitor)
    assert [(job["state"], job["schedule"], job["displayName"]) for job in found] == [
        ("JOB_STATE_SUCCEEDED", schedule["name"], "look")
    ] * 2
    moments = sorted(job["scheduleTime"] for job in found)
    assert moments[0] == schedule["nextRunTime"]
    after = clocked.get(f"/v1beta1/{schedule['name']}").body
    assert (after["startedRunCount"], after["lastScheduledRunResponse"]["runResponse"]) == ("2", "OK")
    assert after["lastScheduledRunResponse"]["scheduledRunTime"] == moments[-1]
    # What the jobs of a schedule have found is searched by its name.
    for name, points in ((schedule["name"], 2), (schedule["name"][:-1], 0)):
        search = {"statsFilter": {"tabularStatsFilter": {"modelMonitoringSchedule": name, "statsName": "age"}}}
        answer = beta(clocked, "POST", f"{monitor}:searchModelMonitoringStats", search).body
        stats = [point for one in answer.get("monitoringStats", []) for point in one["tabularStats"]["dataPoints"]]
        assert [(point["schedule"], point["hasAnomaly"]) for point in stats] == [(name, True)] * points
    # In v1 there are no monitors, so it does not tell what the schedule starts.
    assert "createModelMonitoringJobRequest" not in clocked.get(schedule["name"]).body
    refused = clocked.post(f"{PARENT}/schedules", body(monitor, target))
    assert 'Unknown name "createModelMonitoringJobRequest" of Schedule' in refused.message


def test_a_monitor_with_schedules_goes_only_by_force_and_with_them(
    clocked: Emulator, monitor: str, target: dict[str, Any]
) -> None:
    schedule = clocked.post(SCHEDULES, body(monitor, target)).body["name"]
    answer = beta(clocked, "DELETE", monitor)
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert "has schedules: delete them first, or set force" in answer.message
    done(clocked, beta(clocked, "DELETE", f"{monitor}?force=true"))
    assert clocked.get(f"/v1beta1/{schedule}").status == 404
    forward(clocked, 2)


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"parent": f"{PARENT}/modelMonitors/none"}, 404, "ModelMonitor"),
        ({"parent": PARENT}, 400, "parent must be a model monitor in projects/"),
        ({"modelMonitoringJob": {"displayName": "x"}}, 400, "target_dataset is required"),
    ],
)
def test_what_could_never_look_is_refused_at_once(
    clocked: Emulator, monitor: str, target: dict[str, Any], change: dict[str, Any], status: int, problem: str
) -> None:
    wrong = body(monitor, target)
    wrong["createModelMonitoringJobRequest"] |= change
    answer = clocked.post(SCHEDULES, wrong)
    assert answer.status == status
    assert problem in answer.message


def test_a_schedule_does_not_change_what_it_starts(clocked: Emulator, monitor: str, target: dict[str, Any]) -> None:
    schedule = clocked.post(SCHEDULES, body(monitor, target)).body
    name = schedule["name"]
    cleared = {"name": name, "displayName": "hourly"}
    answer = clocked.call("PATCH", f"/v1beta1/{name}?updateMask=createModelMonitoringJobRequest", cleared)
    assert "create_model_monitoring_job_request cannot be unset" in answer.message
    changed = clocked.call("PATCH", f"/v1beta1/{name}?updateMask=cron", {**schedule, "cron": "30 * * * *"})
    assert changed.body["nextRunTime"][14:16] == "30"


def test_the_sdk_s_monitor_has_schedules(clocked: Emulator, monitor: str, target: dict[str, Any]) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from vertexai.resources.preview import ml_monitoring
    from vertexai.resources.preview.ml_monitoring.spec import MonitoringInput

    aiplatform.init(
        project="test-project",
        location="us-central1",
        api_endpoint=clocked.url,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    watching: Any = ml_monitoring.ModelMonitor(monitor)
    rows_now = MonitoringInput(gcs_uri=target["columnizedDataset"]["gcsSource"]["gcsUri"], data_format="csv")
    made = watching.create_schedule("0 * * * *", rows_now, display_name="by the SDK")
    yearly = watching.create_schedule("0 0 1 1 *", rows_now, display_name="yearly")
    assert made.create_model_monitoring_job_request.parent == monitor
    assert [one.display_name for one in watching.list_schedules()] == ["yearly", "by the SDK"]
    assert [one.name for one in watching.list_schedules(filter='display_name="yearly"')] == [yearly.name]
    watching.pause_schedule(made.name)
    forward(clocked, 3)
    assert watching.get_schedule(made.name).state.name == "PAUSED"
    watching.resume_schedule(made.name.rpartition("/")[2])
    assert watching.update_schedule(made.name, cron="*/30 * * * *").cron == "*/30 * * * *"
    forward(clocked, 1)
    found = jobs(clocked, monitor)
    assert [(job["schedule"], job["displayName"]) for job in found] == [(made.name, "by the SDK")] * 2
    stats = watching.search_metrics(stats_name="age", schedule_name=made.name)
    assert len(stats[0].tabular_stats.data_points) == 2
    watching.delete_schedule(yearly.name)
    assert [one.name for one in watching.list_schedules()] == [made.name]
    watching.delete(force=True)
    eventually(lambda: clocked.get(f"/v1beta1/{made.name}").status == 404, "it went with its monitor")
