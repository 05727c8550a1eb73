"""The pytest plugin, used as somebody uses it who has no repository from the template."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator.harness import child_environment

SOMEBODYS_TESTS = """
import subprocess
import sys

import joblib
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform, storage
from sklearn.linear_model import LogisticRegression

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"


def test_a_model_is_deployed_and_answers(vertex_emulator, tmp_path):
    joblib.dump(LogisticRegression().fit([[0], [1]], [0, 1]), tmp_path / "model.joblib")
    bucket = storage.Client(project=vertex_emulator.project).bucket(vertex_emulator.bucket)
    bucket.blob("m/model.joblib").upload_from_filename(str(tmp_path / "model.joblib"))
    aiplatform.init(project=vertex_emulator.project, location=vertex_emulator.location)
    model = aiplatform.Model.upload(
        display_name="m", artifact_uri=f"{vertex_emulator.staging_bucket}/m", serving_container_image_uri=IMAGE
    )
    endpoint = model.deploy(machine_type="n1-standard-2")
    assert endpoint.predict([[0], [1]]).predictions == [0.0, 1.0]
    with vertex_emulator.fault("Predict", error="RESOURCE_EXHAUSTED"):
        with pytest.raises(exceptions.ResourceExhausted, match="exceed quota limits"):
            endpoint.predict([[0]])
    assert endpoint.predict([[0]]).predictions == [0.0]
    # These would go to Google: they do not use the endpoint of the API that was set.
    raw = endpoint.raw_predict(b'{"instances": [[0]]}', {"Content-Type": "application/json"})
    assert (raw.json(), raw.headers["X-Vertex-AI-Model-Version-Id"]) == ({"predictions": [0]}, "1")
    assert endpoint.predict([[1]], use_raw_predict=True).predictions == [1]
    lines = endpoint.stream_raw_predict(b'{"instances": [[0]]}', {"Content-Type": "application/json"})
    assert list(lines) == [b'{"predictions":[0]}']
    # So do those of a dedicated endpoint.
    dedicated = aiplatform.Endpoint.create(display_name="dedicated", dedicated_endpoint_enabled=True)
    dedicated.deploy(model, machine_type="n1-standard-2")
    assert dedicated.predict([[0], [1]]).predictions == [0, 1]
    assert dedicated.raw_predict(b'{"instances": [[0]]}', {}).json() == {"predictions": [0]}
    # And those that are reached by Private Service Connect, whose address is this machine's.
    allowed = aiplatform.PrivateEndpoint.PrivateServiceConnectConfig(project_allowlist=[vertex_emulator.project])
    private = aiplatform.PrivateEndpoint.create(display_name="psc", private_service_connect_config=allowed)
    private.deploy(model, machine_type="n1-standard-2", traffic_split={"0": 100})
    assert private.predict([[0], [1]], endpoint_override="127.0.0.1").predictions == [0, 1]


def test_a_program_that_the_test_starts_sees_the_same(vertex_emulator):
    program = "from google.cloud import aiplatform; print(len(aiplatform.Model.list()))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "1"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "test_somebodys.py").write_text(SOMEBODYS_TESTS)
    return child_environment() | {"HOME": str(tmp_path), "GOOGLE_CLOUD_PROJECT": "the-real-one"}


def run(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_fixture_needs_nothing_but_the_installed_package(tmp_path: Path, environment: dict[str, str]) -> None:
    assert "2 passed" in run(tmp_path, environment)


def test_nothing_is_loaded_or_started_for_a_session_that_does_not_ask(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "test_somebodys.py").write_text(
        "import sys\n\ndef test_it():\n"
        "    assert not {'google.cloud.aiplatform', 'uvicorn', 'invoke'} & set(sys.modules)\n"
    )
    assert "1 passed" in run(tmp_path, environment)
    assert not list(tmp_path.rglob("servers.json"))


@pytest.mark.slow
def test_the_fixture_is_described(tmp_path: Path, environment: dict[str, str]) -> None:
    listing = run(tmp_path, environment, "--fixtures")
    assert "vertex_emulator [session scope]" in listing
    assert "Give this test session its own Vertex AI" in listing
