"""A pytest plugin: the fixture `vertex_emulator` is a Vertex AI of the test session's own.

It is there wherever `vertex-edge[local]` is installed, with or without a repository made from the template:

    def test_my_model_can_be_deployed(vertex_emulator):
        from google.cloud import aiplatform

        aiplatform.init(project=vertex_emulator.project, location=vertex_emulator.location)
        model = aiplatform.Model.upload(display_name="m", artifact_uri=..., serving_container_image_uri=...)

Inside the session google-cloud-aiplatform and google-cloud-storage lead there by themselves, in this process and in
those that tests start. Nothing is started before a test asks for the fixture, and nothing is left afterwards.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = "test-project"
LOCATION = "us-central1"
SECONDS_TO_STOP = 20.0
CLIENT_HOOK = Path(__file__).parent / "sdk_patch"


@dataclass(frozen=True)
class VertexEmulator:
    """Where the session's emulator is, and what may be used in it."""

    project: str
    location: str
    endpoint_url: str
    storage_url: str
    bucket: str
    grpc_address: str = ""

    @property
    def staging_bucket(self) -> str:
        """The bucket as the SDK wants it: gs://NAME."""
        return f"gs://{self.bucket}"

    @contextlib.contextmanager
    def fault(
        self, rpc: str = "*", *, error: str = "", message: str = "", rate: float = 1.0, delay: float = 0.0
    ) -> Iterator[None]:
        """Let an RPC (`DeployModel`) fail or be slow inside of a `with`, at a rate; in Google's words, unless told.

        All faults are gone afterwards.
        """
        fault = {"rpc": rpc, "error": error, "message": message, "rate": rate, "delay": delay}
        url = f"{self.endpoint_url}/_emulator/faults"
        _ask("POST", url, fault)
        try:
            yield
        finally:
            _ask("DELETE", url)


@pytest.fixture(scope="session")
def vertex_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexEmulator]:
    """Give this test session its own Vertex AI and Cloud Storage; Google's clients lead there by themselves."""
    data = tmp_path_factory.mktemp("vertex-emulator")
    command = [sys.executable, "-m", "edge_tasks.emulator", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            emulator = _ready(process, data)
            with pytest.MonkeyPatch.context() as patch:
                _lead_clients_to(emulator, patch)
                yield emulator
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS_TO_STOP)


def _ready(process: subprocess.Popen[str], data: Path) -> VertexEmulator:
    assert process.stdout is not None
    if not process.stdout.readline():
        pytest.fail(f"the emulator did not start\n{process.communicate()[1]}", pytrace=False)
    servers = json.loads((data / "servers.json").read_text())
    # A worker of pytest-xdist has its own session, and a bucket's name tells which.
    bucket = f"test-bucket-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    request = urllib.request.Request(  # noqa: S310  (it is our own address)
        f"{servers['storage_url']}/storage/v1/b?project={PROJECT}",
        data=json.dumps({"name": bucket, "location": LOCATION}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
        return VertexEmulator(
            PROJECT, LOCATION, servers["vertex_url"], servers["storage_url"], bucket, servers["grpc_address"]
        )


def _ask(method: str, url: str, body: object = None) -> None:
    """Ask the emulator for something of its own; ValueError in its words when it refuses."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
            pass
    except urllib.error.HTTPError as refused:
        with refused:
            told = json.load(refused)["error"]["message"]
        raise ValueError(told) from None


def _lead_clients_to(emulator: VertexEmulator, patch: pytest.MonkeyPatch) -> None:
    host = emulator.endpoint_url.removeprefix("http://")
    variables = {
        "STORAGE_EMULATOR_HOST": emulator.storage_url,
        "VERTEX_EMULATOR_URL": emulator.endpoint_url,
        "VERTEX_EMULATOR_GRPC": emulator.grpc_address,
        "CLOUD_ML_PROJECT_ID": emulator.project,
        "CLOUD_ML_REGION": emulator.location,
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{emulator.endpoint_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{emulator.endpoint_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{emulator.storage_url}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": emulator.project,
    }
    for name, value in variables.items():
        patch.setenv(name, value)
    # What a user has set for Google itself must not win over the emulator.
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_REGION", "GOOGLE_APPLICATION_CREDENTIALS"):
        patch.delenv(name, raising=False)
    patch.setenv("PYTHONPATH", str(CLIENT_HOOK), prepend=os.pathsep)
    spec = importlib.util.spec_from_file_location("vertex_emulator_sdk_patch", CLIENT_HOOK / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    # Loading it is enough: the variables are set.
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
