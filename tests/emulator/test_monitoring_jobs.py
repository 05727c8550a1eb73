"""Monitoring jobs of endpoints compute skew and drift, window by window, by a clock that can be moved."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from edge_tasks.emulator.monitoring.distance import deviation
from tests.emulator.harness import ECHO, PARENT, Emulator, eventually

HOUR = 3600


def watched(emulator: Emulator) -> tuple[str, str]:
    endpoint = emulator.create_endpoint()
    return endpoint, emulator.deployed(endpoint, emulator.upload(ECHO))


def body(endpoint: str, deployed: str, **objective: Any) -> dict[str, Any]:
    return {
        "displayName": "watch",
        "endpoint": endpoint,
        "modelDeploymentMonitoringObjectiveConfigs": [{"deployedModelId": deployed, "objectiveConfig": objective}],
        "modelDeploymentMonitoringScheduleConfig": {"monitorInterval": "3600s"},
        "loggingSamplingStrategy": {"randomSampleConfig": {"sampleRate": 1.0}},
    }


DRIFT = {"predictionDriftDetectionConfig": {"driftThresholds": {"age": {"value": 0.1}, "city": {"value": 0.3}}}}


def made(emulator: Emulator, endpoint: str, deployed: str, **objective: Any) -> str:
    answer = emulator.post(f"{PARENT}/modelDeploymentMonitoringJobs", body(endpoint, deployed, **(objective or DRIFT)))
    assert answer.status == 200, answer.body
    return str(answer.body["name"])


def ask(emulator: Emulator, endpoint: str, job: str, age: float, amount: int = 200, city: str = "York") -> None:
    """Ask once for many instances, and wait until they can be read."""
    chance = random.Random(age)
    instances = [{"age": chance.gauss(age, 5), "city": city} for _ in range(amount)]
    before = kept(emulator, job)
    assert emulator.predict(endpoint, instances).status == 200
    # Old rows may be removed in the same moment: the clock jumps.
    eventually(lambda: kept(emulator, job) - before, "the row is kept")


def kept(emulator: Emulator, job: str) -> set[bytes]:
    """The rows of the job's table."""
    _, _, path = emulator.get(job).body["bigqueryTables"][0]["bigqueryTablePath"].partition(".")
    prefix = path.replace(".", "/")
    url = f"{emulator.storage_url}/storage/v1/b/test-project-bigquery-tables/o"
    items = emulator.session.get(url, params={"prefix": prefix}, timeout=10).json().get("items", [])
    answers = [
        emulator.session.get(f"{url}/{quote(item['name'], safe='')}", params={"alt": "media"}, timeout=10)
        for item in items
    ]
    assert all(answer.status_code in {200, 404} for answer in answers)
    return {line for answer in answers if answer.ok for line in answer.content.splitlines()}


def forward(emulator: Emulator, seconds: float) -> None:
    assert emulator.post("/_emulator/clock", {"forward": seconds}).status == 200


def found(emulator: Emulator, job: str, **search: Any) -> dict[str, list[Any]]:
    """What a job has found, by objective and feature: the distances, in the order of time."""
    answer = emulator.post(f"{job}:searchModelDeploymentMonitoringStatsAnomalies", search)
    assert answer.status == 200, answer.body
    return {
        f"{stats['objective']} {feature['featureDisplayName']}": [
            round(one.get("distributionDeviation", 0), 2) for one in feature["predictionStats"]
        ]
        for stats in answer.body.get("monitoringStats", [])
        for feature in stats.get("featureStats", [])
    }


@pytest.mark.slow
def test_drift_between_windows_is_found_as_the_clock_goes_on(clocked: Emulator) -> None:
    endpoint, deployed = watched(clocked)
    job = made(clocked, endpoint, deployed)
    assert clocked.get(job).body["state"] == "JOB_STATE_PENDING"
    ask(clocked, endpoint, job, 40)
    running = clocked.get(job).body
    assert (running["state"], running["scheduleState"]) == ("JOB_STATE_RUNNING", "RUNNING")
    assert found(clocked, job) == {}
    forward(clocked, HOUR)
    # There is no window before the first.
    assert found(clocked, job) == {}
    ask(clocked, endpoint, job, 40.1)
    forward(clocked, HOUR)
    calm = found(clocked, job)
    assert calm.keys() == {"RAW_FEATURE_DRIFT age", "RAW_FEATURE_DRIFT city"}
    assert calm["RAW_FEATURE_DRIFT age"][0] < 0.1
    ask(clocked, endpoint, job, 60, city="Leeds")
    forward(clocked, HOUR)
    alarm = found(clocked, job)
    assert alarm["RAW_FEATURE_DRIFT age"][1] > 0.5
    assert alarm["RAW_FEATURE_DRIFT city"] == [0, 1]
    search = clocked.post(f"{job}:searchModelDeploymentMonitoringStatsAnomalies", {}).body["monitoringStats"]
    assert [stats["anomalyCount"] for stats in search] == [2]
    # Hours in which nobody asks show nothing.
    forward(clocked, 30 * HOUR)
    assert found(clocked, job) == alarm
    assert clocked.get(job).body["nextScheduleTime"] > clocked.get("/_emulator/clock").body["now"][:19]


