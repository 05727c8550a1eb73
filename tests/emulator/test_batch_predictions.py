"""Batch predictions: what is read, what is written, and how jobs end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import ECHO, FINAL, PARENT, Emulator, eventually, model_of
from tests.forking.commands import forked
from tests.repositories import BIN, clean_environment

DIVIDE = model_of("lambda rows: [10 / row[0] if row[0] else row[0].nothing for row in rows]")
STUCK = model_of("lambda rows: __import__('time').sleep(1000)")
RESOURCES = {"machineSpec": {"machineType": "n1-standard-2"}}


@pytest.fixture(scope="module")
def echo(emulator: Emulator) -> str:
    return emulator.upload(ECHO)


def body(model: str, sources: list[str], destination: str, form: str = "jsonl", **fields: Any) -> dict[str, Any]:
    return {
        "displayName": "a batch",
        "model": model,
        "inputConfig": {"instancesFormat": form, "gcsSource": {"uris": sources}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": destination}},
        "dedicatedResources": RESOURCES,
        **fields,
    }


def create(emulator: Emulator, *arguments: Any, **fields: Any) -> Any:
    answer = emulator.post(f"{PARENT}/batchPredictionJobs", body(*arguments, **fields))
    assert answer.status == 200, answer.body
    return answer.body


def run(emulator: Emulator, *arguments: Any, **fields: Any) -> Any:
    return emulator.wait_for_job(create(emulator, *arguments, **fields)["name"])


def written(emulator: Emulator, job: Any) -> dict[str, list[Any]]:
    """{file name: lines} of what a job has written."""
    bucket, _, folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix("gs://").partition("/")
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o"
    items = emulator.session.get(url, params={"prefix": folder}, timeout=10).json()["items"]
    files = {}
    for item in items:
        name = item["name"].removeprefix(f"{folder}/")
        content = emulator.session.get(item["mediaLink"], timeout=10).content
        files[name] = [json.loads(line) for line in content.splitlines()]
    return files


def predictions(emulator: Emulator, job: Any) -> list[Any]:
    (name,) = (name for name in written(emulator, job) if "results" in name)
    return [line["prediction"] for line in written(emulator, job)[name]]


@pytest.mark.slow
def test_batch_predict_and_iter_outputs_of_the_sdk(
    emulator: Emulator, aiplatform: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiplatform.jobs, "_JOB_WAIT_TIME", 0.05)
    model = aiplatform.Model(emulator.upload(DIVIDE, model={"displayName": "my model"}))
    emulator.put(bucket, "in/a.jsonl", b"[1]\n[2]\n\n")
    emulator.put(bucket, "in/b.jsonl", b"[5]\r\n[0]")
    common = {"gcs_destination_prefix": f"gs://{bucket}/out", "machine_type": "n1-standard-2"}
    job = model.batch_predict(job_display_name="sdk", gcs_source=f"gs://{bucket}/in/*.jsonl", batch_size=2, **common)
    folder = job.output_info.gcs_output_directory
    assert folder.startswith(f"gs://{bucket}/out/prediction-my model-20")
    outputs = {blob.name.rpartition("/")[2]: blob.download_as_bytes() for blob in job.iter_outputs()}
    assert outputs == {
        "prediction.results-00000-of-00002": b'{"instance":[1],"prediction":10.0}\n{"instance":[2],"prediction":5.0}\n',
        "prediction.results-00001-of-00002": b'{"instance":[5],"prediction":2.0}\n',
        "prediction.errors_stats-00000-of-00002": b"",
        "prediction.errors_stats-00001-of-00002": outputs["prediction.errors_stats-00001-of-00002"],
    }
    failed = json.loads(outputs["prediction.errors_stats-00001-of-00002"])
    assert (failed["instance"], failed["error"]["code"]) == ([0], 9)
    assert "has no attribute 'nothing'" in failed["error"]["message"]
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (3, 1)
    wanted = 'display_name="sdk" AND state="JOB_STATE_SUCCEEDED" AND model_display_name="my model"'
    (found,) = aiplatform.BatchPredictionJob.list(filter=wanted)
    assert aiplatform.BatchPredictionJob.list(filter='display_name="sdk" AND model_display_name!="my model"') == []
    assert found.resource_name == job.resource_name
    job.delete()
    emulator.put(bucket, "in/c.csv", b"x,y\n1,2\n3,4\n")
    job = model.batch_predict(
        job_display_name="csv", gcs_source=[f"gs://{bucket}/in/c.csv"], instances_format="csv", **common
    )
    lines = [line for blob in job.iter_outputs() for line in blob.download_as_bytes().splitlines()]
    assert json.loads(lines[0]) == {"instance": [1.0, 2.0], "prediction": 10.0}


ASKS_AND_ENDS = """
import sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

