"""Buckets that a job or a model names: those of its region, and with what the model's image loads."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions

from tests.emulator.harness import ECHO, PYTHON_IMAGE, SKLEARN_IMAGE, Emulator

POOL = {
    "machine_spec": {"machine_type": "n1-standard-4"},
    "replica_count": 1,
    "container_spec": {"image_uri": PYTHON_IMAGE, "command": ["true"]},
}
TENSORFLOW_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


def elsewhere(uri: str, place: str) -> str:
    return (
        f"400 .*The Cloud Storage bucket of `{uri}` is in location `{place}`. It must be in the same regional location"
        " as the service location `us-central1`"
    )


def missing(uri: str) -> str:
    return f"The Cloud Storage bucket of `{uri}` does not exist"


@pytest.mark.parametrize("location", ["US", "europe-west4", "NAM4"])
def test_a_job_and_a_model_in_a_bucket_of_another_place_are_refused(
    aiplatform: Any, emulator: Emulator, location: str
) -> None:
    bucket = emulator.new_bucket(location=location)
    emulator.put(bucket, "model/model.pkl", ECHO)
    uri = f"gs://{bucket}/model"
    job = aiplatform.CustomJob("x", [POOL], base_output_dir=uri)
    with pytest.raises(exceptions.BadRequest, match=elsewhere(uri, location.lower())):
        job.submit()
    with pytest.raises(exceptions.BadRequest, match=elsewhere(uri, location.lower())):
        aiplatform.Model.upload(display_name="x", artifact_uri=uri, serving_container_image_uri=SKLEARN_IMAGE)
    model = aiplatform.Model(emulator.upload(ECHO))
    with pytest.raises(exceptions.BadRequest, match=f"is in location `{location.lower()}`"):
        model.export_model("custom-trained", artifact_destination=f"gs://{bucket}/out")


def test_a_job_and_a_model_in_a_bucket_that_there_is_not_are_refused(aiplatform: Any, emulator: Emulator) -> None:
    from google.cloud.aiplatform import hyperparameter_tuning as tuning

    job = aiplatform.CustomJob("nowhere", [POOL], base_output_dir="gs://there-is-none/x")
    with pytest.raises(exceptions.BadRequest, match=missing("gs://there-is-none/x")):
        job.submit()
    trials = aiplatform.HyperparameterTuningJob(
        "x",
        aiplatform.CustomJob("x", [POOL], base_output_dir="gs://there-is-none/x"),
        metric_spec={"a": "maximize"},
        parameter_spec={"x": tuning.DoubleParameterSpec(0, 1, "linear")},
        max_trial_count=1,
        parallel_trial_count=1,
    )
    with pytest.raises(exceptions.BadRequest, match=missing("gs://there-is-none/x")):
        trials.run()
    with pytest.raises(exceptions.BadRequest, match=missing("gs://there-is-none/x")):
        aiplatform.Model.upload(
            display_name="x", artifact_uri="gs://there-is-none/x", serving_container_image_uri=SKLEARN_IMAGE
        )
    assert aiplatform.CustomJob.list(filter='display_name="nowhere"') == []


@pytest.mark.parametrize(
    ("image", "files", "expected"),
    [
        (SKLEARN_IMAGE, [], "[model.pkl, model.joblib]"),
        (SKLEARN_IMAGE, ["sub/model.pkl"], "[model.pkl, model.joblib]"),
        (SKLEARN_IMAGE, ["model.pkl", "model.joblib"], "[model.pkl, model.joblib]"),
        (TENSORFLOW_IMAGE, ["1/saved_model.pb"], "[saved_model.pb, saved_model.pbtxt]"),
    ],
)
def test_a_model_for_a_prebuilt_image_has_exactly_one_of_the_files_that_it_loads(
    aiplatform: Any, emulator: Emulator, bucket: str, image: str, files: list[str], expected: str
) -> None:
    for name in files:
        emulator.put(bucket, f"model/{name}", ECHO)
    with pytest.raises(exceptions.GoogleAPICallError) as caught:
        aiplatform.Model.upload(
            display_name="x", artifact_uri=f"gs://{bucket}/model", serving_container_image_uri=image
        )
    assert (
        caught.value.message
        == f"Model directory gs://{bucket}/model is expected to contain exactly one of: {expected}."
    )
