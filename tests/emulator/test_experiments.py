"""Vertex AI Experiments, by the unmodified SDK."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from edge_tasks.emulator.projects import numbered
from tests.emulator.harness import ECHO, MACHINE, PYTHON_IMAGE, Emulator, numbers

CONTEXTS = "projects/test-project/locations/us-central1/metadataStores/default/contexts"


@pytest.fixture
def experiment(aiplatform: Any) -> Iterator[str]:
    """A new experiment, which the SDK is set to."""
    name = f"experiment-{next(numbers)}"
    aiplatform.init(experiment=name, experiment_description="a description")
    yield name
    aiplatform.metadata.metadata._experiment_tracker.reset()


def test_what_is_logged_comes_back(aiplatform: Any, experiment: str) -> None:
    with aiplatform.start_run("run-1") as run:
        aiplatform.log_params({"rate": 0.1, "steps": 3, "kind": "text"})
        aiplatform.log_metrics({"accuracy": 0.5})
        aiplatform.log_metrics({"accuracy": 0.75})
        aiplatform.log_metrics({})  # nothing to log harms nothing
        aiplatform.log_time_series_metrics({"loss": 1.0}, step=1)
        aiplatform.log_time_series_metrics({"loss": 0.5})
        aiplatform.log_classification_metrics(
            labels=["a", "b"], matrix=[[1, 2], [3, 4]], fpr=[0.1, 0.5], tpr=[0.2, 0.9], threshold=[0.9, 0.1]
        )
    found = aiplatform.ExperimentRun("run-1", experiment)
    assert found.get_params() == {"rate": 0.1, "steps": 3.0, "kind": "text"}
    assert found.get_metrics() == {"accuracy": 0.75}
    assert found.get_state() == "COMPLETE"
    (classification,) = found.get_classification_metrics()
    assert classification["matrix"] == [[1.0, 2.0], [3.0, 4.0]]
    with aiplatform.start_run("run-1", resume=True):
        aiplatform.log_metrics({"more": 1})
    found = aiplatform.ExperimentRun("run-1", experiment)
    assert found.get_metrics() == {"accuracy": 0.75, "more": 1.0}
    found.update_state(aiplatform.gapic.Execution.State.FAILED)
    assert found.get_state() == "FAILED"
    # What another client has written meanwhile is not overwritten.
    with pytest.raises(Exception, match="does not match server"):
        run.update_state(aiplatform.gapic.Execution.State.COMPLETE)


@pytest.mark.slow
def test_an_experiment_as_a_data_frame(aiplatform: Any, experiment: str) -> None:
    pytest.importorskip("pandas")
    for number in (1, 2):
        with aiplatform.start_run(f"run-{number}"):
            aiplatform.log_params({"n": number})
            aiplatform.log_metrics({"square": number**2})
            aiplatform.log_time_series_metrics({"loss": 1 / number}, step=1)
    frame = aiplatform.get_experiment_df(experiment)
    assert sorted(frame["run_name"]) == ["run-1", "run-2"]
    row = frame[frame["run_name"] == "run-2"].iloc[0]
    assert (row["param.n"], row["metric.square"], row["time_series_metric.loss"]) == (2.0, 4.0, 0.5)
    assert (row["experiment_name"], row["state"]) == (experiment, "COMPLETE")
    series = aiplatform.ExperimentRun("run-1", experiment).get_time_series_data_frame()
    assert list(series["loss"]) == [1.0]


def test_experiments_and_runs_are_listed_and_deleted(aiplatform: Any, experiment: str) -> None:
    for name in ("run-1", "run-2"):
        with aiplatform.start_run(name):
            aiplatform.log_time_series_metrics({"loss": 1.0}, step=1)
    found = aiplatform.Experiment(experiment)
    tensorboard = found.get_backing_tensorboard_resource()
    assert experiment in [listed.name for listed in aiplatform.Experiment.list()]
    assert [run.name for run in aiplatform.ExperimentRun.list(experiment=experiment)] == ["run-2", "run-1"]
    aiplatform.ExperimentRun.get("run-1", experiment=experiment).delete(delete_backing_tensorboard_run=True)
    assert [run.name for run in aiplatform.ExperimentRun.list(experiment=experiment)] == ["run-2"]
    runs = f"{tensorboard.resource_name}/experiments/{experiment}"
    assert [run.display_name for run in aiplatform.TensorboardRun.list(runs)] == ["run-2"]
    found.delete(delete_backing_tensorboard_runs=True)
    assert experiment not in [listed.name for listed in aiplatform.Experiment.list()]
    assert aiplatform.TensorboardRun.list(runs) == []
    # The name is free again, and nothing of the old one comes back.
    aiplatform.init(experiment=experiment)
    assert aiplatform.ExperimentRun.list(experiment=experiment) == []


def test_executions_artifacts_and_contexts(aiplatform: Any, emulator: Emulator, experiment: str) -> None:
    uri = f"gs://bucket/{experiment}"
    with aiplatform.start_run("run-1") as run:
        with aiplatform.start_execution(schema_title="system.ContainerExecution", display_name="step") as execution:
            data = aiplatform.Artifact.create(schema_title="system.Dataset", uri=uri, metadata={"rows": 10})
            execution.assign_input_artifacts([data])
            execution.assign_output_artifacts([aiplatform.Model(emulator.upload(ECHO))])
        assert [found.name for found in run.get_executions()] == [execution.name]
        assert data.name in [found.name for found in run.get_artifacts()]
    assert execution.state.name == "COMPLETE"
    assert [found.uri for found in execution.get_input_artifacts()] == [uri]
    assert [found.schema_title for found in execution.get_output_artifacts()] == ["google.VertexModel"]
    assert aiplatform.Artifact.get_with_uri(uri).name == data.name
    assert [found.name for found in aiplatform.Artifact.list(filter="metadata.rows.number_value=10")] == [data.name]
    data.update(metadata={"columns": 2}, description="d")
    assert aiplatform.Artifact.get(data.name).metadata == {"rows": 10.0, "columns": 2.0}
    context = aiplatform.Context.create("system.Pipeline", resource_id=f"{experiment}-x", metadata={"a": {"b": 1}})
    context.add_artifacts_and_executions([data.resource_name], [execution.resource_name])
    context.update(metadata={"a": {"c": 2}})
    assert aiplatform.Context.get(context.name).metadata == {"a": {"b": 1.0, "c": 2.0}}
    assert [found.name for found in context.get_artifacts()] == [data.name]
    assert [found.name for found in context.get_executions()] == [execution.name]
    assert len(context.query_lineage_subgraph().events) == 1
    assert aiplatform.Artifact.get_or_create(data.name, "system.Dataset").uri == uri
    data.delete()
    assert aiplatform.Artifact.get(data.name) is None
    execution.delete()
    context.delete()
    assert aiplatform.Context.list(filter=f'name="{context.resource_name}"') == []


@pytest.mark.slow
def test_a_job_logs_to_the_run_that_it_belongs_to(aiplatform: Any, emulator: Emulator, experiment: str) -> None:
    """The run that is named, else one that is made for the job."""
    with aiplatform.start_run("run-1"):
        pass
    command = ["sh", "-c", "echo $AIP_EXPERIMENT_NAME $AIP_EXPERIMENT_RUN_NAME"]
    context = f"{CONTEXTS}/{experiment}"
    job = emulator.run_job(command, experiment=context, experimentRun=f"{context}-run-1")
    assert emulator.output(job) == [f"{numbered(context)} {numbered(context)}-run-1"]
    job = emulator.run_job(command, experiment=context)
    (name,) = (run.name for run in aiplatform.ExperimentRun.list(experiment=experiment) if run.name != "run-1")
    assert job["jobSpec"]["experimentRun"] == numbered(f"{context}-{name}")
    assert emulator.output(job) == [f"{numbered(context)} {numbered(context)}-{name}"]


@pytest.mark.slow
def test_a_run_tells_which_jobs_belong_to_it(aiplatform: Any, emulator: Emulator, experiment: str) -> None:
    """Also when its client, which does not know of the jobs, logs to it afterwards."""
    context = f"{CONTEXTS}/{experiment}"
    with aiplatform.start_run("run-1"):
        jobs = [emulator.run_job(["true"], experiment=context, experimentRun=f"{context}-run-1") for _ in range(2)]
        aiplatform.log_metrics({"accuracy": 1})
    run = aiplatform.ExperimentRun("run-1", experiment)
    assert [job.resource_name for job in run.get_logged_custom_jobs()] == [job["name"] for job in jobs]
    assert run.get_metrics() == {"accuracy": 1}


def test_a_job_of_an_unknown_experiment_is_refused(emulator: Emulator) -> None:
    pool = {**MACHINE, "containerSpec": {"imageUri": PYTHON_IMAGE, "command": ["true"]}, "replicaCount": 1}
    parent = "projects/test-project/locations/us-central1/customJobs"
    for status, fields in (
        (404, {"experiment": f"{CONTEXTS}/none"}),
        (400, {"experimentRun": f"{CONTEXTS}/none-run"}),
    ):
        body = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [pool], **fields}}
        assert emulator.post(parent, body).status == status


CHANGED_BY_TWO = """
from google.api_core.exceptions import FailedPrecondition
from google.cloud import aiplatform