url, bucket, model = sys.argv[1:]
aiplatform.init(project="test-project", location="us-central1", api_endpoint=url, api_transport="rest",
                credentials=AnonymousCredentials())
aiplatform.jobs._JOB_WAIT_TIME = 1000  # it would wait, but nobody asks it to
aiplatform.Model(model).batch_predict(
    job_display_name="asynchronous", gcs_source=f"gs://{bucket}/in.jsonl", machine_type="n1-standard-2",
    gcs_destination_prefix=f"gs://{bucket}/out", sync=False,
).wait_for_resource_creation()
import os
os._exit(0)
"""


@pytest.mark.slow
def test_a_job_goes_on_when_the_program_that_did_not_wait_for_it_has_ended(
    emulator: Emulator, echo: str, bucket: str, tmp_path: Path
) -> None:
    """As somebody ends a shell: https://github.com/googleapis/python-aiplatform/issues/2072."""
    emulator.put(bucket, "in.jsonl", b"[1]\n[2]\n")
    (tmp_path / "ask.py").write_text(ASKS_AND_ENDS)
    command, environment = forked(
        BIN / "python", tmp_path / "ask.py", emulator.url, bucket, echo, environment=clean_environment(tmp_path)
    )
    subprocess.run(command, env=environment, check=True, timeout=60)
    jobs = emulator.get(f"{PARENT}/batchPredictionJobs", params={"filter": 'display_name="asynchronous"'}).body
    (job,) = jobs["batchPredictionJobs"]
    done = emulator.wait_for_job(job["name"])
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    assert len(predictions(emulator, done)) == 2


@pytest.mark.slow
def test_rows_of_csv_are_numbers_and_quoted_text(emulator: Emulator, echo: str, bucket: str) -> None:
    uri = emulator.put(bucket, "a.csv", b'\xef\xbb\xbf"x","y"\n1,"a,""b"\n\n2e3,"7"\n3,bare\n4\n')
    job = run(emulator, echo, [uri], f"gs://{bucket}/out/", "csv")
    files = written(emulator, job)
    # The row of two types is an array of texts for numpy, as for any model of scikit-learn.
    assert [line["instance"] for line in files["prediction.results-00000-of-00001"]] == [[1.0, 'a,"b'], [2000.0, "7"]]
    bare, short = files["prediction.errors_stats-00000-of-00001"]
    assert (bare["instance"], bare["error"]["code"]) == ("3,bare", 3)
    assert short["error"]["message"] == "Cannot read the instance: it has 1 columns, the header has 2"
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["completionStats"] == {"successfulCount": "2", "failedCount": "2"}


def test_instances_are_sent_in_batches(emulator: Emulator, bucket: str) -> None:
    model = emulator.upload(model_of("lambda rows: [len(rows)] * len(rows)"))
    uri = emulator.put(bucket, "a.jsonl", b"[1]\n" * 70)
    assert predictions(emulator, run(emulator, model, [uri], f"gs://{bucket}/1")) == [64] * 64 + [6] * 6
    tuned = run(emulator, model, [uri], f"gs://{bucket}/2", manualBatchTuningParameters={"batchSize": 40})
    assert predictions(emulator, tuned) == [40] * 40 + [30] * 30


