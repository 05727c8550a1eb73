"""The real gcloud through the life of a model: what the emulator answers of its commands, and what it refuses.

Alone: python -m pytest tests/emulator/test_gcloud_life.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import NUMBERED, PARENT, Emulator, model_of
from tests.gcloud import Gcloud

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
SUMS = model_of("lambda rows: [sum(row) for row in rows]")
POOL = "--worker-pool-spec=machine-type=n1-standard-4,replica-count=1,container-image-uri=python:3.11"
TUNING = """
studySpec:
  metrics: [{metricId: m, goal: MAXIMIZE}]
  parameters: [{parameterId: x, doubleValueSpec: {minValue: 0, maxValue: 1}}]
trialJobSpec:
  workerPoolSpecs:
  - machineSpec: {machineType: n1-standard-4}
    replicaCount: 1
    containerSpec: {imageUri: "python:3.11", command: [sh, -c, sleep 1000]}
"""
ABSENT = (
    "ai indexes list",
    "ai index-endpoints list",
    "ai persistent-resources list",
    "beta ai deployment-resource-pools list",
    "ai model-garden models list",
    "ai endpoints direct-predict 77 --json-request=direct.json",
)
EXPLANATION: dict[str, Any] = {"inputs": {"rows": {}}, "outputs": {"sum": {}}}


@pytest.fixture
def gcloud(own_emulator: Callable[..., Emulator], tmp_path: Path) -> Gcloud:
    (tmp_path / "model.pkl").write_bytes(SUMS)
    (tmp_path / "tuning.yaml").write_text(TUNING)
    (tmp_path / "explanation.json").write_text(json.dumps(EXPLANATION))
    (tmp_path / "rows.json").write_text('{"instances": [[1, 2], [3, 4]]}')
    (tmp_path / "direct.json").write_text('{"inputs": [{"dtype": "STRING"}]}')
    return Gcloud(own_emulator(), tmp_path)


@pytest.mark.slow
@pytest.mark.needs("gcloud")
@pytest.mark.timeout(1500)
def test_a_model_lives_with_gcloud(gcloud: Gcloud) -> None:
    gcloud("storage buckets create gs://life --location=us-central1")
    with ThreadPoolExecutor() as others:
        # gcloud asks for half a minute for what the emulator does not have.
        refused = [others.submit(gcloud, command, status=1) for command in ABSENT]
        gcloud("storage cp model.pkl gs://life/m/model.pkl")
        _jobs(gcloud)
        _models(gcloud)
        _endpoints(gcloud)
        _tensorboards(gcloud)
    for answer in refused:
        assert "not implemented by this emulator" in answer.result()
    gcloud("ai models delete life")
    assert gcloud.told("beta ai models list") == []
    gcloud("storage rm -r gs://life")
    assert gcloud.count >= 75


def _jobs(gcloud: Gcloud) -> None:
    gcloud(
        "ai custom-jobs create --display-name=prints", POOL, "--command=python", "--args=-c,print(7)", "--labels=a=b"
    )
    job = gcloud.only("ai custom-jobs list --filter=displayName=prints")
    assert job.startswith(f"{NUMBERED}/customJobs/")
    # It asks once whether the job has ended, and follows without end one that had not.
    gcloud.emulator.wait_for_job(job)
    assert "7" in gcloud(f"ai custom-jobs stream-logs {job} --polling-interval=1")
    assert gcloud.told(f"ai custom-jobs describe {job}")["state"] == "JOB_STATE_SUCCEEDED"
    gcloud("beta ai custom-jobs create --display-name=sleeps", POOL, "--command=sleep", "--args=1000")
    job = gcloud.told("ai custom-jobs list --limit=1 --sort-by=~createTime")[0]["name"]
    gcloud(f"ai custom-jobs cancel {job}")
    assert gcloud.told(f"beta ai custom-jobs describe {job}")["state"] == "JOB_STATE_CANCELLED"
    gcloud(
        "ai hp-tuning-jobs create --display-name=t --config=tuning.yaml --max-trial-count=2 --parallel-trial-count=1"
    )
    job = gcloud.only("ai hp-tuning-jobs list")
    gcloud(f"ai hp-tuning-jobs cancel {job}")
    assert gcloud.told(f"ai hp-tuning-jobs describe {job}")["state"] == "JOB_STATE_CANCELLED"
    assert "not found" in gcloud("ai custom-jobs describe 404", status=1)


def _models(gcloud: Gcloud) -> None:
    upload = f"models upload --container-image-uri={IMAGE} --artifact-uri=gs://life/m --display-name=sums"
    gcloud(f"ai {upload} --model-id=life --version-aliases=golden --labels=x=y --version-description=first")
    explained = "--explanation-method=sampled-shapley --explanation-path-count=4"
    explained += " --explanation-metadata-file=explanation.json"
    gcloud(f"beta ai {upload} --parent-model={PARENT}/models/life {explained}")
    assert gcloud.told("ai models describe life@golden")["versionId"] == "1"
    assert gcloud.told("ai models describe life")["versionAliases"] == ["golden", "default"]
    assert [version["versionId"] for version in gcloud.told("ai models list-version life")] == ["1", "2"]
    gcloud(f"ai models copy --source-model={PARENT}/models/life --destination-model-id=copied")
    assert len(gcloud.told("ai models list")) == 2
    gcloud("ai models delete copied")
    assert gcloud.only("ai models list --filter=labels.x=y") == f"{NUMBERED}/models/life"
    gcloud(f"ai {upload} --parent-model={PARENT}/models/life")
    gcloud("ai models delete-version life@3")
    assert "not found" in gcloud("ai models describe life@3", status=1)


def _endpoints(gcloud: Gcloud) -> None:
    gcloud("ai endpoints create --display-name=e --endpoint-id=77 --labels=a=b --description=d")
    gcloud("ai endpoints update 77 --display-name=f --update-labels=c=d --remove-labels=a")
    described = gcloud.told("ai endpoints describe 77")
    assert (described["displayName"], described["labels"]) == ("f", {"c": "d"})
    deploy = "endpoints deploy-model 77 --machine-type=n1-standard-2"
    gcloud(f"ai {deploy} --model=life@2 --display-name=one --deployed-model-id=11 --traffic-split=0=100")
    gcloud(f"beta ai {deploy} --model=life --display-name=two --deployed-model-id=12 --traffic-split=0=20,11=80")
    assert "do not exist" in gcloud("ai endpoints update 77 --traffic-split=9=100", status=1)
    gcloud("ai endpoints update 77 --traffic-split=11=100")
    assert gcloud.told("ai endpoints predict 77 --json-request=rows.json")["predictions"] == [3, 7]
    assert gcloud.told("ai endpoints raw-predict 77 --request=@rows.json") == {"predictions": [3, 7]}
    assert "[3,7]" in gcloud("ai endpoints stream-raw-predict 77 --request=@rows.json")
    explained = gcloud.told("ai endpoints explain 77 --json-request=rows.json")["explanations"]
    assert explained[0]["attributions"][0]["featureAttributions"] == {"rows": [1.0, 2.0]}
    assert "deployed" in gcloud("ai endpoints delete 77", status=1)
    assert "deployed on" in gcloud("ai models delete life", status=1)
    gcloud("ai endpoints undeploy-model 77 --deployed-model-id=12")
    gcloud("ai endpoints update 77 --clear-traffic-split")
    assert "traffic_split" in gcloud("ai endpoints predict 77 --json-request=rows.json", status=1)
    gcloud("beta ai endpoints undeploy-model 77 --deployed-model-id=11")
    gcloud("ai endpoints delete 77")
    gcloud("ai endpoints create --display-name=private --network=projects/1/global/networks/n")
    private = gcloud.only("beta ai endpoints list")
    assert gcloud.told(f"beta ai endpoints describe {private}")["network"] == "projects/1/global/networks/n"
    gcloud(f"beta ai endpoints delete {private}")
    assert gcloud.told("ai endpoints list") == []
    assert "not found" in gcloud("ai operations describe 404", status=1)


def _tensorboards(gcloud: Gcloud) -> None:
    gcloud("ai tensorboards create --display-name=board")
    board = gcloud.only("ai tensorboards list")
    gcloud(f"ai tensorboards update {board} --display-name=other --update-labels=a=b")
    assert gcloud.told(f"ai tensorboards describe {board}")["displayName"] == "other"
    board_id = board.rpartition("/")[2]
    gcloud(f"beta ai tensorboard-experiments create {board_id} --tensorboard-experiment-id=exp --display-name=x")
    assert gcloud.only(f"beta ai tensorboard-experiments list {board_id}").endswith("/experiments/exp")
    within = f"--tensorboard-id={board_id}"
    gcloud(f"beta ai tensorboard-experiments update exp {within} --display-name=y")
    assert gcloud.told(f"beta ai tensorboard-experiments describe exp {within}")["displayName"] == "y"
    gcloud(f"beta ai tensorboard-runs create exp {within} --tensorboard-run-id=run --display-name=r")
    within += " --tensorboard-experiment-id=exp"
    assert gcloud.only(f"beta ai tensorboard-runs list {within}").endswith("/runs/run")
    assert gcloud.told(f"beta ai tensorboard-runs describe run {within}")["displayName"] == "r"
    gcloud(f"beta ai tensorboard-time-series create run {within} --display-name=s --type=scalar")
    series = gcloud.only(f"beta ai tensorboard-time-series list {within} --tensorboard-run-id=run")
    assert gcloud.told(f"beta ai tensorboard-time-series describe {series}")["displayName"] == "s"
    gcloud(f"beta ai tensorboard-time-series delete {series}")
    gcloud(f"beta ai tensorboard-runs delete run {within}")
    gcloud(f"beta ai tensorboard-experiments delete exp --tensorboard-id={board_id}")
    gcloud(f"ai tensorboards delete {board}")