@pytest.mark.slow
def test_what_was_found_is_searched_by_feature_objective_and_time(clocked: Emulator) -> None:
    endpoint, deployed = watched(clocked)
    job = made(clocked, endpoint, deployed)
    for age in (40, 50, 60):
        ask(clocked, endpoint, job, age)
        forward(clocked, HOUR)
    drift = [{"type": "RAW_FEATURE_DRIFT", "topFeatureCount": 1}]
    assert found(clocked, job, featureDisplayName="city").keys() == {"RAW_FEATURE_DRIFT city"}
    assert found(clocked, job, objectives=drift).keys() == {"RAW_FEATURE_DRIFT age"}
    assert found(clocked, job, objectives=[{"type": "RAW_FEATURE_SKEW"}]) == {}
    assert found(clocked, job, deployedModelId=deployed) == found(clocked, job)
    assert found(clocked, job, endTime="2020-01-01T00:00:00Z") == {}
    wrong = clocked.post(f"{job}:searchModelDeploymentMonitoringStatsAnomalies", {"deployedModelId": "7"})
    assert wrong.error == (404, "NOT_FOUND")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "bigquery"])
def test_skew_is_the_distance_to_the_training_data(clocked: Emulator, form: str) -> None:
    endpoint, deployed = watched(clocked)
    chance = random.Random(1)
    rows = [{"age": chance.gauss(40, 5), "city": "York", "left": "yes"} for _ in range(300)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = "age,city,left\n" + "".join(f"{row['age']},{row['city']},{row['left']}\n" for row in rows)
    bucket = clocked.new_bucket()
    dataset: dict[str, Any] = {"targetField": "left", "dataFormat": form}
    if form == "bigquery":
        dataset = {"targetField": "left", "bigquerySource": {"inputUri": f"bq://{bucket}.data.train"}}
        storage = f"{clocked.storage_url}/storage/v1/b"
        clocked.session.post(storage, params={"project": "p"}, json={"name": f"{bucket}-bigquery-tables"}, timeout=10)
        clocked.put(f"{bucket}-bigquery-tables", "data/train/1.jsonl", lines.encode())
    else:
        dataset["gcsSource"] = {"uris": [clocked.put(bucket, "train", (table if form == "csv" else lines).encode())]}
    job = made(
        clocked, endpoint, deployed, trainingDataset=dataset,
        trainingPredictionSkewDetectionConfig={"defaultSkewThreshold": {"value": 0.2}},
    )  # fmt: skip
    ask(clocked, endpoint, job, 60)
    forward(clocked, HOUR)
    skew = found(clocked, job)
    assert skew.keys() == {"RAW_FEATURE_SKEW age", "RAW_FEATURE_SKEW city"}
    assert skew["RAW_FEATURE_SKEW age"][0] > 0.5
    assert skew["RAW_FEATURE_SKEW city"] == [0]


def test_training_data_that_cannot_be_read_are_told_by_the_job(clocked: Emulator) -> None:
    endpoint, deployed = watched(clocked)
    job = made(
        clocked, endpoint, deployed, trainingDataset={"bigquerySource": {"inputUri": "bq://nobody.here.train"}},
        trainingPredictionSkewDetectionConfig={"defaultSkewThreshold": {"value": 0.2}},
    )  # fmt: skip
    ask(clocked, endpoint, job, 60)
    forward(clocked, HOUR)
    status = clocked.get(job).body["latestMonitoringPipelineMetadata"]["status"]
    assert "There is no table bq://nobody.here.train" in status["message"]


@pytest.mark.slow
def test_a_paused_job_keeps_and_computes_nothing(clocked: Emulator) -> None:
    endpoint, deployed = watched(clocked)
    job = made(clocked, endpoint, deployed)
    assert clocked.post(f"{job}:resume").error == (400, "FAILED_PRECONDITION")
    ask(clocked, endpoint, job, 40)
    assert clocked.post(f"{job}:pause").status == 200
    assert clocked.get(job).body["state"] == "JOB_STATE_PAUSED"
    rows = len(kept(clocked, job))
    assert clocked.predict(endpoint, [{"age": 1}]).status == 200
    forward(clocked, 5 * HOUR)
    assert clocked.post(f"{job}:resume").status == 200
    assert clocked.get(job).body["state"] == "JOB_STATE_RUNNING"
    assert found(clocked, job) == {}
    ask(clocked, endpoint, job, 40)
    assert len(kept(clocked, job)) == rows + 1


def test_a_job_is_changed_when_it_runs_and_forgotten_with_what_it_found(clocked: Emulator) -> None:
    endpoint, deployed = watched(clocked)
    job = made(clocked, endpoint, deployed)
    mask = {"updateMask": "displayName"}
    assert clocked.call("PATCH", job, {"displayName": "b"}, params=mask).error == (400, "FAILED_PRECONDITION")
    ask(clocked, endpoint, job, 40)
    changed = clocked.response(clocked.call("PATCH", job, {"displayName": "b"}, params=mask))
    assert changed["displayName"] == clocked.get(job).body["displayName"] == "b"
    listed = clocked.get(f"{PARENT}/modelDeploymentMonitoringJobs").body["modelDeploymentMonitoringJobs"]
    assert job in [each["name"] for each in listed]
    clocked.response(clocked.call("DELETE", job))
    assert clocked.get(job).error == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modelDeploymentMonitoringObjectiveConfigs": []}, "model_deployment_monitoring_objective_configs is empty"),
        ({"modelDeploymentMonitoringScheduleConfig": {}}, "monitor_interval is required"),
        ({"loggingSamplingStrategy": {}}, "sample_rate must be in the range"),
        ({"endpoint": "projects/p/locations/l/endpoints/1"}, "endpoint must be an endpoint of"),
        ({"displayName": ""}, "display"),
        ({"analysisInstanceSchemaUri": "schema.yaml"}, "analysis_instance_schema_uri must be"),
    ],
)
def test_a_job_that_cannot_be_is_refused(clocked: Emulator, change: dict[str, Any], words: str) -> None:
    endpoint, deployed = watched(clocked)
    answer = clocked.post(f"{PARENT}/modelDeploymentMonitoringJobs", {**body(endpoint, deployed, **DRIFT), **change})
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert words in answer.message


