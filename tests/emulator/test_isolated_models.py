"""Models in environments like their images': the real packages, two environments for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from edge_tasks.training import save_results
from tests import mistakes
from tests.emulator.harness import SKLEARN_IMAGE, Emulator
from tests.needs import isolated_environments

pytestmark = [pytest.mark.slow, pytest.mark.needs("packages")]

PREDICTOR_IMAGE = "us-central1-docker.pkg.dev/my-project/edge-serving/predictor:0"
SPECS = {
    "prebuilt": {"imageUri": SKLEARN_IMAGE},
    "predictor": {"imageUri": PREDICTOR_IMAGE, "predictRoute": "/predict", "healthRoute": "/health"},
}


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    variables = isolated_environments()
    assert isinstance(variables, dict)
    data = tmp_path_factory.mktemp("isolated") / "data"
    running = Emulator(data, "--environments", "isolated", environment=variables)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    table = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    model = LogisticRegression().fit(table, ["no", "no", "yes", "yes"])
    save_results(model, {}, folder, inputs=table, method="predict_proba")
    return folder / "model"


def upload(isolated: Emulator, files: dict[str, bytes], kind: str) -> str:
    bucket = isolated.new_bucket()
    for name, content in files.items():
        isolated.put(bucket, f"model/{name}", content)
    return isolated.upload(None, model={"artifactUri": f"gs://{bucket}/model", "containerSpec": SPECS[kind]})


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_kinds_of_servers_answer(isolated: Emulator, artifact: Path) -> None:
    answers = {}
    for kind in SPECS:
        endpoint = isolated.create_endpoint()
        isolated.deployed(endpoint, upload(isolated, content(artifact), kind))
        answers[kind] = isolated.predict(endpoint, [[0.0, 1.0], [3.0, 0.0]]).body["predictions"]
    assert answers["prebuilt"] == ["no", "yes"]
    assert [answer["prediction"] for answer in answers["predictor"]] == ["no", "yes"]


def failure(isolated: Emulator, files: dict[str, bytes], kind: str) -> str:
    model = upload(isolated, files, kind)
    operation = isolated.finish(isolated.deploy(isolated.create_endpoint(), model))
    return str(operation["error"]["message"])


@pytest.mark.parametrize("mistake", mistakes.ARTIFACTS, ids=lambda mistake: mistake.name)
def test_without_checks_a_mistake_fails_as_on_google_cloud(
    isolated: Emulator, artifact: Path, mistake: mistakes.ArtifactMistake
) -> None:
    files = {"model.joblib": mistakes.pickle_of(mistake)}
    if mistake.serving == "predictor":
        files = {**content(artifact), **files}
    assert mistake.fails in failure(isolated, files, mistake.serving)


def test_a_predictor_whose_requirements_are_not_known_has_no_image(isolated: Emulator, artifact: Path) -> None:
    files = {name: text for name, text in content(artifact).items() if name != "requirements.txt"}
    answer = isolated.deploy(isolated.create_endpoint(), upload(isolated, files, "predictor"))
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert "no requirements.txt" in answer.message


def test_a_library_that_cannot_be_had_fails_the_deployment_with_the_installers_lines(
    isolated: Emulator, artifact: Path
) -> None:
    files = {**content(artifact), "requirements.txt": b"numpy==0.0.1\n"}
    message = failure(isolated, files, "predictor")
    assert "The environment of the model server cannot be made." in message
    assert "numpy==0.0.1" in message
