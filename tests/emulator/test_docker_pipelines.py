"""Container components of pipelines, in containers of a real Docker engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.emulator.harness import PARENT, Emulator, eventually
from tests.emulator.test_docker_engine import docker
from tests.needs import DOCKER_IMAGE

pytestmark = pytest.mark.needs("docker")

ROWS = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
TEXT = {"parameterType": "STRING"}
ENDED = {"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of a user, with a file by which a task knows where it runs."""
    folder = tmp_path_factory.mktemp("pipeline-image")
    (folder / "of-the-image").write_text("a file of the image")
    (folder / "Dockerfile").write_text(f"FROM {DOCKER_IMAGE}\nCOPY of-the-image /\n")
    name = f"vertex-edge-tests/{folder.name.lower()}-{folder.parent.name.lower()}:1"
    docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker("image", "rm", "--force", name)


def submit(emulator: Emulator, image: str, bucket: str, scripts: dict[str, str]) -> str:
    """Run tasks in a row, each of which reads what the one before has written; return the job's name."""
    components: dict[str, Any] = {}
    executors: dict[str, Any] = {}
    tasks: dict[str, Any] = {}
    before = ""
    for name, script in scripts.items():
        components[name] = {
            "executorLabel": name,
            "inputDefinitions": {"artifacts": {"rows": ROWS}, "parameters": {"text": TEXT}} if before else {},
            "outputDefinitions": {"artifacts": {"rows": ROWS}, "parameters": {"text": TEXT}},
        }
        env = [{"name": "NOTE", "value": "of $(CLOUD_ML_JOB_ID)"}]
        executors[name] = {"container": {"image": image, "command": ["sh", "-ec", script], "env": env}}
        tasks[name] = {"componentRef": {"name": name}}
        if before:
            tasks[name]["inputs"] = {
                "artifacts": {"rows": {"taskOutputArtifact": {"producerTask": before, "outputArtifactKey": "rows"}}},
                "parameters": {"text": {"taskOutputParameter": {"producerTask": before, "outputParameterKey": "text"}}},
            }
        before = name
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "in-containers"},
        "deploymentSpec": {"executors": executors},
        "components": components,
        "root": {"dag": {"tasks": tasks}},
    }
    body = {"pipelineSpec": spec, "runtimeConfig": {"gcsOutputDirectory": f"gs://{bucket}/root"}}
    answer = emulator.post(f"{PARENT}/pipelineJobs", body)
    assert answer.status == 200, answer.body
    return str(answer.body["name"])


def ended(emulator: Emulator, name: str) -> Any:
    eventually(lambda: emulator.get(name).body["state"] in ENDED, "the pipeline ends")
    return emulator.get(name).body


def details(job: Any) -> dict[str, Any]:
    return {detail["taskName"]: detail for detail in job["jobDetail"].get("taskDetails", [])}


WRITES = (
    "printf 'a b c' > {{$.outputs.artifacts['rows'].path}};"
    " printf '%s' \"$NOTE\" > {{$.outputs.parameters['text'].output_file}}"
)


def test_tasks_in_containers_hand_files_and_values_to_each_other(emulator: Emulator, image: str) -> None:
    bucket = emulator.new_bucket()
    reads = (
        "cat /of-the-image {{$.inputs.artifacts['rows'].path}}; echo \" {{$.inputs.parameters['text']}}\";"
        f" test ! -e {emulator.data.resolve()};"
        " wc -w < {{$.inputs.artifacts['rows'].path}} > {{$.outputs.parameters['text'].output_file}}"
    )
    job = ended(emulator, submit(emulator, image, bucket, {"write": WRITES, "read": reads, "fail": "exit 7"}))
    found = details(job)
    job_id = found["write"]["executorDetail"]["containerDetail"]["mainJob"].rpartition("/")[2]
    printed = emulator.output(emulator.get(found["read"]["executorDetail"]["containerDetail"]["mainJob"]).body)
    assert printed == [f"a file of the imagea b c of {job_id}"]
    assert found["read"]["execution"]["metadata"]["output:text"] == "3\n"
    uri = found["write"]["outputs"]["rows"]["artifacts"][0]["uri"]
    assert emulator.read(bucket, uri.removeprefix(f"gs://{bucket}/")) == b"a b c"
    assert (job["state"], found["fail"]["state"]) == ("PIPELINE_STATE_FAILED", "FAILED")
    assert "non-zero status of 7" in found["fail"]["error"]["message"]


def test_no_container_outlives_its_emulator_and_a_cancelled_pipeline(
    own_emulator: Callable[..., Emulator], image: str, tmp_path: Path
) -> None:
    def containers() -> list[str]:
        return docker("ps", "--quiet", "--filter", f"ancestor={image}").split()

    first = own_emulator(tmp_path / "data")
    bucket = first.new_bucket()
    once = f"mkdir -p /gcs/{bucket}/marks; touch /gcs/{bucket}/marks/$CLOUD_ML_JOB_ID; {WRITES}"
    holds = "trap '' TERM; while true; do sleep 0.1; done"
    name = submit(first, image, bucket, {"once": once, "hold": holds})
    eventually(lambda: details(first.get(name).body).get("hold", {}).get("executorDetail"), "the second task runs")
    eventually(containers, "its container runs")
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", *containers()))
    first.kill()
    eventually(lambda: not psutil.pid_exists(pid) and containers() == [], "the container is gone")

    second = own_emulator(tmp_path / "data")
    eventually(containers, "the second task runs again")
    second.post(f"{name}:cancel")
    job = ended(second, name)
    assert {task: detail["state"] for task, detail in details(job).items() if task in ("once", "hold")} == {
        "once": "SUCCEEDED",
        "hold": "CANCELLED",
    }
    eventually(lambda: containers() == [], "the container is gone")
    query = {"prefix": "marks/", "delimiter": "/"}
    listed = second.session.get(f"{second.storage_url}/storage/v1/b/{bucket}/o", params=query, timeout=9).json()
    assert len([item for item in listed["items"] if not item["name"].endswith("/")]) == 1