@pytest.mark.parametrize(
    ("objective", "status"),
    [
        ({}, 400),
        ({"trainingPredictionSkewDetectionConfig": {"defaultSkewThreshold": {"value": 0.1}}}, 400),
        ({"predictionDriftDetectionConfig": {"driftThresholds": {"age": {"value": 2}}}}, 400),
        ({**DRIFT, "explanationConfig": {"enableFeatureAttributes": True}}, 501),
    ],
)
def test_an_objective_that_cannot_be_followed_is_refused(
    clocked: Emulator, objective: dict[str, Any], status: int
) -> None:
    endpoint, deployed = watched(clocked)
    assert (
        clocked.post(f"{PARENT}/modelDeploymentMonitoringJobs", body(endpoint, deployed, **objective)).status == status
    )
    assert clocked.post(f"{PARENT}/modelDeploymentMonitoringJobs", body(endpoint, "77", **DRIFT)).status == 400


@pytest.mark.parametrize("wrong", [{}, {"forward": -1}, {"forward": "1h"}, {"forward": True}, {"forward": 1e300}])
def test_the_clock_goes_forward_only(clocked: Emulator, wrong: dict[str, Any]) -> None:
    ahead = clocked.get("/_emulator/clock").body["ahead"]
    assert clocked.post("/_emulator/clock", wrong).error == (400, "INVALID_ARGUMENT")
    assert clocked.get("/_emulator/clock").body["ahead"] == ahead


@pytest.mark.parametrize(
    ("before", "now", "distance"),
    [
        (["a", "b"], ["a", "a"], 0.5), ([True, False], [True, False], 0), ([1, 2], ["a", 1], 0.5), ([None], [1], None),
        ([1.0] * 9, [1.0], 0), ([0] * 9, [9] * 3, 1), ([1e308, -1e308], [1e308, -1e308], 0), ([], [], None),
        ([0, 10], [0, 0, 0, 10], 0.0488), ([float("nan"), 1], [1, None], 0),
    ],
)  # fmt: skip
def test_distances_lie_between_the_same_and_nothing_in_common(
    before: list[Any], now: list[Any], distance: float | None
) -> None:
    found = deviation(before, now)
    assert found == distance if distance is None else found == pytest.approx(distance, abs=1e-3)


@pytest.mark.slow
def test_the_sdk_makes_changes_and_ends_a_job(emulator: Emulator, aiplatform: Any) -> None:
    from google.cloud.aiplatform import model_monitoring

    endpoint, _ = watched(emulator)
    drift = model_monitoring.DriftDetectionConfig(drift_thresholds={"age": 0.1})
    job = aiplatform.ModelDeploymentMonitoringJob.create(
        endpoint=endpoint,
        objective_configs=model_monitoring.ObjectiveConfig(drift_detection_config=drift),
        logging_sampling_strategy=model_monitoring.RandomSampleConfig(sample_rate=1.0),
        schedule_config=model_monitoring.ScheduleConfig(monitor_interval=1),
        alert_config=model_monitoring.EmailAlertConfig(user_emails=["ada@example.org"], enable_logging=True),
        display_name="by the SDK",
    )
    assert job.state.name == "JOB_STATE_PENDING"
    ask(emulator, endpoint, job.resource_name, 40)
    assert job.state.name == "JOB_STATE_RUNNING"
    job.update(display_name="another name")
    assert [each.display_name for each in aiplatform.ModelDeploymentMonitoringJob.list()] == ["another name"]
    asked = {"model_deployment_monitoring_job": job.resource_name}
    assert list(job.api_client.search_model_deployment_monitoring_stats_anomalies(request=asked)) == []
    job.pause()
    assert job.state.name == "JOB_STATE_PAUSED"
    job.resume()
    job.delete()
