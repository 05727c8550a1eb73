"""Train in this process, without DVC and Vertex AI, and use the model that was saved."""

import csv
import importlib.util
import json
from pathlib import Path

import joblib
import numpy as np
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
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    load("prepare").prepare(path)
    return path


@pytest.fixture(scope="module")
def parameters():
    """What params.yaml gives to `run`."""
    values = YAML(typ="safe").load(HERE / "params.yaml")
    return {name: value for name, value in values.items() if name != "is_vertex"}


@pytest.fixture(scope="module")
def results(data, parameters, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    train = load("train")
    train.open_data = lambda _: data.open("rb")  # the prepared file, whether DVC has it or not
    train.run(**parameters, model_output_dir=directory)
    return directory


def test_the_same_data_is_written_each_time(data, tmp_path):
    load("prepare").prepare(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == data.read_bytes()


def test_no_test_image_is_trained_on(data):
    with np.load(data) as arrays:
        assert len(arrays["x_train"]) + len(arrays["x_test"]) == 1797
        trained = {image.tobytes() for image in arrays["x_train"]}
        assert not any(image.tobytes() in trained for image in arrays["x_test"])


def test_the_accuracy_is_at_least_095(results):
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.95
    assert metrics["f1"] >= 0.95


def test_the_confusion_plot_has_a_row_for_each_test_image(results, data):
    with (results / "plots" / "confusion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(data) as arrays:
        assert [int(row["actual"]) for row in rows] == arrays["y_test"].tolist()


def test_the_saved_model_recognises_the_images_of_the_test_payload(results):
    model = joblib.load(results / "model" / "model.joblib")
    payload = json.loads((HERE / "test_payload.json").read_text())
    assert model.predict(payload["instances"]).tolist() == [7, 6, 3]
