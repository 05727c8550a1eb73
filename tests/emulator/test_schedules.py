"""Schedules start pipeline jobs at the moments of a cron expression, by a clock that can be moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import NUMBERED, PARENT, Emulator, eventually

HOUR, DAY = 3600, 86400
PATH = f"{PARENT}/schedules"


def pipeline(command: str) -> dict[str, Any]:
    """A compiled pipeline with one task, which runs a shell command."""
    container = {"image": "python:3.11", "command": ["sh", "-c", command]}
    return {
        "pipelineInfo": {"name": "nightly"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "components": {"comp-step": {"executorLabel": "exec-step"}},
        "deploymentSpec": {"executors": {"exec-step": {"container": container}}},
        "root": {"dag": {"tasks": {"step": {"taskInfo": {"name": "step"}, "componentRef": {"name": "comp-step"}}}}},
    }


def body(cron: str = "0 * * * *", command: str = "true", **fields: Any) -> dict[str, Any]:
    job = {"pipelineSpec": pipeline(command), "runtimeConfig": {"gcsOutputDirectory": "gs://there-is-none/root"}}
    request = {"parent": PARENT, "pipelineJob": job}
    return {
        "displayName": "nightly",
        "cron": cron,
        "maxConcurrentRunCount": "1",
        "createPipelineJobRequest": request,
        **fields,
    }


def made(emulator: Emulator, *arguments: str, **fields: Any) -> Any:
    answer = emulator.post(PATH, body(*arguments, **fields))
    assert answer.status == 200, answer.body
    return answer.body


@pytest.fixture
def forget(clocked: Emulator) -> Iterator[None]:
    """End the schedules of a test, so that the clock of the next one starts none of them."""
    yield
    for schedule in clocked.get(PATH).body.get("schedules", []):
        clocked.finish(clocked.call("DELETE", schedule["name"]))


pytestmark = pytest.mark.usefixtures("forget")


def forward(emulator: Emulator, seconds: float) -> datetime:
    answer = emulator.post("/_emulator/clock", {"forward": seconds})
    assert answer.status == 200, answer.body
    return datetime.fromisoformat(answer.body["now"])


def runs(emulator: Emulator, schedule: Any) -> list[Any]:
    found = emulator.get(f"{PARENT}/pipelineJobs", params={"filter": f'schedule_name="{schedule["name"]}"'})
    assert found.status == 200, found.body
    return list(found.body.get("pipelineJobs", []))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_each_moment_starts_a_run_before_the_move_of_the_clock_is_answered(clocked: Emulator) -> None:
    schedule = made(clocked)
    assert (schedule["state"], "startedRunCount" in schedule, schedule["startTime"]) == (
        "ACTIVE",
        False,
        schedule["createTime"],
    )
    first = moment(schedule["nextRunTime"])
    assert (first.minute, first.second) == (0, 0)
    assert timedelta() < first - moment(schedule["createTime"]) <= timedelta(hours=1)
    assert runs(clocked, schedule) == []
    now = forward(clocked, 3 * HOUR)
    assert len(runs(clocked, schedule)) == 3
    after = clocked.get(schedule["name"]).body
    assert (after["startedRunCount"], after["lastScheduledRunResponse"]["runResponse"]) == ("3", "OK")
    assert moment(after["lastScheduledRunResponse"]["scheduledRunTime"]) <= now < moment(after["nextRunTime"])


def test_a_zone_and_a_start_say_when_the_first_run_is(clocked: Emulator) -> None:
    schedule = made(clocked, "TZ=Asia/Tokyo 30 9 * * *", startTime="2090-06-01T00:30:00Z")
    assert schedule["nextRunTime"] == "2090-06-01T00:30:00Z"  # 9:30 in Tokyo


def test_a_schedule_is_completed_by_its_count_and_by_its_end(clocked: Emulator) -> None:
    counted = made(clocked, maxRunCount="2")
    end = moment(counted["createTime"]) + timedelta(minutes=90)
    ending = made(clocked, endTime=end.isoformat())
    forward(clocked, 5 * HOUR)
    for schedule, count in ((counted, 2), (ending, len(runs(clocked, ending)))):
        found = clocked.get(schedule["name"]).body
        assert (found["state"], found["startedRunCount"]) == ("COMPLETED", str(count))
        assert len(runs(clocked, schedule)) == count
        assert "nextRunTime" not in found
        assert clocked.post(f"{schedule['name']}:pause").error == (400, "FAILED_PRECONDITION")
    assert count in (1, 2)


def test_a_pause_starts_nothing_and_is_made_up_for_only_with_catch_up(clocked: Emulator) -> None:
    schedule = made(clocked)
    name = schedule["name"]
    assert clocked.post(f"{name}:resume").error == (400, "FAILED_PRECONDITION")
    assert clocked.post(f"{name}:pause").body == {}
    forward(clocked, 2 * HOUR)
    paused = clocked.get(name).body
    assert (paused["state"], runs(clocked, schedule)) == ("PAUSED", [])
    assert moment(paused["lastPauseTime"]) <= moment(paused["updateTime"])
    assert clocked.post(f"{name}:resume").body == {}
    assert runs(clocked, schedule) == []
    clocked.post(f"{name}:pause")
    forward(clocked, 2 * HOUR)
    clocked.post(f"{name}:resume", {"catchUp": True})
    assert len(runs(clocked, schedule)) == 2
    resumed = clocked.get(name).body
    assert (resumed["state"], resumed["catchUp"]) == ("ACTIVE", True)
    assert moment(resumed["lastResumeTime"]) < moment(resumed["nextRunTime"])


def test_runs_beyond_the_active_ones_that_may_be_are_skipped_or_wait(clocked: Emulator) -> None:
    skipping = made(clocked, "0 * * * *", "sleep 60", maxConcurrentActiveRunCount="1")
    waiting = made(clocked, "0 * * * *", "sleep 60", maxConcurrentActiveRunCount="1", allowQueueing=True)
    now = forward(clocked, 2 * HOUR)
    found = clocked.get(skipping["name"]).body
    assert (len(runs(clocked, skipping)), found["startedRunCount"]) == (1, "1")
    assert "max_concurrent_active_run_count" in found["lastScheduledRunResponse"]["runResponse"]
    (run,) = runs(clocked, waiting)
    assert moment(clocked.get(waiting["name"]).body["nextRunTime"]) < now
    clocked.post(f"{run['name']}:cancel")
    eventually(lambda: len(runs(clocked, waiting)) == 2, "the waiting run begins when the other has ended")
    for schedule in (skipping, waiting):
        for run in runs(clocked, schedule):
            clocked.post(f"{run['name']}:cancel")


def test_of_very_many_moments_the_newest_are_started(clocked: Emulator) -> None:
    schedule = made(clocked, "* * * * *", maxConcurrentActiveRunCount="1")
    forward(clocked, 30 * DAY)
    found = clocked.get(schedule["name"]).body
    assert moment(found["nextRunTime"]) > moment(found["lastScheduledRunResponse"]["scheduledRunTime"])
    assert int(found["startedRunCount"]) <= 2


def test_an_update_changes_the_moments_and_what_is_run(clocked: Emulator) -> None:
    schedule = made(clocked, maxRunCount="1")
    forward(clocked, HOUR)
    path = schedule["name"]
    assert clocked.get(path).body["state"] == "COMPLETED"
    change = {"cron": "30 4 * * *", "maxRunCount": "3", "displayName": "ignored"}
    answer = clocked.call("PATCH", path, change, params={"updateMask": "cron,maxRunCount"})
    assert answer.status == 200, answer.body
    assert (answer.body["state"], answer.body["displayName"]) == ("ACTIVE", "nightly")
    assert moment(answer.body["nextRunTime"]).strftime("%H:%M") == "04:30"
    for mask, wrong in (("cron", {}), ("cron", {"cron": "* *"}), ("state", {"state": "PAUSED"})):
        refused = clocked.call("PATCH", path, wrong, params={"updateMask": mask})
        assert refused.error == (400, "INVALID_ARGUMENT"), refused.body
    assert clocked.get(path).body["cron"] == "30 4 * * *"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"displayName": ""}, "display_name"),
        ({"cron": ""}, "cron is required"),
        ({"cron": "TZ=Mars/Base 0 0 * * *"}, "time zone"),
        ({"maxConcurrentRunCount": "0"}, "max_concurrent_run_count"),
        ({"maxRunCount": "-1"}, "max_run_count"),
        ({"createPipelineJobRequest": None}, "create_pipeline_job_request"),
        ({"createPipelineJobRequest": {"parent": "projects/other/locations/us-central1"}}, "parent"),
        ({"startTime": "2090-01-02T00:00:00Z", "endTime": "2090-01-01T00:00:00Z"}, "end_time"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(clocked: Emulator, changes: dict[str, Any], error: str) -> None:
    asked = {key: value for key, value in {**body(), **changes}.items() if value is not None}
    answer = clocked.post(PATH, asked)
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert error in answer.message


def test_notebooks_are_not_scheduled_here(clocked: Emulator) -> None:
    asked = body()
    del asked["createPipelineJobRequest"]
    asked["createNotebookExecutionJobRequest"] = {"parent": PARENT, "notebookExecutionJob": {}}
    answer = clocked.post(PATH, asked)
    assert answer.error == (501, "UNIMPLEMENTED")
    assert "create_notebook_execution_job_request" in answer.message


def test_lists_are_filtered_and_ordered(clocked: Emulator) -> None:
    late = made(clocked, "0 0 1 1 *", displayName="my-late")
    made(clocked, "* * * * *", displayName="my-soon")
    clocked.post(f"{late['name']}:pause")

    def names(**parameters: str) -> list[str]:
        answer = clocked.get(PATH, params=parameters)
        assert answer.status == 200, answer.body
        return [found["displayName"] for found in answer.body.get("schedules", [])]

    assert names() == ["my-soon", "my-late"]
    assert names(orderBy="next_run_time") == ["my-soon", "my-late"]
    assert names(orderBy="next_run_time desc") == ["my-late", "my-soon"]
    assert names(filter='state="PAUSED" AND display_name:"my-*"') == ["my-late"]
    assert names(filter="create_pipeline_job_request:* AND NOT end_time:*", orderBy="create_time") == names()[::-1]
    assert clocked.get(PATH, params={"orderBy": "cron"}).error == (400, "INVALID_ARGUMENT")


def test_v1beta1_and_grpc_see_the_same(clocked: Emulator) -> None:
    import grpc
    from google.cloud.aiplatform_v1beta1 import ScheduleServiceClient

    schedule = made(clocked)
    channel = grpc.insecure_channel(clocked.servers["grpc_address"])
    client = ScheduleServiceClient(transport=ScheduleServiceClient.get_transport_class("grpc")(channel=channel))
    (found,) = client.list_schedules(parent=PARENT)
    assert (found.name, found.cron) == (schedule["name"], schedule["cron"])
    client.pause_schedule(name=found.name)
    assert client.get_schedule(name=found.name).state.name == "PAUSED"
    client.delete_schedule(name=found.name).result(timeout=10)
    assert clocked.get(schedule["name"]).error == (404, "NOT_FOUND")
    channel.close()


def test_the_sdk_makes_changes_and_removes_a_schedule(
    clocked: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform.compat.types import schedule as schedules

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", clocked.storage_url)
    aiplatform.init(
        project="test-project",
        location="us-central1",
        api_endpoint=clocked.url,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    template = tmp_path / "pipeline.json"
    template.write_text(json.dumps(pipeline("true")))
    job = aiplatform.PipelineJob(
        display_name="nightly", template_path=str(template), pipeline_root="gs://b/root", labels={"team": "blue"}
    )
    schedule = job.create_schedule(
        cron="TZ=America/New_York 0 3 * * *", display_name="from-sdk", max_run_count=5, max_concurrent_run_count=2
    )
    assert schedule.state == schedules.Schedule.State.ACTIVE
    (found,) = aiplatform.PipelineJobSchedule.list(filter='display_name="from-sdk"')
    assert found.resource_name == schedule.resource_name
    schedule.update(cron="0 * * * *")
    forward(clocked, HOUR)
    (run,) = schedule.list_jobs(enable_simple_view=False)
    assert (run.labels["team"], run.gca_resource.schedule_name) == ("blue", schedule.resource_name)
    schedule.pause()
    assert schedule.state == schedules.Schedule.State.PAUSED
    forward(clocked, 2 * HOUR)
    # The SDK's own resume(catch_up=True) does not send it.
    schedule.api_client.resume_schedule(request={"name": schedule.resource_name, "catch_up": True})
    assert len(schedule.list_jobs(enable_simple_view=False)) == 3
    assert schedule.max_run_count == 5
    schedule.delete()
    assert len(runs(clocked, {"name": f"{NUMBERED}/schedules/{schedule.name}"})) == 3  # they stay


@pytest.mark.slow
def test_a_restart_goes_on_from_the_next_moment_and_starts_nothing_twice(tmp_path: Path) -> None:
    first = Emulator(tmp_path / "data")
    schedule = made(first)
    forward(first, HOUR)
    first.kill()
    second = Emulator(tmp_path / "data")  # its clock is the machine's again
    try:
        found = second.get(schedule["name"]).body
        assert (found["startedRunCount"], len(runs(second, schedule))) == ("1", 1)
        assert moment(found["nextRunTime"]) - moment(found["startTime"]) <= timedelta(hours=1, minutes=1)
        forward(second, HOUR)
        assert len(runs(second, schedule)) == 2
    finally:
        second.stop()
