"""Jobs and models with their own images, by a stand-in for `docker` that runs what it is asked for as processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.emulator.docker_engine import IMAGE, Engine
from tests.emulator.harness import PARENT, Emulator, eventually, has_ended

SERVER = """
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200 if self.path == os.environ["AIP_HEALTH_ROUTE"] else 404, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown = {name: os.environ[name] for name in ("AIP_STORAGE_URI", "MINE", "AIP_HTTP_PORT")}
        self.answer(200, {"predictions": [[self.path, row, shown, sys.argv[1:]] for row in body["instances"]]})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""


def test_any_image_runs_in_a_container_with_vertex_variables_and_none_of_the_users(
    running: Emulator, engine: Engine
) -> None:
    spec = {"imageUri": IMAGE, "command": ["env"], "env": [{"name": "MINE", "value": "$(AIP_MODEL_DIR)x\ny"}]}
    output = {"outputUriPrefix": f"gs://{running.new_bucket('of-a-job')}/out"}
    job = running.wait_for_job(running.submit({"containerSpec": spec}, baseOutputDirectory=output))
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    lines = running.output(job)
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    assert variables["AIP_MODEL_DIR"] == "gs://of-a-job/out/model/"
    assert (variables["MINE"], "y" in lines) == ("gs://of-a-job/out/model/x", True)
    assert variables["STORAGE_EMULATOR_HOST"] == running.storage_url
    assert variables["CLOUD_ML_JOB_ID"] == job["name"].rpartition("/")[2]
    assert variables["PYTHONPATH"].endswith("/sdk_patch:/of/the/image")
    assert not {"HOME", "DOCKER_CONFIG", "PYTEST_CURRENT_TEST"} & set(variables)
    assert [call[-1] for call in engine.calls("pull")] == [IMAGE]
    (call,) = engine.calls("run")
    assert call[call.index("--network") + 1] == "host"
    running.run_job(["true"], image=IMAGE)
    assert len(engine.calls("pull")) == 1


def test_without_a_command_the_image_says_what_runs(running: Emulator) -> None:
    job = running.wait_for_job(running.submit({"containerSpec": {"imageUri": IMAGE}}))
    assert running.output(job) == ["the image itself"]


def test_the_status_of_a_container_is_that_of_the_job(running: Emulator) -> None:
    job = running.run_job(["sh", "-c", "echo oh no >&2; exit 7"], image=IMAGE)
    assert "non-zero status of 7" in job["error"]["message"]
    assert "\noh no\n" in job["error"]["message"]


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_a_cancelled_job_ends_its_container(running: Emulator, engine: Engine, trap: str) -> None:
    name = running.create_job(["sh", "-c", f"{trap}echo started; while true; do sleep 0.1; done"], image=IMAGE)
    eventually(lambda: running.output(name), "the container has started")
    (pid,) = eventually(engine.pids, "the engine knows it")
    running.post(f"{name}:cancel")
    assert running.wait_for_job(name)["state"] == "JOB_STATE_CANCELLED"
    assert has_ended(pid)


def test_a_container_reads_and_writes_below_gcs(running: Emulator) -> None:
    bucket = running.new_bucket()
    running.put(bucket, "in/a.txt", b"content\n")
    job = running.run_job(["sh", "-c", f"cat /gcs/{bucket}/in/a.txt | tee /gcs/{bucket}/out.txt"], image=IMAGE)
    assert running.output(job) == ["content"]
    assert running.read(bucket, "out.txt") == b"content\n"


def test_containers_of_an_emulator_that_was_killed_are_ended_by_the_next(
    running: Emulator, own_emulator: Callable[..., Emulator], engine: Engine
) -> None:
    name = running.create_job(["sh", "-c", "echo started; sleep 1000"], image=IMAGE)
    eventually(lambda: running.output(name), "the container has started")
    (pid,) = eventually(engine.pids, "the engine knows it")
    running.kill()
    assert psutil.pid_exists(pid)
    again = own_emulator(environment=engine.environment)
    eventually(lambda: has_ended(pid), "the container has ended")
    again.stop()


def test_an_image_that_cannot_be_pulled_fails_the_job_with_the_engines_words(running: Emulator) -> None:
    job = running.run_job(["true"], image="gcr.io/no/such:image")
    assert job["error"]["code"] == 12
    assert "no such image: gcr.io/no/such:image" in job["error"]["message"]


def test_an_engine_that_does_not_answer_is_named(running: Emulator, engine: Engine) -> None:
    model = container_model(running)
    (engine.state / "down").touch()
    words = "the Docker engine does not answer: Cannot connect to the Docker daemon"
    job = running.run_job(["true"], image=IMAGE)
    assert (job["error"]["code"], words in job["error"]["message"]) == (12, True)
    answer = running.deploy(running.create_endpoint(), model)
    assert (answer.error, words in answer.message) == ((501, "UNIMPLEMENTED"), True)


def container_model(running: Emulator, **fields: object) -> str:
    bucket = running.new_bucket()
    running.put(bucket, "model/weights", b"1")
    spec = {
        "imageUri": IMAGE,
        "command": ["python3", "-c", SERVER],
        "args": ["$(MINE)"],
        "env": [{"name": "A", "value": "1"}, {"name": "MINE", "value": "$(A)2"}],
        "healthRoute": "/healthy",
        "predictRoute": "/ask",
        **fields,
    }
    return running.upload(None, model={"artifactUri": f"gs://{bucket}/model", "containerSpec": spec})


