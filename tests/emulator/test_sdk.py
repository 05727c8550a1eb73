"""The unmodified SDK against the emulator, as users call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions

from tests.emulator.harness import ECHO, NUMBERED, PYTHON_IMAGE, SKLEARN_IMAGE, Emulator

TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
ACCOUNT = "trainer@test-project.iam.gserviceaccount.com"
SCRIPT = """
import os, sys
import joblib
from google.cloud import aiplatform, storage
from sklearn.dummy import DummyClassifier

model = DummyClassifier(strategy="most_frequent").fit([[1], [2], [3]], [4, 5, 5])
joblib.dump(model, "model.joblib")
bucket, _, folder = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
storage.Client().bucket(bucket).blob(f"{folder}model.joblib").upload_from_filename("model.joblib")
aiplatform.init()
print([m.display_name for m in aiplatform.Model.list()], sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK looks at a job every five seconds."""
    from google.cloud.aiplatform import jobs

    monkeypatch.setattr(jobs, "_JOB_WAIT_TIME", 0.05)


@pytest.mark.slow
def test_from_a_local_script_to_predictions(emulator: Emulator, aiplatform: Any, bucket: str, tmp_path: Path) -> None:
    """A script trains with clients that know nothing of the emulator; its model is uploaded and serves."""
    script = tmp_path / "task.py"
    script.write_text(SCRIPT)
    job = aiplatform.CustomJob.from_local_script(
        display_name="train",
        script_path=str(script),
        container_uri=TRAINING_IMAGE,
        args=["--alpha", "a b"],
        requirements=["scikit-learn"],
        base_output_dir=f"gs://{bucket}/out",
    )
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert emulator.output(job.resource_name)[-1].endswith("['--alpha', 'a b']")

    model = aiplatform.Model.upload(
        display_name="m",
        artifact_uri=f"gs://{bucket}/out/model",
        serving_container_image_uri=SKLEARN_IMAGE,
        labels={"team": "x"},
    )
    assert (model.version_id, model.version_aliases) == ("1", ["default"])
    endpoint = model.deploy(machine_type="n1-standard-2")
    answer = endpoint.predict([[1.0], [2.0]])
    assert answer.predictions == [5.0, 5.0]
    assert (answer.model_version_id, answer.model_resource_name) == ("1", model.resource_name)
    with pytest.raises(Exception, match="Exception during sklearn prediction"):
        aiplatform.Endpoint(endpoint.resource_name).predict([["not", "numbers"], []])
    endpoint.undeploy_all()
    endpoint.delete()
    model.delete()


def test_a_local_script_in_a_plain_python_image(
    emulator: Emulator, aiplatform: Any, bucket: str, tmp_path: Path
) -> None:
    """Here the SDK sends a shell command that installs the package from below /gcs with pip."""
    script = tmp_path / "task.py"
    script.write_text("import sys; print('ran', sys.argv[1:])")
    job = aiplatform.CustomJob.from_local_script(
        display_name="plain", script_path=str(script), container_uri=PYTHON_IMAGE, args=["--x", "1"]
    )
    job.run()
    assert emulator.output(job.resource_name) == ["ran ['--x', '1']"]


def test_a_failed_job_raises_with_the_scripts_error(aiplatform: Any, tmp_path: Path) -> None:
    script = tmp_path / "task.py"
    script.write_text("raise ValueError('the data are bad')")
    job = aiplatform.CustomJob.from_local_script(
        display_name="fail", script_path=str(script), container_uri=TRAINING_IMAGE
    )
    with pytest.raises(RuntimeError, match="the data are bad"):
        job.run()


def test_jobs_are_listed_cancelled_and_deleted(aiplatform: Any) -> None:
    spec = {"container_spec": {"image_uri": PYTHON_IMAGE, "command": ["sleep", "1000"]}}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, **spec}
    job = aiplatform.CustomJob(display_name="to be cancelled", worker_pool_specs=[pool])
    job.submit()
    (found,) = aiplatform.CustomJob.list(filter='display_name="to be cancelled"')
    assert found.resource_name == job.resource_name
    job.cancel()
    with pytest.raises(RuntimeError, match="cancelled"):
        job.wait_for_completion()
    job.delete()
    assert aiplatform.CustomJob.list(filter='display_name="to be cancelled"') == []


def test_a_job_with_a_tensorboard_needs_a_service_account(aiplatform: Any) -> None:
    tensorboard = aiplatform.Tensorboard.create("of a job").resource_name
    spec = {"container_spec": {"image_uri": PYTHON_IMAGE, "command": ["true"]}}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, **spec}
    job = aiplatform.CustomJob(display_name="told", worker_pool_specs=[pool])
    with pytest.raises(exceptions.BadRequest, match=r"job_spec\.service_account must be specified when uploading"):
        job.submit(tensorboard=tensorboard)
    job = aiplatform.CustomJob(display_name="told", worker_pool_specs=[pool])
    job.submit(tensorboard=tensorboard, service_account=ACCOUNT)
    job.wait_for_completion()


def test_a_job_with_a_tensorboard_that_there_is_not_is_refused(aiplatform: Any) -> None:
    spec = {"container_spec": {"image_uri": PYTHON_IMAGE, "command": ["true"]}}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, **spec}
    place = NUMBERED.replace("us-central1", "europe-west4")
    elsewhere = aiplatform.Tensorboard.create("elsewhere", location="europe-west4").resource_name
    for tensorboard, error, problem in (
        (f"{NUMBERED}/tensorboards/1234", exceptions.NotFound, f"Tensorboard `{NUMBERED}/tensorboards/1234` not found"),
        (f"{NUMBERED}/tensorboards/mine", exceptions.BadRequest, "Invalid Tensorboard resource name"),
        (elsewhere, exceptions.BadRequest, f"The tensorboard '{place}/.* is not in the location of {NUMBERED}"),
    ):
        job = aiplatform.CustomJob(display_name="never", worker_pool_specs=[pool])
        with pytest.raises(error, match=problem):
            job.submit(tensorboard=tensorboard, service_account=ACCOUNT)


def test_the_registry_of_the_sdk(aiplatform: Any, emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "m/model.pkl", ECHO)
    common = {"artifact_uri": f"gs://{bucket}/m", "serving_container_image_uri": SKLEARN_IMAGE}
    first = aiplatform.Model.upload(display_name="r", model_id="registry-model", **common)
    second = aiplatform.Model.upload(parent_model="registry-model", is_default_version=False, **common)
    assert second.version_id == "2"
    assert aiplatform.Model("registry-model").version_id == "1"
    registry = aiplatform.models.ModelRegistry(first.resource_name)
    assert {info.version_id for info in registry.list_versions()} == {"1", "2"}
    registry.add_version_aliases(["default", "golden"], "2")
    assert aiplatform.Model("registry-model@golden").version_id == "2"
    assert registry.get_model().version_id == "2"
    registry.remove_version_aliases(["golden"], "2")
    registry.delete_version("1")
    assert [info.version_id for info in registry.list_versions()] == ["2"]
    assert second.update(labels={"a": "b"}).labels == {"a": "b"}
    second.delete()


def test_traffic_and_undeploying_by_the_sdk(aiplatform: Any, emulator: Emulator) -> None:
    model = aiplatform.Model(emulator.upload(ECHO))
    endpoint = aiplatform.Endpoint.create(display_name="traffic")
    endpoint.deploy(model, machine_type="n1-standard-2")
    endpoint.deploy(model, machine_type="n1-standard-2", traffic_percentage=25)
    first, second = sorted(endpoint.traffic_split, key=endpoint.traffic_split.get, reverse=True)
    assert endpoint.traffic_split == {first: 75, second: 25}
    endpoint.undeploy(second, traffic_split={first: 100})
    assert [deployed.id for deployed in endpoint.list_models()] == [first]
    endpoint.update(display_name="renamed")
    assert aiplatform.Endpoint.list(filter='display_name="renamed"')[0].name == endpoint.name
    endpoint.delete(force=True)
    assert aiplatform.Endpoint.list(filter='display_name="renamed"') == []
