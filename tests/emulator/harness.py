"""A running emulator as tests see it, and what they send to it."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil
import requests

from edge_tasks.emulator.projects import numbered
from tests.forking.process import Process, family

LOCATION = "us-central1"
PARENT = f"projects/test-project/locations/{LOCATION}"
# As it stands in answers.
NUMBERED = numbered(PARENT)
SKLEARN_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
PYTHON_IMAGE = "python:3.11"
# What each worker pool of a job needs.
MACHINE = {"machineSpec": {"machineType": "n1-standard-4"}}
FINAL = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
PATIENCE = 30.0

numbers = itertools.count(1)


def child_environment() -> dict[str, str]:
    """The environment for emulators: with bytecode, which some machines turn off and which halves a start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Poll until a condition holds, the longer the more rarely."""
    start = time.monotonic()
    while (waited := time.monotonic() - start) < PATIENCE:
        value = condition()
        if value:
            return value
        time.sleep(min(max(0.01, waited / 10), 0.1))
    raise AssertionError(f"never happened: {what}")


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or dead and not yet buried by its parent."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


class Answer(NamedTuple):
    status: int
    body: Any

    @property
    def error(self) -> tuple[int, str]:
        """Status and Google's name of the error."""
        return self.status, self.body["error"]["status"]

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


