"""The image of a predictor, built by a real Docker engine from the generated Dockerfile, and served by the emulator."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from edge_tasks.domain.serving_choice import image_tag
from edge_tasks.domain.serving_dockerfile import SERVER_REQUIREMENTS
from edge_tasks.releases import serving_image
from edge_tasks.releases.serving import of_folder
from edge_tasks.training import save_results
from tests.emulator.harness import Emulator, eventually
from tests.emulator.python_image import build, build_on, docker
from tests.needs import DOCKER_PYTHON

pytestmark = [pytest.mark.slow, pytest.mark.needs("docker"), pytest.mark.needs("packages")]

ROWS = [{"age": 30, "city": "a"}, {"age": None, "city": "b"}, {"age": 70, "city": "never seen"}]


class Built(NamedTuple):
    """An artifact, and the image for it."""

    artifact: Path
    uri: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("predictor")
    table = pd.DataFrame({"age": [20.0, None, 60.0, 80.0], "city": ["a", "b", None, "b"]})
    columns = ColumnTransformer(
        [("n", SimpleImputer(), ["age"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(table, ["young", "young", "old", "old"])
    save_results(model, {}, folder / "out", inputs=table, method="predict_proba")
    facts = of_folder(folder / "out" / "model", {"python": DOCKER_PYTHON})
    uri = f"us-central1-docker.pkg.dev/my-project/edge-serving/predictor:{image_tag(facts)}-{folder.parent.name}"
    base = f"vertex-edge-tests/pip:{folder.parent.name}"
    pins = [line for line in (facts.requirements or "").splitlines() if line and not line.startswith("#")]
    try:
        build(folder / "base", base, *pins, *SERVER_REQUIREMENTS)
        serving_image.write(facts, folder / "image")
        build_on(base, folder / "image", uri)
        yield Built(folder / "out" / "model", uri)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", uri, base], capture_output=True, check=False)


def upload(emulator: Emulator, artifact: Path, uri: str, **changed: bytes) -> str:
    bucket = emulator.new_bucket()
    files = {path.relative_to(artifact).as_posix(): path.read_bytes() for path in artifact.rglob("*") if path.is_file()}
    for name, content in {**files, **changed}.items():
        emulator.put(bucket, f"model/{name}", content)
    spec = {"imageUri": uri, "predictRoute": "/predict", "healthRoute": "/health", "ports": [{"containerPort": 8080}]}
    return emulator.upload(None, model={"artifactUri": f"gs://{bucket}/model", "containerSpec": spec})


def containers(uri: str) -> list[str]:
    return docker("ps", "--quiet", "--filter", f"ancestor={uri}").split()


def test_the_container_answers_as_the_process_does(emulator: Emulator, built: Built) -> None:
    answers: list[Any] = []
    # Where the image is not on this machine, the same program runs as a process.
    for uri in (built.uri.replace("predictor:", "predictor:not-"), built.uri):
        endpoint = emulator.create_endpoint()
        deployed = emulator.deployed(endpoint, upload(emulator, built.artifact, uri))
        assert len(containers(built.uri)) == (uri == built.uri)
        found = [emulator.predict(endpoint, ROWS), emulator.predict(endpoint, [{"age": "x", "city": "a"}])]
        answers.append([(answer.status, answer.body.get("predictions"), answer.body.get("error")) for answer in found])
        emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed}))
    assert answers[0] == answers[1]
    (status, predictions, _), (refused, _, error) = answers[0]
    assert (status, refused) == (200, 400)
    assert [each["prediction"] for each in predictions] == ["young", "young", "old"]
    assert "column `age`" in error["message"]
    eventually(lambda: containers(built.uri) == [], "the container is gone")


def test_a_model_that_cannot_be_loaded_ends_the_container_with_the_reason(emulator: Emulator, built: Built) -> None:
    broken = upload(emulator, built.artifact, built.uri, **{"model.joblib": b"cnot_there\nX\n)R."})
    message = str(emulator.finish(emulator.deploy(emulator.create_endpoint(), broken))["error"]["message"])
    assert "No module named 'not_there'" in message
    assert containers(built.uri) == []


def test_the_image_alone_keeps_vertex_ais_contract(emulator: Emulator, built: Built) -> None:
    """Not root, the port that it is given, a health route that tells the truth, and an end in order at SIGTERM."""
    bucket = emulator.new_bucket()
    for path in built.artifact.rglob("*"):
        if path.is_file():
            emulator.put(bucket, f"m/{path.relative_to(built.artifact).as_posix()}", path.read_bytes())
    variables = {
        "AIP_HTTP_PORT": "18474",
        "AIP_HEALTH_ROUTE": "/well",
        "AIP_PREDICT_ROUTE": "/ask",
        "AIP_STORAGE_URI": f"gs://{bucket}/m",
        "STORAGE_EMULATOR_HOST": emulator.storage_url,
    }
    words = [word for item in variables.items() for word in ("--env", "=".join(item))]
    container = docker("run", "--detach", "--network", "host", *words, built.uri)
    try:
        assert docker("exec", container, "id", "-u") == "1000"
        seen = set()

        def healthy() -> bool:
            try:
                with urllib.request.urlopen("http://127.0.0.1:18474/well") as answer:
                    seen.add(answer.status)
            except urllib.error.HTTPError as error:
                seen.add(error.code)
            except OSError:
                pass
            return 200 in seen

        eventually(healthy, "the server is healthy")
        assert seen == {503, 200}, "it listened before the model was loaded, and said so"
        body = json.dumps({"instances": ROWS[:1]}).encode()
        with urllib.request.urlopen("http://127.0.0.1:18474/ask", data=body) as answer:
            assert json.load(answer)["predictions"][0]["prediction"] == "young"
        docker("stop", "--time", "60", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0", "SIGTERM has not ended it"
    finally:
        docker("rm", "--force", container)