aiplatform.init(experiment={experiment!r})
mine = aiplatform.start_run("shared")
another = aiplatform.ExperimentRun("shared", {experiment!r})
another.log_params({{"by": "another"}})
aiplatform.log_metrics({{"by": 1}})
aiplatform.end_run()
print(aiplatform.ExperimentRun("shared", {experiment!r}).get_params())
endpoint = aiplatform.Endpoint.create(display_name="without traffic")
try:
    endpoint.predict([1])
except FailedPrecondition as error:
    print(error.message)
"""


@pytest.mark.slow
def test_errors_are_what_they_are_by_grpc_so_that_the_sdk_writes_again_what_another_has_changed(
    emulator: Emulator, experiment: str
) -> None:
    job = emulator.run_job(["python", "-c", CHANGED_BY_TWO.format(experiment=experiment)])
    printed = [entry["textPayload"] for entry in emulator.log(job) if entry["severity"] == "INFO"]
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert "{'by': 'another'}" in printed
    assert printed[-1].endswith("doesn't have traffic_split.")


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
def test_a_model_is_logged_and_registered(aiplatform: Any, experiment: str, bucket: str) -> None:
    from sklearn.linear_model import LinearRegression

    image = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
    with aiplatform.start_run("run-1") as run:
        aiplatform.log_model(LinearRegression().fit([[1], [2]], [1, 2]), f"{experiment}-model", uri=f"gs://{bucket}/m")
        (model,) = run.get_experiment_models()
    assert aiplatform.get_experiment_model(f"{experiment}-model").load_model().predict([[3]]).round(3).tolist() == [3.0]
    registered = model.register_model(display_name="registered", serving_container_image_uri=image)
    assert registered.display_name == "registered"


def test_tensorboards_of_the_sdk(aiplatform: Any) -> None:
    tensorboard = aiplatform.Tensorboard.create(display_name="t", labels={"a": "b"})
    tensorboard.update(display_name="renamed")
    assert aiplatform.Tensorboard.list(filter='display_name="renamed" AND labels.a="b"')[0].name == tensorboard.name
    experiment = aiplatform.TensorboardExperiment.create("e1", tensorboard.resource_name)
    run = aiplatform.TensorboardRun.create("r1", experiment.resource_name)
    series = run.create_tensorboard_time_series("loss")
    run.write_tensorboard_scalar_data({"loss": 2.0}, step=1)
    (point,) = run.read_time_series_data()["loss"].values
    assert (point.step, point.scalar.value) == (1, 2.0)
    listed = aiplatform.TensorboardTimeSeries.list(run.resource_name)
    assert [found.display_name for found in listed] == ["loss"]
    series.delete()
    tensorboard.delete()
    assert aiplatform.Tensorboard.list(filter='display_name="renamed"') == []
