"""Training pipelines, by the unmodified SDK and by plain HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.emulator.harness import MACHINE, PARENT, PYTHON_IMAGE, SKLEARN_IMAGE, Answer, Emulator, eventually, sdist

TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
FINAL = {"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"}
# Leaves a model that echoes, without a client library: importing one takes longer than all the rest.
TRAIN = """
import os, pickle, sys, urllib.parse, urllib.request

class Code:
    def __reduce__(self):
        return eval, ("__import__('types').SimpleNamespace(predict=lambda rows: list(rows))",)

bucket, _, folder = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
name = urllib.parse.quote(folder + "model.pkl", safe="")
url = f"{os.environ['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
urllib.request.urlopen(urllib.request.Request(url, data=pickle.dumps(Code()), method="POST")).read()
print("trained", sys.argv[1:], os.environ.get("MINE"))
"""


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK looks at a pipeline every five seconds."""
    from google.cloud.aiplatform import training_jobs

    monkeypatch.setattr(training_jobs, "_JOB_WAIT_TIME", 0.05)


def inputs(command: list[str], **spec: Any) -> dict[str, Any]:
    pool = {**MACHINE, "replicaCount": "1", "containerSpec": {"imageUri": PYTHON_IMAGE, "command": command}}
    return {"workerPoolSpecs": [pool], **spec}


def create(emulator: Emulator, task_inputs: Any, *, parent: str = PARENT, **fields: Any) -> Answer:
    body = {"displayName": "p", "trainingTaskDefinition": CUSTOM_TASK, "trainingTaskInputs": task_inputs, **fields}
    return emulator.post(f"{parent}/trainingPipelines", body)


def ended(emulator: Emulator, answer: Answer) -> Any:
    assert answer.status == 200, answer.body

    def final() -> Any:
        pipeline = emulator.get(answer.body["name"]).body
        return pipeline if pipeline["state"] in FINAL else None

    return eventually(final, "the pipeline ends")


def backing_job(emulator: Emulator, pipeline: Any) -> Any:
    return emulator.get(pipeline["trainingTaskMetadata"]["backingCustomJob"]).body


# The SDK


@pytest.mark.slow
def test_a_script_becomes_a_model_that_serves_and_then_a_second_version(
    emulator: Emulator, aiplatform: Any, tmp_path: Path
) -> None:
    script = tmp_path / "task.py"
    script.write_text(TRAIN)
    job = aiplatform.CustomTrainingJob(
        display_name="script",
        script_path=str(script),
        container_uri=TRAINING_IMAGE,
        requirements=["requests"],
        model_serving_container_image_uri=SKLEARN_IMAGE,
        labels={"team": "x"},
    )
    model = job.run(
        model_display_name="trained",
        model_labels={"kind": "echo"},
        model_version_aliases=["golden"],
        args=["--alpha", "a b"],
        environment_variables={"MINE": "yes"},
        service_account="someone@example.com",
        timeout=600,
    )
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert (model.display_name, model.version_id, model.labels) == ("trained", "1", {"kind": "echo"})
    assert set(model.version_aliases) == {"golden", "default"}
    assert job.get_model().resource_name == model.resource_name
    assert model.uri.endswith("/model")
    assert model.gca_resource.training_pipeline == job.resource_name
    assert job.end_time >= job.start_time

    pipeline = emulator.get(job.resource_name).body
    custom_job = backing_job(emulator, pipeline)
    assert custom_job["displayName"] == "script-custom-job"
    assert custom_job["jobSpec"]["serviceAccount"] == "someone@example.com"
    assert custom_job["jobSpec"]["scheduling"]["timeout"] == "600s"
    assert emulator.output(custom_job) == ["trained ['--alpha', 'a b'] yes"]
    assert pipeline["createTime"] <= pipeline["startTime"] <= custom_job["endTime"] <= pipeline["endTime"]

    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, f"{model.resource_name}@1")
    assert emulator.predict(endpoint, [7]).body["predictions"] == [7]

    again = aiplatform.CustomTrainingJob.get(job.resource_name)
    assert again.get_model().version_id == "1"
    second = aiplatform.CustomTrainingJob(
        display_name="second",
        script_path=str(script),
        container_uri=TRAINING_IMAGE,
        model_serving_container_image_uri=SKLEARN_IMAGE,
    ).run(parent_model=model.resource_name, is_default_version=False, model_display_name="trained")
    assert (second.resource_name, second.version_id) == (model.resource_name, "2")
    assert [job.display_name for job in aiplatform.CustomTrainingJob.list(filter="labels.team=x")] == ["script"]
    job.delete()
    assert aiplatform.CustomTrainingJob.list(filter="labels.team=x") == []
    assert emulator.get(custom_job["name"]).status == 200


