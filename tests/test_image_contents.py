"""What the emulator puts into an environment is what the rest of the package knows of the image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edge_tasks.domain import images
from edge_tasks.domain.config import DEFAULT_TRAINING_IMAGE, default_serving_image
from edge_tasks.domain.serving_choice import ArtifactFacts
from edge_tasks.domain.serving_dockerfile import SERVER_REQUIREMENTS
from edge_tasks.emulator.runtime import image_contents
from edge_tasks.emulator.serving import program_files
from edge_tasks.releases import serving_image
from tests.repositories import ROOT

TRAINING = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
SKLEARN = default_serving_image("us-central1")
XGBOOST = "us-docker.pkg.dev/vertex-ai/prediction/xgboost-cpu.2-1:latest"


def names(requirements: tuple[str, ...]) -> set[str]:
    return {Requirement(text).name for text in requirements}


def test_a_training_image_holds_what_the_checks_take_it_to_hold() -> None:
    found = image_contents.of_training(TRAINING)
    # cloudml-hypertune is there without being installed: the emulator brings it.
    assert names(found.packages) - {"setuptools", "wheel"} == images.held_for_training(TRAINING) - {"cloudml-hypertune"}


@pytest.mark.parametrize("uri", [SKLEARN, XGBOOST])
def test_a_prediction_image_holds_what_the_checks_take_it_to_hold(uri: str) -> None:
    found = image_contents.of_prediction(uri)
    prebuilt = images.prebuilt(uri)
    assert prebuilt is not None
    held = images.held_for_prediction(prebuilt)
    assert held is not None
    # scikit-learn brings threadpoolctl.
    assert names(found.packages) - names(image_contents.SERVER) == held - {"threadpoolctl"}


@pytest.mark.parametrize("uri", [DEFAULT_TRAINING_IMAGE, TRAINING, "python:3.12.4-bookworm"])
def test_an_image_has_the_python_that_the_checks_take_it_to_have(uri: str) -> None:
    major, minor = images.python_of(uri) or (0, 0)
    assert image_contents.of_training(uri).python == f"{major}.{minor}"


def test_an_image_for_a_framework_in_another_version_has_that_version() -> None:
    uri = "europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest"
    assert "scikit-learn==1.5.*" in image_contents.of_prediction(uri).packages
    tensorflow = image_contents.of_training("us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest")
    assert (tensorflow.python, tensorflow.packages[0]) == ("3.10", "tensorflow==2.17.*")


def test_a_predictor_has_the_libraries_and_the_python_of_its_artifact() -> None:
    found = image_contents.of_predictor("# written\n# Python 3.12.1\nnumpy==1.26.4\n\npandas==2.2.3  # a table\n")
    assert found == image_contents.Contents(
        "3.12", (), ("numpy==1.26.4", "pandas==2.2.3", *image_contents.PREDICTOR_SERVER)
    )


def test_the_predictors_server_is_that_of_its_image() -> None:
    assert image_contents.PREDICTOR_SERVER == SERVER_REQUIREMENTS
    files = serving_image.contents(ArtifactFacts(("model.joblib",), requirements=""))
    modules = {name.removeprefix("edge_tasks/") for name in files if name.startswith("edge_tasks/")}
    assert {re.sub(r"^serving/.*", "serving", name) for name in modules} == set(program_files.PREDICTOR)


def test_what_stands_for_a_prebuilt_image_takes_what_the_emulator_takes() -> None:
    text = (Path(ROOT) / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in image_contents.SERVER:
        assert f'"{requirement}' in text
