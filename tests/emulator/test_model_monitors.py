"""Model monitors of v1beta1: their jobs compare data sets, logs and batch predictions, by the SDK or without it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.harness import ECHO, NUMBERED, PARENT, Answer, Emulator, eventually

BETA = f"/v1beta1/{PARENT}"
FIELDS = {"featureFields": [{"name": "age", "dataType": "integer"}, {"name": "city", "dataType": "categorical"}]}
SCHEMA = {**FIELDS, "predictionFields": [{"name": "left", "dataType": "categorical"}]}
DRIFT = {
    "defaultNumericAlertCondition": {"threshold": 0.1},
    "defaultCategoricalAlertCondition": {"threshold": 0.3},
    "numericMetricType": "jensen_shannon_divergence",
    "categoricalMetricType": "l_infinity",
}


@pytest.fixture(scope="module")
def model(emulator: Emulator) -> str:
    return emulator.upload(ECHO)


def beta(emulator: Emulator, method: str, path: str, body: Any = None) -> Answer:
    return emulator.call(method, path if path.startswith("/") else f"/v1beta1/{path}", body)


def done(emulator: Emulator, answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    operation = eventually(lambda: _ended(emulator, answer.body["name"]), "the operation ends")
    assert "error" not in operation, operation
    return operation["response"]


def _ended(emulator: Emulator, name: str) -> Any:
    operation = emulator.call("GET", f"/ui/{name}").body
    return operation if operation.get("done") else None


def monitor_of(model: str, **fields: Any) -> dict[str, Any]:
    name, _, version = model.partition("@")
    target = {"vertexModel": {"model": name, "modelVersionId": version or "1"}}
    return {"displayName": "watch", "modelMonitoringTarget": target, "modelMonitoringSchema": SCHEMA, **fields}


def rows(age: float, city: str = "York", amount: int = 300) -> list[dict[str, Any]]:
    chance = random.Random(age)
    return [{"age": round(chance.gauss(age, 10)), "city": city, "left": "no"} for _ in range(amount)]


def csv(emulator: Emulator, bucket: str, name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    lines = "".join(f"{row['age']},{row['city']},{row['left']}\n" for row in values)
    uri = emulator.put(bucket, name, f"age,city,left\n{lines}".encode())
    return {"columnizedDataset": {"gcsSource": {"gcsUri": uri, "format": "CSV"}}}


def jsonl(emulator: Emulator, bucket: str, name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    uri = emulator.put(bucket, name, "".join(json.dumps(row) + "\n" for row in values).encode())
    return {"columnizedDataset": {"gcsSource": {"gcsUri": uri, "format": "JSONL"}}}


def job_of(target: dict[str, Any], **objective: Any) -> dict[str, Any]:
    spec = {"objectiveSpec": {"targetDataset": target, **objective}}
    return {"displayName": "look", "modelMonitoringSpec": spec}


def ended(emulator: Emulator, answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    job = beta(emulator, "GET", answer.body["name"]).body
    assert job["state"] not in {"JOB_STATE_PENDING", "JOB_STATE_RUNNING"}
    return job


def distances(emulator: Emulator, monitor: str, **search: Any) -> dict[str, tuple[float, bool]]:
    answer = beta(emulator, "POST", f"{monitor}:searchModelMonitoringStats", search)
    assert answer.status == 200, answer.body
    found = {}
    for one in answer.body.get("monitoringStats", []):
        stats = one["tabularStats"]
        for point in reversed(stats["dataPoints"]):
            deviation = point["currentStats"]["distributionValue"].get("distributionDeviation", 0.0)
            found[f"{stats['objectiveType']} {stats['statsName']}"] = (deviation, point.get("hasAnomaly", False))
    return found


@pytest.fixture(scope="module")
def monitor(emulator: Emulator, model: str) -> Iterator[tuple[str, str]]:
    """A monitor with training data, and its bucket."""
    bucket = emulator.new_bucket()
    objective = {"featureDriftSpec": DRIFT, "predictionOutputDriftSpec": DRIFT}
    fields = {"trainingDataset": csv(emulator, bucket, "train.csv", rows(40)), "tabularObjective": objective}
    made = done(emulator, beta(emulator, "POST", f"{BETA}/modelMonitors", monitor_of(model, **fields)))
    assert made["@type"].endswith("aiplatform.v1beta1.ModelMonitor")
    yield made["name"], bucket
    beta(emulator, "DELETE", made["name"])


def test_a_job_finds_what_has_changed_and_what_has_not(emulator: Emulator, monitor: tuple[str, str]) -> None:
    name, bucket = monitor
    assert name.startswith(f"{NUMBERED}/modelMonitors/")
    target = jsonl(emulator, bucket, "now-1.jsonl", rows(70))
    job = ended(emulator, beta(emulator, "POST", f"{name}/modelMonitoringJobs", job_of(target)))
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert set(job["jobExecutionDetail"]["objectiveStatus"]) == {"raw-feature-drift", "prediction-output-drift"}
    assert job["jobExecutionDetail"]["targetDatasets"] == [{"location": f"gs://{bucket}/now-1.jsonl"}]
    found = distances(emulator, name, statsFilter={"tabularStatsFilter": {"modelMonitoringJob": job["name"]}})
    assert {which: anomaly for which, (_, anomaly) in found.items()} == {
        "raw-feature-drift age": True, "raw-feature-drift city": False, "prediction-output-drift left": False,
    }  # fmt: skip
    distance, _ = found["raw-feature-drift age"]
    assert 0.3 < distance <= 1
    alerts = beta(emulator, "POST", f"{name}:searchModelMonitoringAlerts", {"modelMonitoringJob": job["name"]}).body
    assert alerts["totalNumberAlerts"] == "1"
    (alert,) = alerts["modelMonitoringAlerts"]
    assert (alert["statsName"], alert["anomaly"]["tabularAnomaly"]["condition"]) == ("age", {"threshold": 0.1})
    assert "above the threshold 0.1" in alert["anomaly"]["tabularAnomaly"]["summary"]
    assert beta(emulator, "POST", f"{name}:searchModelMonitoringAlerts", {"statsName": "city"}).body == {}


def test_the_statistics_are_those_of_the_rows(emulator: Emulator, monitor: tuple[str, str]) -> None:
    name, bucket = monitor
    values = [{"age": age, "city": city, "left": "no"} for age, city in ((10, "York"), (20, "Hull"), (30, "York"))]
    target = csv(emulator, bucket, "three.csv", values)
    job = ended(emulator, beta(emulator, "POST", f"{name}/modelMonitoringJobs", job_of(target)))
    search = {"statsFilter": {"tabularStatsFilter": {"modelMonitoringJob": job["name"], "statsName": "age"}}}
    (one,) = beta(emulator, "POST", f"{name}:searchModelMonitoringStats", search).body["monitoringStats"]
    point = one["tabularStats"]["dataPoints"][0]
    assert (point["algorithm"], point["thresholdValue"]) == ("jensen_shannon_divergence", 0.1)
    numbers = point["currentStats"]["distributionValue"]["distribution"]["features"][0]["numStats"]
    assert (numbers["mean"], numbers["min"], numbers["max"], numbers["median"]) == (20, 10, 30, 20)
    counts = [bucket["sampleCount"] for bucket in numbers["histograms"][0]["buckets"]]
    assert (len(counts), sum(counts), counts[0], counts[-1]) == (10, 3, 1, 1)
    assert point["baselineStats"]["distributionValue"]["distribution"]["numExamples"] == "300"
    search["statsFilter"]["tabularStatsFilter"]["statsName"] = "city"
    (one,) = beta(emulator, "POST", f"{name}:searchModelMonitoringStats", search).body["monitoringStats"]
    texts = one["tabularStats"]["dataPoints"][0]["currentStats"]["distributionValue"]["distribution"]["features"][0]
    assert [bucket["label"] for bucket in texts["stringStats"]["rankHistogram"]["buckets"]] == ["York", "Hull"]


@pytest.mark.slow
def test_what_an_endpoint_was_asked_is_compared_by_the_schema_s_order(emulator: Emulator, model: str) -> None:
    """The model answers what it is asked: lists, of which the first part is called `left`."""
    logging = {"enabled": True, "samplingRate": 1, "bigqueryDestination": {"outputUri": "bq://test-project.monitored"}}
    endpoint = emulator.create_endpoint(predictRequestResponseLoggingConfig=logging)
    emulator.deployed(endpoint, model)
    bucket = emulator.new_bucket()
    objective = {"featureDriftSpec": DRIFT, "predictionOutputDriftSpec": {"features": ["left"]}}
    schema = {**FIELDS, "predictionFields": [{"name": "left", "dataType": "float"}]}
    training = jsonl(emulator, bucket, "train.jsonl", [{**row, "left": row["age"]} for row in rows(40)])
    fields = {"trainingDataset": training, "tabularObjective": objective, "modelMonitoringSchema": schema}
    name = done(emulator, beta(emulator, "POST", f"{BETA}/modelMonitors", monitor_of(model, **fields)))["name"]
    assert emulator.predict(endpoint, [[row["age"], row["city"]] for row in rows(60)]).status == 200
    url = f"{emulator.storage_url}/storage/v1/b/test-project-bigquery-tables/o?prefix=monitored/"
    eventually(lambda: emulator.session.get(url, timeout=10).json().get("items"), "the row is kept")
    # What is damaged among the rows is left out.
    emulator.put(
        "test-project-bigquery-tables", "monitored/request_response_logging/2026-01-01/x.jsonl", b'{"a\n\xff\n1\n'
    )
    target = {"vertexEndpointLogs": {"endpoints": [endpoint]}}
    job = ended(emulator, beta(emulator, "POST", f"{name}/modelMonitoringJobs", job_of(target)))
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    table = job["jobExecutionDetail"]["targetDatasets"][0]["location"]
    assert table == "bq://test-project.monitored.request_response_logging"
    found = distances(emulator, name)
    assert found["raw-feature-drift age"][1]
    assert not found["raw-feature-drift city"][1]
    # Without a threshold there is a distance, and no alarm.
    assert found["prediction-output-drift left"][0] > 0.1
    assert not found["prediction-output-drift left"][1]
    # Of the hour before there is nothing: a job that cannot compare says so.
    target["timeOffset"] = {"offset": "1h", "window": "1h"}  # type: ignore[dict-item]
    job = ended(emulator, beta(emulator, "POST", f"{name}/modelMonitoringJobs", job_of(target)))
    assert job["state"] == "JOB_STATE_FAILED"
    assert "The target dataset has no values of 'age', 'city'" in job["jobExecutionDetail"]["error"]["message"]
    assert set(job["jobExecutionDetail"]["targetDatasets"][0]["timeRange"]) == {"startTime", "endTime"}
    beta(emulator, "DELETE", name)


def test_a_time_is_that_of_the_timestamp_field_and_one_objective_may_fail(
    emulator: Emulator, monitor: tuple[str, str]
) -> None:
    name, bucket = monitor
    old, new = ([{**row, "at": day} for row in rows(age)] for age, day in ((80, "2026-01-01"), (40, "2026-02-01")))
    for row in new:
        del row["left"]
    target = jsonl(emulator, bucket, "dated.jsonl", [*old, *new])
    target["timeInterval"] = {"startTime": "2026-01-15T00:00:00Z", "endTime": "2026-03-01T00:00:00Z"}
    refused = beta(emulator, "POST", f"{name}/modelMonitoringJobs", job_of(target))
    assert ended(emulator, refused)["jobExecutionDetail"]["error"]["message"] == (
        "A time of a columnized_dataset needs its timestamp_field."
    )
    target["columnizedDataset"]["timestampField"] = "at"
    job = ended(emulator, beta(emulator, "POST", f"{name}/modelMonitoringJobs", job_of(target)))
    assert job["state"] == "JOB_STATE_PARTIALLY_SUCCEEDED"
    status = job["jobExecutionDetail"]["objectiveStatus"]
    assert status["raw-feature-drift"] == {}
    assert "has no values of 'left'" in status["prediction-output-drift"]["message"]
    found = distances(emulator, name, statsFilter={"tabularStatsFilter": {"modelMonitoringJob": job["name"]}})
    assert found == {"raw-feature-drift age": (0, False), "raw-feature-drift city": (0, False)}


def test_a_batch_prediction_and_a_managed_dataset_can_be_compared(emulator: Emulator, model: str) -> None:
    bucket = emulator.new_bucket()
    emulator.put(bucket, "in.jsonl", "".join(json.dumps([row["age"], "York"]) + "\n" for row in rows(40)).encode())
    source = {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{bucket}/in.jsonl"]}}
    output = {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{bucket}/out"}}
    batch = {"displayName": "b", "model": model, "inputConfig": source, "outputConfig": output}
    batch["dedicatedResources"] = {"machineSpec": {"machineType": "n1-standard-2"}, "startingReplicaCount": 1}
    name = emulator.post(f"{PARENT}/batchPredictionJobs", batch).body["name"]
    emulator.wait_for_job(name)
    uri = csv(emulator, bucket, "train.csv", rows(40))["columnizedDataset"]["gcsSource"]["gcsUri"]
    dataset = {"displayName": "d", "metadata": {"inputConfig": {"gcsSource": {"uri": [uri]}}}}
    dataset["metadataSchemaUri"] = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
    managed = emulator.finish(emulator.post(f"{PARENT}/datasets", dataset))["response"]["name"]
    fields = {"trainingDataset": {"columnizedDataset": {"vertexDataset": managed}}, "modelMonitoringSchema": FIELDS}
    fields["tabularObjective"] = {"featureDriftSpec": DRIFT}
    monitor = done(emulator, beta(emulator, "POST", f"{BETA}/modelMonitors", monitor_of(model, **fields)))["name"]
    target = {"batchPredictionOutput": {"batchPredictionJob": name}}
    job = ended(emulator, beta(emulator, "POST", f"{monitor}/modelMonitoringJobs", job_of(target)))
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert distances(emulator, monitor) == {"raw-feature-drift age": (0, False), "raw-feature-drift city": (0, False)}
    beta(emulator, "DELETE", monitor)


def test_monitors_and_jobs_are_listed_changed_and_deleted(emulator: Emulator, model: str) -> None:
    url = f"{BETA}/modelMonitors?modelMonitorId=my-monitor"
    name = done(emulator, beta(emulator, "POST", url, monitor_of(model)))["name"]
    assert name == f"{NUMBERED}/modelMonitors/my-monitor"
    assert "already exists" in str(_failed(emulator, beta(emulator, "POST", url, monitor_of(model))))
    changed = done(
        emulator, beta(emulator, "PATCH", f"/v1beta1/{name}?updateMask=displayName", {"displayName": "other"})
    )
    assert changed["displayName"] == "other"
    listed = beta(emulator, "GET", f'{BETA}/modelMonitors?filter=display_name="other"').body["modelMonitors"]
    assert [one["name"] for one in listed] == [name]
    bucket = emulator.new_bucket()
    data = csv(emulator, bucket, "a.csv", rows(40))
    objective = {"baselineDataset": data, "tabularObjective": {"featureDriftSpec": {"features": ["age"]}}}
    path = f"{name}/modelMonitoringJobs"
    job = ended(emulator, beta(emulator, "POST", f"{path}?modelMonitoringJobId=first", job_of(data, **objective)))
    assert job["name"] == f"{name}/modelMonitoringJobs/first"
    assert list(distances(emulator, name)) == ["raw-feature-drift age"]
    assert [one["name"] for one in beta(emulator, "GET", path).body["modelMonitoringJobs"]] == [job["name"]]
    done(emulator, beta(emulator, "DELETE", job["name"]))
    assert distances(emulator, name) == {}
    ended(emulator, beta(emulator, "POST", path, job_of(data, **objective)))
    done(emulator, beta(emulator, "DELETE", name))
    assert beta(emulator, "GET", name).status == 404


def _failed(emulator: Emulator, answer: Answer) -> Any:
    return answer.body["error"] if answer.status != 200 else _ended(emulator, answer.body["name"])["error"]


@pytest.mark.parametrize(
    ("fields", "code", "problem"),
    [
        ({"displayName": ""}, 400, "display_name is required"),
        ({"modelMonitoringTarget": {}}, 400, "vertex_model.model is required"),
        ({"modelMonitoringSchema": {"featureFields": [{"name": "a", "dataType": "int"}]}}, 400, "a data_type of"),
        ({"trainingDataset": {}}, 400, "training_dataset needs a columnized_dataset"),
        ({"trainingDataset": {"columnizedDataset": {}}}, 400, "needs a vertex_dataset, a gcs_source or"),
        (
            {"trainingDataset": {"columnizedDataset": {"gcsSource": {"gcsUri": "gs://b/a", "format": "TF_RECORD"}}}},
            501,
            "TF_RECORD is not implemented",
        ),
        (
            {"trainingDataset": {"columnizedDataset": {"bigquerySource": {"query": "SELECT 1"}}}},
            501,
            "a query of BigQuery is not implemented",
        ),
        (
            {"trainingDataset": {"vertexEndpointLogs": {"endpoints": ["e"]}, "timeOffset": {"window": "1y"}}},
            400,
            "time_offset.window must be a number and h, d or w",
        ),
        ({"tabularObjective": {"featureAttributionSpec": {}}}, 501, "feature attributions) is not implemented"),
        ({"tabularObjective": {"featureDriftSpec": {"features": ["size"]}}}, 400, "'size', which is not in the"),
        ({"tabularObjective": {"featureDriftSpec": {"numericMetricType": "l_infinity"}}}, 400, "must be jensen"),
        (
            {"tabularObjective": {"featureDriftSpec": {"featureAlertConditions": {"age": {"threshold": 7}}}}},
            400,
            "the threshold of age must be from 0 to 1, not 7",
        ),
        ({"outputSpec": {"gcsBaseDirectory": {"outputUriPrefix": "here"}}}, 400, "output_spec.gcs_base_directory"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    emulator: Emulator, model: str, fields: dict[str, Any], code: int, problem: str
) -> None:
    answer = beta(emulator, "POST", f"{BETA}/modelMonitors", monitor_of(model, **fields))
    assert (answer.status, problem in answer.message) == (code, True), answer.body


def test_a_job_needs_data_that_there_are(emulator: Emulator, monitor: tuple[str, str], model: str) -> None:
    name, _ = monitor
    path = f"{name}/modelMonitoringJobs"
    assert "target_dataset is required" in beta(emulator, "POST", path, {"displayName": "x"}).message
    logs = {"vertexEndpointLogs": {"endpoints": [emulator.create_endpoint()]}}
    assert "does not log: set its" in beta(emulator, "POST", path, job_of(logs)).message
    logs["vertexEndpointLogs"]["endpoints"] = [f"{PARENT}/endpoints/5"]
    assert beta(emulator, "POST", path, job_of(logs)).status == 404
    nothing = {"columnizedDataset": {"gcsSource": {"gcsUri": "gs://nowhere/x.csv", "format": "CSV"}}}
    job = ended(emulator, beta(emulator, "POST", path, job_of(nothing)))
    assert (job["state"], "nowhere/x.csv" in job["jobExecutionDetail"]["error"]["message"]) == (
        "JOB_STATE_FAILED",
        True,
    )
    assert emulator.get(f"{PARENT}/modelMonitors").status == 404
    assert beta(emulator, "POST", f"{PARENT}/modelMonitors/none/modelMonitoringJobs", job_of(nothing)).status == 404


def test_the_sdk_s_monitors_work_as_they_are(emulator: Emulator, model: str, aiplatform: Any) -> None:
    from vertexai.resources.preview import ml_monitoring
    from vertexai.resources.preview.ml_monitoring.spec import (
        DataDriftSpec,
        FieldSchema,
        ModelMonitoringSchema,
        MonitoringInput,
        NotificationSpec,
        OutputSpec,
        TabularObjective,
    )

    bucket = emulator.new_bucket()
    csv(emulator, bucket, "train.csv", rows(40))
    csv(emulator, bucket, "now-a.csv", rows(70))
    schema = ModelMonitoringSchema(
        feature_fields=[FieldSchema(name="age", data_type="integer"), FieldSchema("city", "categorical")],
        prediction_fields=[FieldSchema("left", "categorical")],
    )
    objective = TabularObjective(
        feature_drift_spec=DataDriftSpec(
            default_numeric_alert_threshold=0.1, feature_alert_thresholds={"city": 0.2}, features=["age", "city"]
        ),
        prediction_output_drift_spec=DataDriftSpec(default_categorical_alert_threshold=0.1),
    )
    monitor: Any = ml_monitoring.ModelMonitor.create(
        display_name="sdk", model_name=model.partition("@")[0], model_version_id="1", model_monitoring_schema=schema,
        training_dataset=MonitoringInput(gcs_uri=f"gs://{bucket}/train.csv", data_format="csv"),
        tabular_objective_spec=objective, output_spec=OutputSpec(gcs_base_dir=f"gs://{bucket}/monitoring"),
        notification_spec=NotificationSpec(user_emails=["ada@example.org"]),
    )  # fmt: skip
    target = MonitoringInput(gcs_uri=f"gs://{bucket}/now-*.csv", data_format="csv")
    job = monitor.run(display_name="look", target_dataset=target, sync=True)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    stats = {one.tabular_stats.stats_name: one.tabular_stats for one in monitor.search_metrics()}
    assert set(stats) == {"age", "city", "left"}
    assert stats["age"].data_points[0].has_anomaly
    assert stats["city"].data_points[0].threshold_value == 0.2
    alerts = monitor.search_alerts(model_monitoring_job_name=job.resource_name)
    assert alerts["total_number_alerts"] == 1
    assert monitor.get_schema().feature_fields[0].name == "age"
    monitor.update(display_name="changed")
    assert monitor.display_name == "changed"
    assert [one.name for one in monitor.list_jobs()] == [job.resource_name]
    assert [one.resource_name for one in ml_monitoring.ModelMonitor.list()][:1] == [monitor.resource_name]
    with pytest.raises(RuntimeError, match="does not exist"):
        monitor.run(target_dataset=MonitoringInput(gcs_uri=f"gs://{bucket}/no.csv", data_format="csv"), sync=True)
    assert monitor.get_model_monitoring_job(job.name).display_name == "look"
    monitor.delete_model_monitoring_job(job.name)
    monitor.delete(force=True)


def test_by_grpc_it_is_the_same_in_v1beta1_alone(emulator: Emulator, model: str) -> None:
    import grpc
    from google.api_core.exceptions import InvalidArgument
    from google.cloud import aiplatform_v1beta1

    channel = grpc.insecure_channel(emulator.servers["grpc_address"])
    kind = aiplatform_v1beta1.ModelMonitoringServiceClient.get_transport_class("grpc")
    client: Any = aiplatform_v1beta1.ModelMonitoringServiceClient(transport=kind(channel=channel))
    target = {"vertex_model": {"model": model.partition("@")[0], "model_version_id": "1"}}
    wanted = {"display_name": "by gRPC", "model_monitoring_target": target}
    made = client.create_model_monitor(parent=PARENT, model_monitor=wanted).result()
    assert client.get_model_monitor(name=made.name).display_name == "by gRPC"
    with pytest.raises(InvalidArgument, match=r"(target|baseline)_dataset is required"):
        client.create_model_monitoring_job(parent=made.name, model_monitoring_job={"display_name": "x"})
    client.delete_model_monitor(name=made.name).result()
    # v1 has no such service.
    unknown = channel.unary_unary("/google.cloud.aiplatform.v1.ModelMonitoringService/GetModelMonitor")
    with pytest.raises(grpc.RpcError) as refused:
        unknown(b"")
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    channel.close()