def test_a_python_package_trains_side_by_side_with_the_caller(emulator: Emulator, aiplatform: Any, bucket: str) -> None:
    uri = emulator.put(bucket, "a.tar.gz", sdist("a", "1.0", {"a/__init__.py": "", "a/task.py": TRAIN}))
    job = aiplatform.CustomPythonPackageTrainingJob(
        display_name="package",
        python_package_gcs_uri=uri,
        python_module_name="a.task",
        container_uri=TRAINING_IMAGE,
        model_serving_container_image_uri=SKLEARN_IMAGE,
    )
    model = job.run(model_id="from-a-package", base_output_dir=f"gs://{bucket}/out", sync=False)
    job.wait_for_resource_creation()
    model.wait()
    assert model.name == "from-a-package"
    assert model.uri == f"gs://{bucket}/out/model"
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"


def test_a_container_trains_without_a_model(emulator: Emulator, aiplatform: Any) -> None:
    job = aiplatform.CustomContainerTrainingJob(
        display_name="container", container_uri=PYTHON_IMAGE, command=["python", "-c", "import sys; print(sys.argv)"]
    )
    assert job.run(args=["x"]) is None
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"
    pipeline = emulator.get(job.resource_name).body
    assert emulator.output(backing_job(emulator, pipeline)) == ["['-c', 'x']"]
    with pytest.raises(RuntimeError, match="not configured to upload a Model"):
        job.get_model()


@pytest.mark.slow
def test_a_submitted_container_is_cancelled_with_its_job(emulator: Emulator, aiplatform: Any) -> None:
    job = aiplatform.CustomContainerTrainingJob(
        display_name="cancelled", container_uri=PYTHON_IMAGE, command=["sh", "-c", "sleep 1000 & echo $! $$; wait"]
    )
    assert job.submit() is None
    custom_job = emulator.get(job.resource_name).body["trainingTaskMetadata"]["backingCustomJob"]
    pids = eventually(lambda: emulator.output(custom_job), "the job prints its pids")[0].split()
    assert emulator.call("DELETE", f"/v1/{job.resource_name}").error == (400, "FAILED_PRECONDITION")
    job.cancel()
    pipeline = ended(emulator, emulator.get(job.resource_name))
    assert (pipeline["state"], pipeline["error"]["code"]) == ("PIPELINE_STATE_CANCELLED", 1)
    assert emulator.get(custom_job).body["state"] == "JOB_STATE_CANCELLED"
    # Killed already; its new parent has to notice.
    eventually(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids), "its processes are gone")


@pytest.mark.slow
def test_a_failed_script_raises_with_its_error(aiplatform: Any, tmp_path: Path) -> None:
    script = tmp_path / "task.py"
    script.write_text("raise ValueError('the data are bad')")
    job = aiplatform.CustomTrainingJob(
        display_name="fail", script_path=str(script), container_uri=TRAINING_IMAGE, location="us-central1"
    )
    with pytest.raises(RuntimeError, match="the data are bad"):
        job.run()
    assert job.has_failed


def test_automl_is_unimplemented(aiplatform: Any) -> None:
    from google.api_core.exceptions import MethodNotImplemented
    from google.cloud.aiplatform_v1.types import training_pipeline

    pipeline = training_pipeline.TrainingPipeline(
        display_name="automl",
        training_task_definition=CUSTOM_TASK.replace("custom_task", "automl_tabular"),
        training_task_inputs={"targetColumn": "y"},
    )
    client = aiplatform.CustomTrainingJob._instantiate_client("us-central1", None)
    with pytest.raises(MethodNotImplemented, match="AutoML is a service of Google's"):
        client.create_training_pipeline(parent=PARENT, training_pipeline=pipeline)


# Plain HTTP


def test_a_job_that_leaves_no_model_fails_its_pipeline(emulator: Emulator, bucket: str) -> None:
    task_inputs = inputs(["true"], baseOutputDirectory={"outputUriPrefix": f"gs://{bucket}/out/"})
    model = {"displayName": "m", "containerSpec": {"imageUri": SKLEARN_IMAGE}}
    pipeline = ended(emulator, create(emulator, task_inputs, modelToUpload=model, modelId="no-files"))
    assert pipeline["state"] == "PIPELINE_STATE_FAILED"
    expected = "is expected to contain exactly one of: [model.pkl, model.joblib]."
    assert pipeline["error"]["message"] == f"Model directory gs://{bucket}/out/model {expected}"
    assert "name" not in pipeline["modelToUpload"]
    assert emulator.get(f"{PARENT}/models/no-files").status == 404


