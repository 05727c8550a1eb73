"""The log of a job by Cloud Logging's entries:list."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.harness import Emulator, model_of


@pytest.mark.slow
def test_lines_become_entries_with_severity_and_resource(emulator: Emulator) -> None:
    script = (
        "import sys, json\n"
        "print('plain')\n"
        "print(json.dumps({'severity': 'warning', 'message': 'structured', 'n': 1}))\n"
        "sys.stdout.flush(); print('bad', file=sys.stderr)\n"
    )
    job = emulator.run_job(["python", "-c", script])
    entries = emulator.log(job)
    by_severity = {entry["severity"]: entry for entry in entries}
    assert by_severity["INFO"]["textPayload"] == "plain"
    assert by_severity["WARNING"]["jsonPayload"] == {"message": "structured", "n": 1}
    assert by_severity["ERROR"]["textPayload"] == "bad"
    labels = {"job_id": job["name"].rpartition("/")[2], "project_id": "test-project", "task_name": "workerpool0-0"}
    assert entries[0]["resource"] == {"type": "ml_job", "labels": labels}


@pytest.mark.slow
def test_no_line_is_lost_or_doubled_by_pages_or_by_time(emulator: Emulator) -> None:
    job = emulator.run_job(["python", "-c", "print('\\n'.join(map(str, range(5000))))"])
    entries = emulator.log(job, pageSize=700)
    assert [entry["textPayload"] for entry in entries] == [str(number) for number in range(5000)]
    times = [entry["timestamp"] for entry in entries]
    assert times == sorted(set(times))
    ids = [entry["insertId"] for entry in entries]
    assert ids == sorted(set(ids))
    job_id = job["name"].rpartition("/")[2]
    for start in (0, 1, 2500, 4999):
        text = f'resource.type="ml_job" AND resource.labels.job_id="{job_id}" AND timestamp>="{times[start]}"'
        assert emulator.log(job, filter=text) == entries[start:]


@pytest.mark.slow
def test_filters_choose_by_time_id_severity_and_task(emulator: Emulator) -> None:
    job = emulator.run_job(["sh", "-c", "for i in 0 1 2 3 4; do echo $i; done; echo bad >&2"])
    entries = emulator.log(job)
    of_job = f'resource.type="ml_job" resource.labels.job_id="{job["name"].rpartition("/")[2]}"'

    def found(text: str, **options: Any) -> list[Any]:
        return emulator.log(job, filter=f"{of_job} AND {text}", **options)

    third, last = entries[2], entries[-1]["timestamp"]
    position = f'((timestamp="{third["timestamp"]}" AND insertId>"{third["insertId"]}")'
    # As gcloud asks for what has come since.
    assert found(f'{position} OR timestamp>"{third["timestamp"]}") AND timestamp<"{last}"') == entries[3:-1]
    assert found(f'timestamp<="{third["timestamp"].replace("Z", "+00:00")}"') == entries[:3]
    assert [entry["textPayload"] for entry in found("severity>=ERROR")] == ["bad"]
    assert found('NOT severity=ERROR AND resource.labels.task_name="workerpool0-0"', pageSize=2) == [
        entry for entry in entries if entry["severity"] != "ERROR"
    ]
    assert found('resource.labels.task_name="service"') == []
    assert found("severity>=DEFAULT", orderBy="timestamp desc", pageSize=2) == entries[::-1]


@pytest.mark.slow
def test_text_that_is_no_utf8_and_very_long_lines_survive(emulator: Emulator) -> None:
    script = "import sys; sys.stdout.buffer.write(b'\\xff' + b'x' * 600_000)"
    lines = emulator.output(emulator.run_job(["python", "-c", script]))
    assert "".join(lines) == "\N{REPLACEMENT CHARACTER}" + "x" * 600_000


def test_another_project_does_not_see_the_log(emulator: Emulator) -> None:
    job = emulator.run_job(["echo", "secret"])
    assert emulator.log(job, resourceNames=["projects/other"]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"filter": 'severity="ERROR"'},
        {"filter": ""},
        {"filter": 'resource.type="ml_job" AND resource.labels.job_id="1" OR 1'},
        {"filter": 'resource.type="ml_job" AND resource.labels.job_id="../../x"'},
        {"resourceNames": ["folders/1"]},
        {"orderBy": "severity"},
        {"filter": 'resource.type="ml_job" AND NOT resource.labels.job_id="1"'},
        {"filter": 'resource.type="ml_job" AND resource.labels.job_id="1" AND textPayload="x"'},
        {"filter": 'resource.type="ml_job" AND resource.labels.job_id="1" AND timestamp>"yesterday"'},
        {"filter": 'resource.type="ml_job" AND resource.labels.endpoint_id="1"'},
        {"filter": "(" * 100},
        {"pageToken": "nonsense"},
        {"pageSize": "many"},
        {"unknown": 1},
    ],
)
def test_what_is_not_emulated_is_refused_with_a_message(emulator: Emulator, change: dict[str, object]) -> None:
    body = {
        "resourceNames": ["projects/test-project"],
        "filter": 'resource.type="ml_job" AND resource.labels.job_id="1"',
        **change,
    }
    answer = emulator.post("/v2/entries:list", body)
    assert answer.error == (400, "INVALID_ARGUMENT")


def test_what_a_deployed_model_prints_is_the_log_of_its_endpoint(emulator: Emulator) -> None:
    """By Google's own log and labels; what was printed once keeps its time, and only the news come later."""
    endpoint = emulator.create_endpoint()
    model = emulator.upload(model_of("lambda rows: [print('asked for', rows[0], flush=True)] and list(rows)"))
    deployed = emulator.deployed(endpoint, model)
    of_endpoint = (
        'resource.type="aiplatform.googleapis.com/Endpoint"'
        f' AND resource.labels.endpoint_id="{endpoint.rpartition("/")[2]}"'
    )
    emulator.predict(endpoint, [7])
    (first,) = emulator.log(endpoint, filter=of_endpoint)
    assert first["textPayload"] == "asked for 7"
    assert first["logName"] == "projects/test-project/logs/aiplatform.googleapis.com%2Fprediction_container"
    assert first["labels"] == {"deployed_model_id": deployed}
    emulator.predict(endpoint, [8])
    emulator.predict(endpoint, [9])
    entries = emulator.log(endpoint, filter=of_endpoint, pageSize=1)
    assert [entry["textPayload"] for entry in entries] == ["asked for 7", "asked for 8", "asked for 9"]
    assert entries[0] == first
    assert len({entry["timestamp"] for entry in entries}) == 3
    later = f'{of_endpoint} AND timestamp>"{first["timestamp"]}"'
    assert emulator.log(endpoint, filter=later) == entries[1:]
    assert emulator.log(endpoint, filter=of_endpoint, resourceNames=["projects/other"]) == []