class Emulator:
    """A running emulator and a plain HTTP client for it."""

    def __init__(
        self, data: Path, *arguments: str, environment: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> None:
        self.data = data
        self._log = data.parent / f"{data.name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self.process = Process(
                [python, "-m", "edge_tasks.emulator", "--data", str(data), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**child_environment(), **(environment or {})},
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        if not self.line:
            raise AssertionError(self.log_text())
        self.servers = json.loads((data / "servers.json").read_text())
        self.url: str = self.servers["vertex_url"]
        self.storage_url: str = self.servers["storage_url"]
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        url = f"{self.url}{path}" if path.startswith("/") else f"{self.url}/v1/{path}"
        response = self.session.request(method, url, json=body, timeout=70, **options)
        return Answer(response.status_code, response.json())

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.call("POST", path, body if body is not None else {}, **options)

    def finish(self, answer: Answer) -> Any:
        """Wait for an operation and return it."""
        assert answer.status == 200, answer.body
        operation = answer.body
        while not operation.get("done"):
            operation = self.get(operation["name"]).body
        return operation

    def response(self, answer: Answer) -> Any:
        """Wait for an operation and return its response."""
        operation = self.finish(answer)
        assert "error" not in operation, operation
        return operation["response"]

    def put(self, bucket: str, name: str, content: bytes) -> str:
        """Upload an object and return its URI."""
        url = f"{self.storage_url}/upload/storage/v1/b/{bucket}/o"
        answer = self.session.post(url, params={"uploadType": "media", "name": name}, data=content, timeout=10)
        answer.raise_for_status()
        return f"gs://{bucket}/{name}"

    def read(self, bucket: str, name: str) -> bytes:
        """Return the content of an object."""
        url = f"{self.storage_url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        answer = self.session.get(url, params={"alt": "media"}, timeout=10)
        answer.raise_for_status()
        return answer.content

    def new_bucket(self, name: str = "", location: str | None = LOCATION) -> str:
        """Make a bucket, and return its name; one of this name may be there. No location is left to the server."""
        name = name or f"bucket-{os.getpid()}-{next(numbers)}"
        url, body = f"{self.storage_url}/storage/v1/b", {"name": name} | ({"location": location} if location else {})
        assert self.session.post(url, params={"project": "p"}, json=body, timeout=10).status_code in (200, 409)
        return name

    def log_text(self) -> str:
        """What the emulator has said: warnings, and the traces of what it answered with a 500."""
        return self._log.read_text(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """Every process that the emulator has started, and itself."""
        return family(psutil.Process(self.process.pid))

    def stop(self) -> int:
        self.session.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def kill(self) -> None:
        self.session.close()
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    # Jobs

    def create_job(self, command: list[str], *, image: str = PYTHON_IMAGE, **job_spec: Any) -> str:
        """Submit a job that runs a command, and return its name."""
        spec = {"containerSpec": {"imageUri": image, "command": command[:1], "args": command[1:]}}
        return self.submit(spec, **job_spec)

    def submit(self, pool: dict[str, Any], *, name: str = "a job", **job_spec: Any) -> str:
        pools = [{**MACHINE, "replicaCount": "1", **pool}]
        body = {"displayName": name, "jobSpec": {"workerPoolSpecs": pools, **job_spec}}
        answer = self.post(f"{PARENT}/customJobs", body)
        assert answer.status == 200, answer.body
        return str(answer.body["name"])

    def wait_for_job(self, name: str, states: set[str] = FINAL) -> Any:
        def reached() -> Any:
            job = self.get(name).body
            return job if job["state"] in states else None

        return eventually(reached, f"{name} in {states}")

    def run_job(self, command: list[str], **options: Any) -> Any:
        return self.wait_for_job(self.create_job(command, **options))

    def log(self, job: Any, **options: Any) -> list[Any]:
        """The log entries of a job, all pages."""
        name = job if isinstance(job, str) else job["name"]
        project, job_id = name.split("/")[1], name.rpartition("/")[2]
        body = {
            "resourceNames": [f"projects/{project}"],
            "filter": f'resource.type="ml_job" AND resource.labels.job_id="{job_id}"',
            "orderBy": "timestamp asc",
            **options,
        }
        entries = []
        while True:
            answer = self.post("/v2/entries:list", body)
            assert answer.status == 200, answer.body
            entries += answer.body.get("entries", [])
            if not answer.body.get("nextPageToken"):
                return entries
            body["pageToken"] = answer.body["nextPageToken"]

    def output(self, job: Any) -> list[str]:
        return [entry["textPayload"] for entry in self.log(job)]

    # Models

    def upload(
        self, pickled: bytes | None, *, image: str = SKLEARN_IMAGE, model: dict[str, Any] | None = None, **request: Any
    ) -> str:
        """Upload a model made of one file and return its name with the version."""
        fields = {"displayName": "a model", "containerSpec": {"imageUri": image}, **(model or {})}
        if pickled is not None:
            bucket = self.new_bucket()
            self.put(bucket, "model/model.pkl", pickled)
            fields["artifactUri"] = f"gs://{bucket}/model"
        response = self.response(self.post(f"{PARENT}/models:upload", {"model": fields, **request}))
        return f"{response['model']}@{response['modelVersionId']}"

    def create_endpoint(self, **fields: Any) -> str:
        answer = self.post(f"{PARENT}/endpoints", {"displayName": "an endpoint", **fields})
        return str(self.response(answer)["name"])

    def deploy(self, endpoint: str, model: str, split: dict[str, int] | None = None, **fields: Any) -> Answer:
        resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
        deployed = {"model": model, "dedicatedResources": resources, **fields}
        body = {"deployedModel": deployed, "trafficSplit": {"0": 100} if split is None else split}
        return self.post(f"{endpoint}:deployModel", body)

    def deployed(self, endpoint: str, model: str, split: dict[str, int] | None = None) -> str:
        """Deploy a model and return the id of the deployed model."""
        return str(self.response(self.deploy(endpoint, model, split))["deployedModel"]["id"])

    def predict(self, endpoint: str, instances: Any = (1,)) -> Answer:
        return self.post(f"{endpoint}:predict", {"instances": list(instances)})


class Code:
    """Pickled, it is an expression that is evaluated when the model is loaded."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (self.source,)


def model_of(predict: str) -> bytes:
    """A pickled model whose predict function is the given lambda."""
    return pickle.dumps(Code(f"__import__('types').SimpleNamespace(predict={predict})"))


ECHO = model_of("lambda rows: list(rows)")


def sdist(name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> bytes:
    """A source distribution as bytes."""
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    info += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for path, text in {"PKG-INFO": info, **files}.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return output.getvalue()
