"""Train in this process, without DVC and Vertex AI, and use the model that was saved."""

import importlib.util
import json
from pathlib import Path

import joblib
import pytest
from ruamel.yaml import YAML

HERE = Path(__file__).parent


def load(name):
    """Import a module of this folder. Every model has a `train`, so its path must tell which."""
    spec = importlib.util.spec_from_file_location(f"{HERE.name}_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def parameters():
    """What params.yaml gives to `run`."""
    values = YAML(typ="safe").load(HERE / "params.yaml")
    return {name: value for name, value in values.items() if name != "is_vertex"}


@pytest.fixture(scope="module")
def results(parameters, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    load("train").run(**parameters, model_output_dir=directory)
    return directory


def test_the_score_is_that_of_the_most_frequent_answer(results):
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics == {"score": 0.75}


def test_the_saved_model_answers_the_test_payload(results):
    model = joblib.load(results / "model" / "model.joblib")
    payload = json.loads((HERE / "test_payload.json").read_text())
    assert model.predict(payload["instances"]).tolist() == [1, 1]