@pytest.mark.parametrize(
    ("pattern", "found"), [("in/*", ["1", "2"]), ("in/**", ["1", "2", "3"]), ("in/?.x", ["1"]), ("in/[12].x", ["1"])]
)
def test_wildcards_match_as_in_cloud_storage(
    emulator: Emulator, echo: str, bucket: str, pattern: str, found: list[str]
) -> None:
    for name, content in {"in/1.x": b"[1]", "in/22.x": b"[2]", "in/deep/3.x": b"[3]", "other": b"[4]"}.items():
        emulator.put(bucket, name, content)
    job = run(emulator, echo, [f"gs://{bucket}/{pattern}"], f"gs://{bucket}/out")
    files = written(emulator, job)
    assert [str(line["prediction"][0]) for name in sorted(files) for line in files[name]] == found


def test_an_instance_config_chooses_fields_and_a_key(emulator: Emulator, bucket: str) -> None:
    model = emulator.upload(model_of("lambda rows: [str(row) for row in rows]"))
    uri = emulator.put(bucket, "a.jsonl", b'{"id": 7, "b": 1, "a": "x"}\n{"id": 8, "b": 2}\n[1]\n')

    def lines(config: dict[str, Any]) -> list[Any]:
        return written(emulator, run(emulator, model, [uri], f"gs://{bucket}/out", instanceConfig=config))[
            "prediction.results-00000-of-00001"
        ]

    assert lines({"keyField": "id"})[0] == {"key": 7, "prediction": "{'b': 1, 'a': 'x'}"}
    assert lines({"includedFields": ["a", "b"], "instanceType": "array"}) == [
        {"instance": {"id": 7, "b": 1, "a": "x"}, "prediction": "['x' '1']"}
    ]
    assert lines({"excludedFields": ["id", "a"]})[1] == {"instance": {"id": 8, "b": 2}, "prediction": "{'b': 2}"}


def test_a_job_fails_when_all_instances_do(emulator: Emulator, bucket: str) -> None:
    uri = emulator.put(bucket, "a.jsonl", b"[0]\n[0]\n")
    job = run(emulator, emulator.upload(DIVIDE), [uri], f"gs://{bucket}/out")
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["message"].startswith("All of the 2 instances that were tried failed, the first one with: ")
    assert job["completionStats"] == {"failedCount": "2"}
    assert len(written(emulator, job)["prediction.errors_stats-00000-of-00001"]) == 2


def test_missing_files_are_partial_failures_or_the_jobs(emulator: Emulator, echo: str, bucket: str) -> None:
    uri = emulator.put(bucket, "a.jsonl", b"[1]\n")
    job = run(emulator, echo, [uri, f"gs://{bucket}/none"], f"gs://{bucket}/out")
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["partialFailures"] == [{"code": 5, "message": f"The file gs://{bucket}/none does not exist."}]
    for source in ("none", "none*"):
        job = run(emulator, echo, [f"gs://{bucket}/{source}"], f"gs://{bucket}/out")
        assert job["state"] == "JOB_STATE_FAILED"
        assert f"gs://{bucket}/{source}" in job["error"]["message"]
    job = run(emulator, echo, [uri], "gs://no-such-bucket/out")
    assert job["error"]["message"] == "The bucket no-such-bucket does not exist."


def test_the_times_and_the_version_of_a_job(emulator: Emulator, echo: str, bucket: str) -> None:
    uri = emulator.put(bucket, "a.jsonl", b"[1]\n")
    job = run(emulator, echo, [uri], f"gs://{bucket}", labels={"a": "b"})
    assert job["createTime"] <= job["startTime"] <= job["endTime"] <= job["updateTime"]
    assert (job["model"], job["modelVersionId"], job["labels"]) == (echo.partition("@")[0], "1", {"a": "b"})
    created = job["createTime"][:23] + "Z"
    assert job["outputInfo"]["gcsOutputDirectory"] == f"gs://{bucket}/prediction-a model-{created}"


