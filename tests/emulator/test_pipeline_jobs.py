"""Pipelines that kfp has compiled (tests/emulator/pipelines), submitted by the SDK and by plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_tasks.emulator.projects import project_number
from tests.emulator.harness import ECHO, NUMBERED, PARENT, Emulator, eventually
from tests.needs import kfp

pytestmark = pytest.mark.needs("kfp")

COMPILED = Path(__file__).parent / "pipelines"
ENDED = {"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One whose Python finds kfp, as a user's does who compiles pipelines."""
    running = Emulator(tmp_path_factory.mktemp("pipelines"), environment=with_kfp())
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log_text(), running.log_text()


@pytest.fixture
def _storage_host(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the SDK to this emulator's storage, for a test; that of the other modules is another one."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.storage_url)


def with_kfp() -> dict[str, str]:
    return {"PYTHONPATH": str(kfp())}


def compiled(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((COMPILED / f"{name}.yaml").read_text()))


def create(emulator: Emulator, name: str, root: str, job_id: str = "", **fields: Any) -> Any:
    """Submit a compiled pipeline and return the answer; fields in capitals are of runtime_config."""
    config = {"gcsOutputDirectory": root, **fields.pop("config", {})}
    body = {"pipelineSpec": compiled(name), "runtimeConfig": config, **fields}
    return emulator.post(f"{PARENT}/pipelineJobs", body, params={"pipelineJobId": job_id} if job_id else {})


def ended(emulator: Emulator, name: str) -> Any:
    def job() -> Any:
        found = emulator.get(name).body
        return found if found["state"] in ENDED else None

    return eventually(job, f"{name} ends")


def run(emulator: Emulator, name: str, root: str, **parameters: Any) -> Any:
    answer = create(emulator, name, root, config={"parameterValues": parameters})
    assert answer.status == 200, answer.body
    return ended(emulator, answer.body["name"])


def states(job: Any) -> dict[str, str]:
    return {detail.get("taskUniqueName", ""): detail["state"] for detail in job["jobDetail"]["taskDetails"]}


def given(job: Any, task: str, output: str = "Output") -> Any:
    """Return an output parameter of a task, as the metadata store has it."""
    detail = next(each for each in job["jobDetail"]["taskDetails"] if each.get("taskUniqueName", "") == task)
    return detail["execution"]["metadata"][f"output:{output}"]


@pytest.fixture
def root(bucket: str) -> str:
    return f"gs://{bucket}/root"


@pytest.mark.slow
def test_the_sdk_submits_a_pipeline_and_reads_its_lineage(aiplatform: Any, emulator: Emulator, root: str) -> None:
    from google.cloud.aiplatform.compat.types import pipeline_state

    job = aiplatform.PipelineJob(
        display_name="two",
        template_path=str(COMPILED / "two-steps.yaml"),
        job_id="by-the-sdk",
        pipeline_root=root,
        parameter_values={"n": 5},
        labels={"team": "blue"},
    )
    # `submit` first asks Resource Manager whose the bucket is, at Google's address.
    job._gca_resource = job.api_client.create_pipeline_job(
        parent=job._parent, pipeline_job=job._gca_resource, pipeline_job_id=job.job_id
    )
    job._block_until_complete()
    assert job.state == pipeline_state.PipelineState.PIPELINE_STATE_SUCCEEDED
    assert job.job_id in {each.name for each in aiplatform.PipelineJob.list(filter="labels.team=blue")}
    found = {detail.task_name: detail for detail in job.task_details}
    assert set(found) == {"by-the-sdk", "make", "measure"}
    rows = found["make"].outputs["rows"].artifacts[0]
    assert (rows.schema_title, dict(rows.metadata)) == ("system.Dataset", {"rows": 5})
    assert found["measure"].inputs["rows"].artifacts[0].name == rows.name
    assert emulator.read(*rows.uri.removeprefix("gs://").split("/", 1)) == b"xxxxx"
    execution = aiplatform.Execution(found["measure"].execution.name)
    assert [artifact.resource_name for artifact in execution.get_input_artifacts()] == [rows.name]
    assert execution.get_output_artifacts()[0].metadata == {"length": 5}
    assert execution.metadata["output:good"] is True
    context = job.gca_resource.job_detail.pipeline_run_context
    assert (context.schema_title, context.parent_contexts[0]) == (
        "system.PipelineRun",
        job.gca_resource.job_detail.pipeline_context.name,
    )
    experiment = aiplatform.Experiment.create("with-a-pipeline")
    job._associate_to_experiment(experiment)
    assert aiplatform.PipelineJob.get(job.resource_name).get_associated_experiment().name == "with-a-pipeline"
    (row,) = aiplatform.get_experiment_df("with-a-pipeline").to_dict("records")
    assert (row["param.n"], row["metric.length"], row["state"]) == (5, 5, "COMPLETE")
    runs = aiplatform.Execution.list(filter=f'schema_title="system.Run" AND in_context("{context.name}")')
    assert [each.metadata for each in runs] == [{"input:n": 5}]


@pytest.mark.slow
def test_a_new_job_is_as_vertex_ai_answers_it(emulator: Emulator, root: str) -> None:
    answer = create(emulator, "two-steps", root, "as-answered", displayName="mine")
    job = answer.body
    number = project_number("test-project")
    assert job["name"] == f"{NUMBERED}/pipelineJobs/as-answered"
    assert (job["state"], job["jobDetail"]) == ("PIPELINE_STATE_PENDING", {})
    assert job["labels"].keys() == {"vertex-ai-pipelines-run-billing-id"}
    assert job["serviceAccount"] == f"{number}-compute@developer.gserviceaccount.com"
    assert job["pipelineSpec"]["deploymentSpec"]["@type"].endswith("ml_pipelines.PipelineDeploymentConfig")
    assert create(emulator, "two-steps", root, "as-answered").error == (409, "ALREADY_EXISTS")
    ended(emulator, job["name"])


@pytest.mark.slow
def test_what_was_done_with_the_same_inputs_is_not_done_again(emulator: Emulator, root: str) -> None:
    first, second = (run(emulator, "two-steps", root, n=11) for _ in range(2))
    assert states(first) == {"": "SUCCEEDED", "make": "SUCCEEDED", "measure": "SUCCEEDED"}
    assert states(second) == {"": "SUCCEEDED", "make": "SKIPPED", "measure": "SKIPPED"}
    assert given(second, "make") == 12
    artifact = second["jobDetail"]["taskDetails"][1]["outputs"]["rows"]["artifacts"][0]["name"]
    emulator.response(emulator.call("DELETE", artifact))
    # What a client has deleted is not a result any longer.
    assert states(run(emulator, "two-steps", root, n=11))["make"] == "SUCCEEDED"


@pytest.mark.slow
@pytest.mark.parametrize(("side", "number", "large"), [("heads", 8, False), ("tails", 16, True), ("edge", 24, True)])
def test_conditions_choose(emulator: Emulator, root: str, side: str, number: int, large: bool) -> None:
    job = run(emulator, "branches", root, side=side, more="m")
    assert given(job, "") == number
    taken = [name for name, state in states(job).items() if name.count(".") == 1 and state == "SUCCEEDED"]
    assert f"condition-branches-1.condition-{2 + ['heads', 'tails', 'edge'].index(side)}" in taken
    assert states(job)["condition-5"] == ("SUCCEEDED" if large else "NOT_TRIGGERED")
    if large:
        assert given(job, "condition-5.say", "said") == f"says:{side} 3 --more m"


@pytest.mark.slow
def test_loops_collect_what_their_tasks_give(emulator: Emulator, root: str) -> None:
    job = run(emulator, "loops", root, most=3)
    assert given(job, "") == 12
    assert given(job, "joined") == "2,4,6"
    assert {given(job, f"for-loop-3.for-loop-3-{index}.say", "said") for index in range(2)} == {
        "says:x nothing",
        "says:y nothing",
    }


@pytest.mark.slow
def test_an_exit_handler_is_told_what_failed_and_retries_help(emulator: Emulator, root: str, bucket: str) -> None:
    job = run(emulator, "guarded", root, marks=f"gs://{bucket}/one", times=2)
    assert (job["state"], given(job, "exit-handler-1.fail-until")) == ("PIPELINE_STATE_SUCCEEDED", 2)
    detail = next(d for d in job["jobDetail"]["taskDetails"] if d["taskName"] == "fail-until")
    assert len(detail["executorDetail"]["containerDetail"]["failedMainJobs"]) == 2
    job = run(emulator, "guarded", root, marks=f"gs://{bucket}/two", times=3)
    assert job["state"] == "PIPELINE_STATE_FAILED"
    assert "The failed tasks are: [exit-handler-1]." in job["error"]["message"]
    found = states(job)
    assert found["exit-handler-1.fail-until"] == "FAILED"
    # One does not depend on it, one depends on its output, and one asks for nothing but its end.
    assert found["exit-handler-1.say"] in {"SUCCEEDED", "SKIPPED"}
    assert found["exit-handler-1.double"] == "NOT_TRIGGERED"
    assert found["exit-handler-1.double-2"] in {"SUCCEEDED", "SKIPPED"}
    assert given(job, "last-word").startswith("3 times: FAILED exit-handler-1 The DAG failed")


def test_an_importer_makes_an_artifact_once(emulator: Emulator, root: str, bucket: str) -> None:
    uri = emulator.put(bucket, "rows.txt", b"1234")
    first, second = (run(emulator, "imports", root, uri=uri) for _ in range(2))
    artifacts = [
        next(d for d in job["jobDetail"]["taskDetails"] if d["taskName"] == "importer")["outputs"]["artifact"][
            "artifacts"
        ]
        for job in (first, second)
    ]
    assert artifacts[0][0]["name"] == artifacts[1][0]["name"]
    assert artifacts[0][0]["metadata"] == {"owner": "me", "rows": 3}
    assert given(first, "measure", "length") == 4


def test_cancelling_ends_the_processes(emulator: Emulator, root: str, bucket: str) -> None:
    name = create(emulator, "waits", root, config={"parameterValues": {"marks": f"gs://{bucket}/w"}}).body["name"]

    def second() -> dict[str, Any]:
        tasks = emulator.get(name).body["jobDetail"].get("taskDetails", [])
        return next((task for task in tasks if task["taskName"] == "wait-2"), {})

    # It is RUNNING before it has a job: one that is cancelled then has none to end.
    eventually(
        lambda: second().get("state") == "RUNNING" and "executorDetail" in second(), "the second task's job runs"
    )
    assert emulator.post(f"{name}:cancel").body == {}
    job = ended(emulator, name)
    assert (job["state"], "error" in job) == ("PIPELINE_STATE_CANCELLED", False)
    assert states(job) == {"": "CANCELLED", "wait": "SUCCEEDED", "wait-2": "CANCELLED"}
    custom = job["jobDetail"]["taskDetails"][-1]["executorDetail"]["containerDetail"]["mainJob"]
    eventually(lambda: emulator.get(custom).body["state"] == "JOB_STATE_CANCELLED", "its job is cancelled")
    assert len(emulator.tree()) == 1


def test_several_are_cancelled_at_once_and_then_deleted(emulator: Emulator, root: str, bucket: str) -> None:
    config = {"parameterValues": {"marks": f"gs://{bucket}/several"}}
    names = [create(emulator, "waits", root, config=config).body["name"] for _ in range(2)]
    assert emulator.call("DELETE", names[0]).error == (400, "FAILED_PRECONDITION")
    done = emulator.response(emulator.post(f"{PARENT}/pipelineJobs:batchCancel", {"names": names}))
    assert [job["state"] for job in done["pipelineJobs"]] == ["PIPELINE_STATE_CANCELLED"] * 2
    emulator.response(emulator.call("DELETE", names[0]))
    assert emulator.get(names[0]).status == 404


@pytest.mark.parametrize("kill", [True, False])
def test_a_new_emulator_goes_on(own_emulator: Callable[..., Emulator], tmp_path: Path, kill: bool) -> None:
    first = own_emulator(tmp_path / "data", environment=with_kfp())
    bucket = first.new_bucket()
    parameters = {"marks": f"gs://{bucket}/w", "seconds": 1.5}
    name = create(first, "waits", f"gs://{bucket}/r", config={"parameterValues": parameters}).body["name"]
    eventually(
        lambda: (
            first.get(name).body["jobDetail"].get("taskDetails")
            and states(first.get(name).body).get("wait-2") == "RUNNING"
        ),
        "the second task runs",
    )
    if kill:
        first.kill()
    else:
        first.stop()
    second = own_emulator(tmp_path / "data", environment=with_kfp())
    job = ended(second, name)
    assert job["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert len(job["jobDetail"]["taskDetails"]) == 4
    listed = second.session.get(
        f"{second.storage_url}/storage/v1/b/{bucket}/o", params={"prefix": "w/first/"}, timeout=9
    )
    marks = [item["name"] for item in listed.json()["items"] if not item["name"].endswith("/")]
    assert len(marks) == 1, "a task that has succeeded is not done again"


def test_lists_are_filtered_ordered_and_masked(emulator: Emulator, root: str) -> None:
    for job_id in ("list-b", "list-a"):
        create(emulator, "two-steps", root, job_id, labels={"kind": "listed"}, displayName=job_id)
        ended(emulator, f"{PARENT}/pipelineJobs/{job_id}")
    query = {
        "filter": "labels.kind=listed AND state=PIPELINE_STATE_SUCCEEDED",
        "orderBy": "display_name",
        "readMask": "state,pipelineSpec.pipelineInfo",
    }
    found = emulator.get(f"{PARENT}/pipelineJobs", params=query).body["pipelineJobs"]
    assert [job["name"].rpartition("/")[2] for job in found] == ["list-a", "list-b"]
    assert found[0].keys() == {"name", "state", "pipelineSpec"}
    assert found[0]["pipelineSpec"] == {"pipelineInfo": {"name": "two-steps"}}
    wrong = emulator.get(f"{PARENT}/pipelineJobs", params={"readMask": "jobDetail.nothing"})
    assert wrong.error == (400, "INVALID_ARGUMENT")
    names = [job["name"] for job in found]
    deleted = emulator.response(emulator.post(f"{PARENT}/pipelineJobs:batchDelete", {"names": names}))
    assert len(deleted["pipelineJobs"]) == 2
    assert emulator.get(names[0]).message == "The PipelineJob does not exist."


def _without(spec: dict[str, Any], *path: str) -> dict[str, Any]:
    inner = spec
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    return spec


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda spec: {**spec, "schemaVersion": "2.0.0"}, 501, "Compile the pipeline with kfp 2"),
        (lambda spec: _without(spec, "root"), 400, "root is required"),
        (lambda spec: _without(spec, "components", "comp-make"), 400, "comp-make"),
        (lambda spec: _without(spec, "deploymentSpec", "executors", "exec-make"), 400, "exec-make"),
        (lambda spec: _without(spec, "pipelineInfo"), 400, "pipeline_info.name"),
        (lambda spec: _without(spec, "root", "dag", "tasks", "make"), 400, "depends on the task 'make'"),
    ],
)
def test_specs_that_cannot_run_are_refused(
    emulator: Emulator, root: str, change: Callable[[dict[str, Any]], dict[str, Any]], status: int, words: str
) -> None:
    body = {"pipelineSpec": change(compiled("two-steps")), "runtimeConfig": {"gcsOutputDirectory": root}}
    answer = emulator.post(f"{PARENT}/pipelineJobs", body)
    assert answer.status == status, answer.body
    assert words in answer.message


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"n": "three"}, "NUMBER_INTEGER"), ({"n": 1.5}, "NUMBER_INTEGER"), ({"m": 1}, "no input parameter 'm'")],
)
def test_parameters_of_the_wrong_type_are_refused(
    emulator: Emulator, root: str, parameters: dict[str, Any], words: str
) -> None:
    answer = create(emulator, "two-steps", root, config={"parameterValues": parameters})
    assert (answer.status, words in answer.message) == (400, True), answer.body


