"""A pipeline of Google's own operators; that package wants google-cloud-aiplatform<2, so it is compiled elsewhere:

uv run --no-project --with google-cloud-pipeline-components==2.22.0 tests/emulator/pipelines/operators_source.py
"""
# ruff: noqa  (as in source.py)

from pathlib import Path

from google_cloud_pipeline_components.types.artifact_types import UnmanagedContainerModel
from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp
from google_cloud_pipeline_components.v1.custom_job import CustomTrainingJobOp
from google_cloud_pipeline_components.v1.dataset import TabularDatasetCreateOp, TextDatasetCreateOp
from google_cloud_pipeline_components.v1.endpoint import (
    EndpointCreateOp,
    EndpointDeleteOp,
    ModelDeployOp,
    ModelUndeployOp,
)
from google_cloud_pipeline_components.v1.hyperparameter_tuning_job import HyperparameterTuningJobRunOp
from google_cloud_pipeline_components.v1.model import ModelDeleteOp, ModelUploadOp
from kfp import compiler, dsl

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
# Leaves the file that it is given as its model.
TRAIN = """
import os, shutil, sys
folder = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/")
os.makedirs(folder, exist_ok=True)
shutil.copy(sys.argv[1], f"{folder}/model.pkl")
"""
REPORT = """
import sys, hypertune
hypertune.HyperTune().report_hyperparameter_tuning_metric("loss", float(sys.argv[-1].split("=")[1]))
"""


def pool(code: str, *args: str) -> list:
    return [
        {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": 1,
            "container_spec": {"image_uri": "python:3.11", "command": ["python3", "-c", code], "args": list(args)},
        }
    ]


@dsl.pipeline(name="operators")
def operators(bucket: str):
    data = TabularDatasetCreateOp(display_name="rows", gcs_source=f"gs://{bucket}/rows.csv")
    trained = CustomTrainingJobOp(
        display_name="train",
        base_output_directory=f"gs://{bucket}/base",
        worker_pool_specs=pool(TRAIN, f"/gcs/{bucket}/given.pkl"),
    ).after(data)
    found = dsl.importer(
        artifact_uri=f"gs://{bucket}/base/model",
        artifact_class=UnmanagedContainerModel,
        metadata={"containerSpec": {"imageUri": IMAGE}},
    ).after(trained)
    model = ModelUploadOp(display_name="of operators", unmanaged_container_model=found.output).outputs["model"]
    endpoint = EndpointCreateOp(display_name="of operators").outputs["endpoint"]
    deployed = ModelDeployOp(
        model=model,
        endpoint=endpoint,
        dedicated_resources_machine_type="n1-standard-2",
        dedicated_resources_min_replica_count=1,
        dedicated_resources_max_replica_count=1,
        traffic_split={"0": 100},
    )
    predicted = ModelBatchPredictOp(
        job_display_name="batch",
        model=model,
        gcs_source_uris=[f"gs://{bucket}/rows.jsonl"],
        gcs_destination_output_uri_prefix=f"gs://{bucket}/batch",
        instances_format="jsonl",
        predictions_format="jsonl",
        machine_type="n1-standard-2",
    )
    undeployed = ModelUndeployOp(model=model, endpoint=endpoint).after(deployed)
    EndpointDeleteOp(endpoint=endpoint).after(undeployed)
    ModelDeleteOp(model=model).after(undeployed, predicted)
    HyperparameterTuningJobRunOp(
        display_name="tune",
        base_output_directory=f"gs://{bucket}/tune",
        max_trial_count=2,
        parallel_trial_count=2,
        study_spec_metrics=[{"metric_id": "loss", "goal": "MINIMIZE"}],
        study_spec_parameters=[{"parameter_id": "x", "double_value_spec": {"min_value": 0.0, "max_value": 1.0}}],
        worker_pool_specs=pool(REPORT),
    )


@dsl.pipeline(name="unknown-operator")
def unknown_operator():
    TextDatasetCreateOp(display_name="texts")


if __name__ == "__main__":
    for pipeline in (operators, unknown_operator):
        compiler.Compiler().compile(pipeline, str(Path(__file__).with_name(f"{pipeline.name}.yaml")))