def test_a_cancelled_job_ends_its_model_server_and_can_be_deleted_then(emulator: Emulator, bucket: str) -> None:
    before = {process.pid for process in emulator.tree()}
    uri = emulator.put(bucket, "a.jsonl", b"[1]\n")
    name = create(emulator, emulator.upload(STUCK), [uri], f"gs://{bucket}/out")["name"]
    emulator.wait_for_job(name, {"JOB_STATE_RUNNING"})
    assert emulator.call("DELETE", f"/v1/{name}").error == (400, "FAILED_PRECONDITION")
    assert emulator.post(f"{name}:cancel").body == {}
    job = emulator.wait_for_job(name, FINAL)
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_CANCELLED", 1)
    # The process that servers are forked from stays.
    eventually(lambda: len({process.pid for process in emulator.tree()} - before) <= 2, "the server has ended")
    emulator.response(emulator.call("DELETE", f"/v1/{name}"))
    assert emulator.get(name).error == (404, "NOT_FOUND")


def test_an_interrupted_job_has_failed_with_the_reason(own_emulator: Callable[..., Emulator]) -> None:
    first = own_emulator()
    uri = first.put(first.new_bucket(), "a.jsonl", b"[1]\n")
    name = create(first, first.upload(STUCK), [uri], uri.rpartition("/")[0])["name"]
    first.wait_for_job(name, {"JOB_STATE_RUNNING"})
    first.kill()
    second = own_emulator()
    job = second.get(name).body
    assert job["state"] == "JOB_STATE_FAILED"
    assert "The emulator was stopped" in job["error"]["message"]
    assert not list((second.data / "batch").glob("*"))


BIGQUERY = {"bigquerySource": {"inputUri": "bq://p.d.t"}, "instancesFormat": "bigquery"}


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (501, {"inputConfig": BIGQUERY}),
        (501, {"inputConfig": {"gcsSource": {"uris": ["gs://b/x"]}, "instancesFormat": "tf-record"}}),
        (501, {"inputConfig": {"gcsSource": {"uris": ["gs://b/x"]}, "instancesFormat": "file-list"}}),
        (501, {"outputConfig": {"bigqueryDestination": {"outputUri": "bq://p"}, "predictionsFormat": "bigquery"}}),
        (501, {"outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://b"}, "predictionsFormat": "csv"}}),
        (501, {"generateExplanation": True}),
        (501, {"unmanagedContainerModel": {"artifactUri": "gs://b/x"}, "model": ""}),
        (400, {"inputConfig": {}}),
        (400, {"inputConfig": {"gcsSource": {"uris": []}, "instancesFormat": "jsonl"}}),
        (400, {"inputConfig": {"gcsSource": {"uris": ["gs://bucket"]}, "instancesFormat": "jsonl"}}),
        (400, {"inputConfig": {"gcsSource": {"uris": ["/a"]}, "instancesFormat": "jsonl"}}),
        (400, {"inputConfig": {"gcsSource": {"uris": ["gs://b/x"]}, "instancesFormat": "nope"}}),
        (400, {"outputConfig": {}}),
        (400, {"outputConfig": {"gcsDestination": {"outputUriPrefix": "out"}, "predictionsFormat": "jsonl"}}),
        (400, {"displayName": ""}),
        (400, {"labels": {"Bad": "x"}}),
        (400, {"model": ""}),
        (400, {"model": "models/1"}),
        (400, {"model": "projects/test-project/locations/europe-west4/models/1"}),
        (404, {"model": f"{PARENT}/models/404"}),
        (400, {"dedicatedResources": {}}),
        (400, {"manualBatchTuningParameters": {"batchSize": -1}}),
        (400, {"instanceConfig": {"instanceType": "nope"}}),
        (400, {"instanceConfig": {"includedFields": ["a"], "excludedFields": ["b"]}}),
    ],
)
def test_what_is_refused(emulator: Emulator, echo: str, status: int, fields: dict[str, Any]) -> None:
    request = {**body(echo, ["gs://b/x"], "gs://b/out"), **fields}
    answer = emulator.post(f"{PARENT}/batchPredictionJobs", request)
    assert answer.status == status, answer.body


def test_a_model_that_cannot_be_served_is_refused(without_docker: Emulator) -> None:
    model = without_docker.upload(ECHO, image="example.com/own:1")
    answer = without_docker.post(f"{PARENT}/batchPredictionJobs", body(model, ["gs://b/x"], "gs://b/out"))
    assert answer.error == (501, "UNIMPLEMENTED")
