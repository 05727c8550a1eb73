"""Train in this process, without DVC and Vertex AI, and ask the saved model as an endpoint does."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest
from edge_tasks.serving import RequestError, ask
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
    path = tmp_path_factory.mktemp("data") / "table.csv"
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
    train.data_path = lambda _: data  # the prepared file, whether DVC has it or not
    train.run(**parameters, model_output_dir=directory)
    return directory


@pytest.fixture
def payload():
    return json.loads((HERE / "test_payload.json").read_text())["instances"]


def test_the_same_data_is_written_each_time(data, tmp_path):
    load("prepare").prepare(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == data.read_bytes()


def test_the_model_is_better_than_always_saying_the_same(results, data):
    metrics = json.loads((results / "metrics.json").read_text())
    most_frequent = pd.read_csv(data)["left"].value_counts(normalize=True).max()
    assert metrics["accuracy"] > most_frequent
    assert metrics["roc_auc"] > 0.6


def test_the_payload_is_answered_with_probabilities(results, payload):
    for answer in ask(results / "model", payload):
        assert answer["prediction"] in ("yes", "no")
        assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_gaps_and_words_that_were_never_seen_are_answered(results, payload):
    instance = {**payload[0], "age": None, "city": "Atlantis"}
    (answer,) = ask(results / "model", [instance])
    assert set(answer["probabilities"]) == {"yes", "no"}


def test_a_column_that_is_missing_is_named(results, payload):
    instance = {name: value for name, value in payload[0].items() if name != "plan"}
    with pytest.raises(RequestError, match="no column `plan`"):
        ask(results / "model", [instance])