@pytest.mark.slow
def test_pipelines_are_listed_by_filter_page_and_place(emulator: Emulator) -> None:
    parent = PARENT.replace("test-project", "pipeline-project")
    for name in ("a-1", "a-2", "b-1"):
        ended(emulator, create(emulator, inputs(["true"]), parent=parent, displayName=name))

    def listed(**parameters: str) -> list[str]:
        found = emulator.get(f"{parent}/trainingPipelines", params=parameters).body
        return [pipeline["displayName"] for pipeline in found.get("trainingPipelines", [])]

    assert listed() == ["b-1", "a-2", "a-1"]
    assert listed(filter='display_name:"a-*" AND state="PIPELINE_STATE_SUCCEEDED"') == ["a-2", "a-1"]
    assert listed(filter='training_task_definition:"*automl*"') == []
    first = emulator.get(f"{parent}/trainingPipelines", params={"pageSize": "2", "readMask": "displayName"}).body
    assert [set(pipeline) for pipeline in first["trainingPipelines"]] == [{"name", "displayName"}] * 2
    assert listed(pageToken=first["nextPageToken"]) == ["a-1"]
    assert emulator.get(f"{PARENT.replace('us-central1', 'europe-west4')}/trainingPipelines").body == {}


MODEL = {"displayName": "m", "containerSpec": {"imageUri": SKLEARN_IMAGE}}
BASE = {"baseOutputDirectory": {"outputUriPrefix": "gs://of-a-pipeline/out"}}
TWO = {"workerPoolSpecs": [{"replicaCount": 2, "containerSpec": {"imageUri": PYTHON_IMAGE}}]}


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"displayName": ""}, 400, "display_name"),
        ({"labels": {"Upper": "x"}}, 400, "label"),
        ({"trainingTaskDefinition": ""}, 400, "training_task_definition"),
        ({"trainingTaskDefinition": "gs://other.yaml"}, 501, "gs://other.yaml"),
        ({"inputDataConfig": {"datasetId": "1"}}, 404, "not found"),
        ({"trainingTaskInputs": None}, 400, "training_task_inputs"),
        ({"trainingTaskInputs": [1]}, 400, "Unable to parse `training_pipeline.training_task_inputs`"),
        ({"trainingTaskInputs": {"workerPools": []}}, 400, "workerPools"),
        ({"trainingTaskInputs": {"workerPoolSpecs": [{"replicaCount": 1.5}]}}, 400, "Unable to parse"),
        ({"trainingTaskInputs": {}}, 400, "worker_pool_specs"),
        ({"trainingTaskInputs": TWO}, 400, "replica_count must be 1"),
        ({"modelToUpload": MODEL}, 400, "base_output_directory"),
        ({"modelToUpload": {**MODEL, "displayName": ""}, "trainingTaskInputs": inputs(["true"], **BASE)}, 400, "name"),
        ({"modelToUpload": MODEL, "modelId": "Bad", "trainingTaskInputs": inputs(["true"], **BASE)}, 400, "model_id"),
        (
            {
                "modelToUpload": MODEL,
                "parentModel": f"{PARENT}/models/no-such-model",
                "trainingTaskInputs": inputs(["true"], **BASE),
            },
            404,
            "no-such-model",
        ),
        ({"modelId": "without-a-model"}, 400, "model_to_upload"),
    ],
)
def test_a_wrong_pipeline_is_refused_with_the_reason(
    emulator: Emulator, change: dict[str, Any], status: int, problem: str
) -> None:
    emulator.new_bucket("of-a-pipeline")
    answer = create(emulator, **{"task_inputs": inputs(["true"]), **change})
    assert answer.status == status
    assert problem in answer.message


def test_after_a_kill_an_interrupted_pipeline_has_failed_with_the_reason(own_emulator: Callable[..., Emulator]) -> None:
    first = own_emulator()
    name = create(first, inputs(["sh", "-c", "echo started; sleep 1000"])).body["name"]
    pipeline = eventually(lambda: first.get(name).body, "it is there")
    eventually(lambda: first.output(backing_job(first, pipeline)), "the job has started")
    first.kill()
    second = own_emulator()
    pipeline = second.get(name).body
    assert pipeline["state"] == "PIPELINE_STATE_FAILED"
    assert "The emulator was stopped while the pipeline ran." in pipeline["error"]["message"]
    assert backing_job(second, pipeline)["state"] == "JOB_STATE_FAILED"
    second.response(second.call("DELETE", f"/v1/{name}"))
    assert second.get(name).status == 404
