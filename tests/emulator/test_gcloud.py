"""The real gcloud, led to the emulator by the variables of jobs and of `local.env`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tasks.emulator.runtime.job_environment import Servers, variables
from edge_tasks.tools import emulator_process
from tests.emulator.harness import ECHO, MACHINE, NUMBERED, PYTHON_IMAGE, Emulator, eventually
from tests.gcloud import Gcloud

pytestmark = [pytest.mark.needs("gcloud"), pytest.mark.slow]
REGION = "--region=us-central1"


@pytest.fixture
def gcloud(emulator: Emulator, tmp_path: Path) -> Gcloud:
    return Gcloud(emulator, tmp_path)


def test_the_log_of_a_job_is_streamed_to_its_end(emulator: Emulator, gcloud: Gcloud) -> None:
    lines = [f"line {number}" for number in range(20)]
    job = emulator.run_job(["python", "-c", f"print({chr(10).join(lines)!r}); raise SystemExit(3)"])
    streamed = gcloud("ai", "custom-jobs", "stream-logs", job["name"], "--polling-interval=1")
    shown = [line.split("\t")[-1] for line in streamed.splitlines()]
    assert shown[: len(lines)] == lines
    assert "exited with a non-zero status of 3" in shown[-1]


def test_the_log_of_a_tuning_job_is_that_of_its_trials(emulator: Emulator, gcloud: Gcloud) -> None:
    code = "import sys, hypertune; print('tried', sys.argv[1]); h = hypertune.HyperTune();"
    code += " h.report_hyperparameter_tuning_metric('m', float(sys.argv[1].partition('=')[2]))"
    container = {"imageUri": PYTHON_IMAGE, "command": ["python", "-c", code]}
    spec = {**MACHINE, "containerSpec": container, "replicaCount": 1}
    parameter = {"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}
    body = {
        "displayName": "t",
        "maxTrialCount": 2,
        "parallelTrialCount": 1,
        "studySpec": {"metrics": [{"metricId": "m", "goal": "MAXIMIZE"}], "parameters": [parameter]},
        "trialJobSpec": {"workerPoolSpecs": [spec]},
    }
    job = emulator.post(f"{NUMBERED}/hyperparameterTuningJobs", body).body
    ended = emulator.wait_for_job(job["name"])
    values = [trial["parameters"][0]["value"] for trial in ended["trials"]]
    streamed = gcloud("ai", "hp-tuning-jobs", "stream-logs", job["name"], "--polling-interval=1")
    assert [line.split("\t")[-1] for line in streamed.splitlines()] == [f"tried --x={value}" for value in values]


def test_a_model_is_deployed_asked_and_removed(emulator: Emulator, gcloud: Gcloud, tmp_path: Path) -> None:
    model = emulator.upload(ECHO).partition("@")[0]
    created = gcloud("ai", "endpoints", "create", REGION, "--display-name=by-gcloud", "--format=value(name)")
    endpoint = created.strip() or _only(gcloud, "endpoints")
    gcloud("beta", "ai", "endpoints", "deploy-model", endpoint, REGION, f"--model={model}", "--display-name=m",
           "--machine-type=n1-standard-2", "--traffic-split=0=100")  # fmt: skip
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"instances": [7]}))
    assert "7" in gcloud("ai", "endpoints", "predict", endpoint, REGION, f"--json-request={request}")
    (deployed,) = emulator.get(endpoint).body["deployedModels"]
    gcloud("ai", "endpoints", "undeploy-model", endpoint, REGION, f"--deployed-model-id={deployed['id']}")
    gcloud("ai", "endpoints", "delete", endpoint, REGION)
    assert emulator.get(endpoint).status == 404


def test_an_operation_is_described_by_its_id_alone(emulator: Emulator, gcloud: Gcloud) -> None:
    deletion = emulator.call("DELETE", f"/v1/{emulator.create_endpoint()}").body
    operation_id = deletion["name"].rpartition("/")[2]
    described = gcloud("ai", "operations", "describe", operation_id, REGION, "--format=json")
    assert json.loads(described)["name"] == deletion["name"]


def test_gcloud_in_a_job_reads_the_bucket_and_knows_the_project(emulator: Emulator, bucket: str) -> None:
    uri = emulator.put(bucket, "folder/data.txt", b"what the bucket holds")
    script = f"gcloud storage cat {uri} && echo && gcloud config get project && gcloud ai models list {REGION} | wc -l"
    job = emulator.run_job(["sh", "-c", script])
    assert job["state"] == "JOB_STATE_SUCCEEDED", emulator.output(job)
    printed = [entry["textPayload"] for entry in emulator.log(job) if entry["severity"] == "INFO"]
    assert printed[:2] == ["what the bucket holds", "test-project"]


def _only(gcloud: Gcloud, collection: str) -> str:
    return gcloud.only(f"ai {collection} list --filter=displayName=by-gcloud")


def test_local_env_and_jobs_lead_gcloud_by_the_same_variables() -> None:
    at = Servers("http://127.0.0.1:1", "http://127.0.0.1:2")
    job = variables(
        servers=at, project="p", location="l", job_id="1", trial_id="", base_output="", job_spec={}
    )  # fmt: skip
    shell = emulator_process.environment(
        emulator_process.Servers(pid=1, vertex_url=at.vertex_url, storage_url=at.storage_url), "p", "l"
    )
    of_gcloud = {name: value for name, value in job.items() if name.startswith("CLOUDSDK_")}
    assert len(of_gcloud) == 5
    assert {name: value for name, value in shell.items() if name.startswith("CLOUDSDK_")} == of_gcloud


def test_a_monitoring_job_is_made_changed_paused_and_deleted(emulator: Emulator, gcloud: Gcloud) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    gcloud(
        "ai", "model-monitoring-jobs", "create", REGION, "--display-name=by-gcloud", "--emails=ada@example.org",
        f"--endpoint={endpoint.rpartition('/')[2]}", "--prediction-sampling-rate=1.0", "--monitoring-frequency=1",
        "--feature-thresholds=age=0.1",
    )  # fmt: skip
    job = _only(gcloud, "model-monitoring-jobs")
    described = json.loads(gcloud("ai", "model-monitoring-jobs", "describe", job, REGION, "--format=json"))
    assert (described["displayName"], described["state"]) == ("by-gcloud", "JOB_STATE_PENDING")
    (objective,) = described["modelDeploymentMonitoringObjectiveConfigs"]
    drift = objective["objectiveConfig"]["predictionDriftDetectionConfig"]
    assert drift["driftThresholds"] == {"age": {"value": 0.1}}
    assert emulator.predict(endpoint, [{"age": 3}]).status == 200
    eventually(lambda: emulator.get(described["name"]).body["state"] == "JOB_STATE_RUNNING", "it runs")
    gcloud("ai", "model-monitoring-jobs", "update", job, REGION, "--feature-thresholds=age=0.2")
    gcloud("ai", "model-monitoring-jobs", "pause", job, REGION)
    assert emulator.get(described["name"]).body["state"] == "JOB_STATE_PAUSED"
    gcloud("ai", "model-monitoring-jobs", "resume", job, REGION)
    gcloud("ai", "model-monitoring-jobs", "delete", job, REGION)
    assert emulator.get(described["name"]).error == (404, "NOT_FOUND")
