"""What a training may leave behind, and what is refused before anything is changed."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.preprocessing import FunctionTransformer

from edge_tasks.domain.baseline import Baseline
from edge_tasks.errors import TrainingError
from edge_tasks.repo.results import publish, read_results
from edge_tasks.repo.trained_model import TrainedModel
from edge_tasks.training.sklearn import save_results


def fitted() -> DummyClassifier:
    return DummyClassifier(strategy="most_frequent").fit([[0], [1]], [1, 1])


def test_results_lie_where_vertex_and_dvc_look_for_them(tmp_path: Path) -> None:
    save_results(fitted(), {"score": np.float64(0.75)}, tmp_path, plots={"c.csv": [{"a": 1, "b": 2}]})
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        *("environment.json", "metrics.json", "model/model.joblib", "model/requirements.txt", "plots/c.csv"),
    ]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"score": 0.75}
    assert (tmp_path / "plots" / "c.csv").read_text() == "a,b\n1,2\n"
    assert joblib.load(tmp_path / "model" / "model.joblib").predict([[5]]).tolist() == [1]


def test_the_versions_of_the_training_are_recorded(tmp_path: Path) -> None:
    save_results(fitted(), {}, tmp_path)
    assert read_results(tmp_path).environment["scikit-learn"].startswith("1.")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.9", None, True, np.array([1, 2])])
def test_a_metric_that_is_no_finite_number_is_refused_and_nothing_is_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TrainingError, match="the metric `score` is"):
        save_results(fitted(), {"score": value}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_a_lambda_is_refused_with_what_can_be_saved(tmp_path: Path) -> None:
    model = FunctionTransformer(lambda rows: rows).fit([[1.0]])
    with pytest.raises(TrainingError, match="a FunctionTransformer cannot be saved as a pickle") as caught:
        save_results(model, {}, tmp_path)
    assert "functions of a module next to train.py can" in str(caught.value)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(("metrics", "said"), [([0.5], "a list"), (None, "missing"), (0.5, "a float")])
def test_metrics_without_names_are_refused(metrics: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"the metrics of save_results are {said}, not names and numbers"):
        save_results(fitted(), metrics, tmp_path)


def test_a_model_that_is_saved_again_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """What would be left of it is of another format, or describes other inputs."""
    inputs = pd.DataFrame({"city": ["York", "Leeds"] * 10})
    save_results(DummyClassifier().fit(inputs, [0, 1] * 10), {"first": 1}, tmp_path, inputs=inputs)
    (tmp_path / "model" / "model.bst").write_text("as an XGBoost model leaves it")
    (tmp_path / "model" / "words.txt").write_text("one's own file")
    save_results(fitted(), {"second": 2}, tmp_path)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        *("model.joblib", "requirements.txt", "words.txt"),
    ]
    assert not (tmp_path / "test_payload.json").exists()
    assert read_results(tmp_path).metrics == {"second": 2}


def test_inputs_of_any_type_have_a_baseline(tmp_path: Path) -> None:
    months = pd.DataFrame({"month": pd.period_range("2020-01", periods=20, freq="M"), "price": [Decimal("1.5")] * 20})
    save_results(DummyClassifier().fit([[0]] * 20, [1] * 20), {}, tmp_path, inputs=months)
    assert Baseline.from_json((tmp_path / "model" / "baseline.json").read_bytes()).columns.keys() >= {"month", "price"}


def test_a_training_that_saved_nothing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="without saving a model"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "{broken"])
def test_broken_metrics_are_said_so(tmp_path: Path, text: str) -> None:
    save_results(fitted(), {}, tmp_path)
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(TrainingError, match=r"metrics\.json"):
        read_results(tmp_path)


TRAINED = TrainedModel(
    model_name="m",
    run_id="r",
    target="local",
    trained_at=datetime.now(timezone.utc),
    trained_by="a",
    artifact_sha256="0",
)


def test_publishing_replaces_what_an_earlier_training_left(tmp_path: Path) -> None:
    model_folder = tmp_path / "models" / "m"
    (model_folder / "model").mkdir(parents=True)
    (model_folder / "model" / "old-file").write_text("old")
    staging = tmp_path / "staging"
    save_results(fitted(), {"score": 1.0}, staging)
    publish(read_results(staging), model_folder, TRAINED)
    assert sorted(path.relative_to(model_folder).as_posix() for path in model_folder.rglob("*")) == [
        *("metrics.json", "model", "model/model.joblib", "model/requirements.txt", "trained_model.json"),
    ]
    assert not staging.exists()


EXAMPLES = sorted(Path("template").glob("*/models/*/test_payload.json"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name.partition("~")[0])
def test_the_payload_of_an_example_gives_way_to_the_rows_of_another_model_and_stays_with_its_own(
    example: Path, tmp_path: Path
) -> None:
    payload = tmp_path / "test_payload.json"

    def publish_with(inputs: Any) -> Any:
        model = DummyClassifier().fit([[0]] * len(inputs), [1] * len(inputs))
        save_results(model, {}, tmp_path / "s", inputs=inputs, method="predict_proba")
        publish(read_results(tmp_path / "s"), tmp_path, TRAINED)
        return json.loads(payload.read_bytes())["instances"]

    instances = json.loads(example.read_bytes())["instances"]
    shutil.copyfile(example, payload)
    as_trained = pd.DataFrame(instances) if isinstance(instances[0], dict) else np.array(instances)
    assert publish_with(as_trained) == instances
    other = [[1, 2, 3, 4]] * 5
    assert publish_with(np.array(other))[0] == other[0]
    payload.write_text(json.dumps({"instances": instances[:1]}))  # a person's own
    assert publish_with(np.array(other)) == instances[:1]


def test_labels_tell_how_often_each_group_is_answered_wrongly(tmp_path: Path) -> None:
    inputs = pd.DataFrame({"city": ["York", "Leeds"] * 100, "age": range(200)})
    # It answers `yes` always.
    model = DummyClassifier(strategy="most_frequent").fit(inputs, ["yes"] * 150 + ["no"] * 50)
    labels = ["yes" if city == "York" else "no" for city in inputs["city"]]
    save_results(model, {}, tmp_path, inputs=inputs, labels=labels)
    groups = Baseline.from_json((tmp_path / "model" / "baseline.json").read_bytes()).groups
    assert {name: (one.rows, one.errors.total) for name, one in groups["city"].items()} == {
        "York": (100, 0), "Leeds": (100, 100),
    }  # fmt: skip
    assert sum(one.rows for one in groups["age"].values()) == 200
    with pytest.raises(TrainingError, match="there are 3 labels for 200 inputs"):
        save_results(model, {}, tmp_path, inputs=inputs, labels=["yes"] * 3)
    with pytest.raises(TrainingError, match="`labels` are the answers to `inputs`"):
        save_results(model, {}, tmp_path, labels=labels)