@pytest.mark.slow
def test_googles_operators_work_on_the_emulator(emulator: Emulator, root: str, bucket: str) -> None:
    emulator.put(bucket, "rows.csv", b"a,b\n1,2\n")
    emulator.put(bucket, "rows.jsonl", b"[1]\n[2]\n")
    emulator.put(bucket, "given.pkl", ECHO)
    job = run(emulator, "operators", root, bucket=bucket)
    assert job["state"] == "PIPELINE_STATE_SUCCEEDED", [d.get("error") for d in job["jobDetail"]["taskDetails"]]
    found = {d["taskName"]: d for d in job["jobDetail"]["taskDetails"]}
    resources = {
        name: json.loads(detail["execution"]["metadata"]["output:gcp_resources"])["resources"][0]["resourceType"]
        for name, detail in found.items()
        if "output:gcp_resources" in detail.get("execution", {}).get("metadata", {})
    }
    assert resources["custom-training-job"] == "CustomJob"
    assert resources["hyperparameter-tuning-job"] == "HyperparameterTuningJob"
    assert resources["model-deploy"] == "VertexLro"
    dataset = found["tabular-dataset-create"]["outputs"]["dataset"]["artifacts"][0]["metadata"]["resourceName"]
    labels = emulator.get(dataset).body["labels"]
    assert labels["vertex-ai-pipelines-run-billing-id"] == job["labels"]["vertex-ai-pipelines-run-billing-id"]
    written = found["model-batch-predict"]["outputs"]["gcs_output_directory"]["artifacts"][0]["uri"]
    assert written.startswith(f"gs://{bucket}/batch/prediction-of operators-")
    # What it made, it has deleted.
    model = found["model-upload"]["outputs"]["model"]["artifacts"][0]["metadata"]["resourceName"]
    assert emulator.get(model).status == 404


def test_an_operator_that_is_not_there_is_named(emulator: Emulator, root: str) -> None:
    answer = create(emulator, "unknown-operator", root)
    assert answer.error == (501, "UNIMPLEMENTED")
    assert "The operator TextDataset.create of google-cloud-pipeline-components" in answer.message


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_both_versions_and_grpc_answer_the_same(emulator: Emulator, root: str, version: str) -> None:
    import grpc
    from google.cloud.aiplatform_v1 import types

    name = run(emulator, "two-steps", root)["name"]
    shown = emulator.get(name).body
    assert emulator.get(f"/{version}/{name}").body == shown
    with grpc.insecure_channel(emulator.servers["grpc_address"]) as channel:
        get = channel.unary_unary(
            f"/google.cloud.aiplatform.{version}.PipelineService/GetPipelineJob",
            request_serializer=types.GetPipelineJobRequest.serialize,
            response_deserializer=types.PipelineJob.deserialize,
        )
        job = get(types.GetPipelineJobRequest(name=name), timeout=30)
    assert job.state.name == shown["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert [detail.task_name for detail in job.job_detail.task_details][1:] == ["make", "measure"]