def test_a_model_of_a_custom_container_is_served_by_the_contract(running: Emulator, engine: Engine) -> None:
    endpoint, model = running.create_endpoint(), container_model(running)
    first = running.deployed(endpoint, model)
    answer = running.predict(endpoint, ["a"])
    assert answer.status == 200, answer.body
    ((route, row, shown, arguments),) = answer.body["predictions"]
    assert (route, row, arguments) == ("/ask", "a", ["12"])
    assert (shown["MINE"], shown["AIP_STORAGE_URI"][:5]) == ("12", "gs://")
    second = running.deployed(endpoint, model, {"0": 50, first: 50})
    assert len(set(engine.pids())) == 2
    running.response(
        running.post(f"{endpoint}:undeployModel", {"deployedModelId": second, "trafficSplit": {first: 100}})
    )
    assert len(engine.pids()) == 1
    running.response(running.post(f"{endpoint}:undeployModel", {"deployedModelId": first}))
    assert engine.pids() == []


def test_a_container_that_dies_comes_back_with_the_next_request(running: Emulator, engine: Engine) -> None:
    endpoint = running.create_endpoint()
    running.deployed(endpoint, container_model(running))
    (pid,) = eventually(engine.pids, "the engine knows it")
    psutil.Process(pid).kill()
    assert running.predict(endpoint, ["a"]).status == 200
    assert engine.pids() != [pid]


def test_a_container_that_ends_fails_its_deploy_with_what_it_said(running: Emulator) -> None:
    model = container_model(running, command=["sh", "-c", "echo no weights; exit 1"])
    operation = running.finish(running.deploy(running.create_endpoint(), model))
    assert operation["error"]["code"] == 9
    assert "no weights" in operation["error"]["message"]


def test_containers_of_two_emulators_that_start_together_get_ports_of_their_own(
    running: Emulator, own_emulator: Callable[..., Emulator], engine: Engine, tmp_path: Path
) -> None:
    emulators = [running, own_emulator(tmp_path / "other", environment=engine.environment)]
    # One that takes its time until it listens: meanwhile its port looks free.
    command = ["python3", "-c", f"import time; time.sleep(1)\n{SERVER}"]
    models = [container_model(emulator, command=command) for emulator in emulators]
    endpoints = [emulator.create_endpoint() for emulator in emulators]
    with ThreadPoolExecutor() as pool:
        list(pool.map(Emulator.deployed, emulators, endpoints, models))
    answers = [emulator.predict(endpoint, ["a"]) for emulator, endpoint in zip(emulators, endpoints, strict=True)]
    assert len({answer.body["predictions"][0][2]["AIP_HTTP_PORT"] for answer in answers}) == 2
    emulators[1].stop()


def test_a_task_of_a_pipeline_runs_in_its_image_and_reads_its_artifacts(running: Emulator) -> None:
    bucket = running.new_bucket()
    running.put(bucket, "rows.txt", b"three rows")
    script = (
        "cat {{$.inputs.artifacts['rows'].path}}; printf %s \"$NOTE\" > {{$.outputs.parameters['note'].output_file}}"
    )
    rows = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    uri = {"constant": f"gs://{bucket}/rows.txt"}
    importer = {"importer": {"artifactUri": uri, "typeSchema": {"schemaTitle": "system.Dataset"}}}
    container = {"image": IMAGE, "command": ["sh", "-c", script], "env": [{"name": "NOTE", "value": "seen"}]}
    read = {
        "componentRef": {"name": "read"},
        "dependentTasks": ["find"],
        "inputs": {
            "artifacts": {"rows": {"taskOutputArtifact": {"producerTask": "find", "outputArtifactKey": "rows"}}}
        },
    }
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "in-an-image"},
        "deploymentSpec": {"executors": {"find": importer, "read": {"container": container}}},
        "components": {
            "find": {"executorLabel": "find", "outputDefinitions": {"artifacts": {"rows": rows}}},
            "read": {
                "executorLabel": "read",
                "inputDefinitions": {"artifacts": {"rows": rows}},
                "outputDefinitions": {"parameters": {"note": {"parameterType": "STRING"}}},
            },
        },
        "root": {"dag": {"tasks": {"find": {"componentRef": {"name": "find"}}, "read": read}}},
    }
    body = {"pipelineSpec": spec, "runtimeConfig": {"gcsOutputDirectory": f"gs://{bucket}/root"}}
    name = running.post(f"{PARENT}/pipelineJobs", body).body["name"]
    eventually(
        lambda: running.get(name).body["state"] not in {"PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING"}, "it ends"
    )
    details = {detail["taskName"]: detail for detail in running.get(name).body["jobDetail"]["taskDetails"]}
    assert details["read"]["state"] == "SUCCEEDED", details["read"]
    assert details["read"]["execution"]["metadata"]["output:note"] == "seen"
    job = running.get(details["read"]["executorDetail"]["containerDetail"]["mainJob"]).body
    assert running.output(job)[0] == "three rows"
