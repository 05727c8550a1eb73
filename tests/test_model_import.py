"""Models that were trained elsewhere: a folder, a folder in the bucket, and what MLflow saves."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import connect
from edge_tasks.domain.mlflow_model import read
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.training import save_results
from tests.repositories import Repository

pytestmark = pytest.mark.slow

# As MLflow 2.22 writes it.
ML_MODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl, python_version: 3.11.7}
  sklearn: {code: null, pickled_model: model.pkl, serialization_format: cloudpickle, sklearn_version: 1.6.1}
mlflow_version: 2.22.5
signature:
  inputs: '[{"type": "double", "name": "age", "required": true}, {"type": "long",
    "name": "n", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1]}}]'
  params: null
"""
TABLE = pd.DataFrame({"age": [20.0, 60.0, 30.0, 70.0], "n": [1, 2, 3, 4]})


def fitted() -> Any:
    return LogisticRegression().fit(TABLE, ["no", "yes", "no", "yes"])


def imported(repository: Repository, source: str) -> dict[str, Any]:
    repository.run("invoke", "model.import", "--artifact", source)
    return dict(json.loads((repository.root / "models/hello-world/trained_model.json").read_text()))


def asked(repository: Repository, *instances: Any) -> Any:
    (repository.root / "models/hello-world/test_payload.json").write_text(json.dumps({"instances": instances}))
    repository.run("invoke", "model.deploy")
    return json.loads(repository.run("./test_endpoint.sh").stdout)["predictions"]


def test_a_model_that_mlflow_saved_is_served_by_its_signature(hello_world: Repository, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "MLmodel").write_text(ML_MODEL)
    (saved / "model.pkl").write_bytes(pickle.dumps(fitted()))
    (saved / "requirements.txt").write_text("mlflow==2.22.5\npandas==2.3.3\nscikit-learn==1.6.1\nscipy==1.15.2")
    hello_world.run("invoke", "init")
    trained = imported(hello_world, str(saved))
    assert trained["environment"] == {
        "python": "3.11.7", "pandas": "2.3.3", "scikit-learn": "1.6.1", "scipy": "1.15.2",
    }  # fmt: skip
    change = hello_world.root / "edge.yaml"
    text = change.read_text()
    change.write_text(text.replace("    serving_machine_type", "    serving: predictor\n    serving_machine_type"))
    assert asked(hello_world, {"age": 65, "n": 1}, [21, 3]) == ["yes", "no"]
    assert yaml.safe_load(hello_world.run("invoke", "model.describe").stdout)["signature"]["columns"] == {
        "age": "number", "n": "integer optional",
    }  # fmt: skip


def test_a_folder_of_the_bucket_is_taken_in(hello_world: Repository, tmp_path: Path) -> None:
    hello_world.run("invoke", "init")
    (tmp_path / "elsewhere").mkdir()
    joblib.dump(fitted(), tmp_path / "elsewhere" / "model.joblib")
    cloud = connect(load_config(hello_world.root, {}), hello_world.root)
    uri = storage.upload_folder(cloud, tmp_path / "elsewhere", "of-others/model")
    told = hello_world.run("invoke", "model.import", "--artifact", uri).stderr
    assert "rm models/hello-world/dvc.yaml && dvc add models/hello-world/model" in told
    trained = json.loads((hello_world.root / "models/hello-world/trained_model.json").read_text())
    assert trained["parameters"] == {"imported_from": uri}
    # The example's payload is not what this model is asked.
    assert not (hello_world.root / "models/hello-world/test_payload.json").exists()
    assert asked(hello_world, [65, 1]) == ["yes"]


def test_an_imported_model_that_is_kept_as_dvc_is_told_to_is_not_trained_over(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    elsewhere = hello_world.root / ".edge" / "elsewhere"
    save_results(fitted(), {"accuracy": 0.5}, elsewhere, inputs=TABLE)
    imported(hello_world, str(elsewhere))
    made = (elsewhere / "test_payload.json").read_text()
    assert (hello_world.root / "models/hello-world/test_payload.json").read_text() == made
    (hello_world.root / "models/hello-world/dvc.yaml").unlink()
    hello_world.run("dvc", "add", "models/hello-world/model")
    hello_world.run("dvc", "repro")
    assert imported_from(hello_world) == str(elsewhere)
    hello_world.run("invoke", "model.deploy")
    assert imported_from(hello_world) == str(elsewhere)
    # CI trains again what was trained for another target, and a pipeline all that has stages: it has none.
    file = hello_world.root / "models/hello-world/trained_model.json"
    file.write_text(file.read_text().replace('"target": "local"', '"target": "gcp"'))
    hello_world.run("invoke", "ci.train")
    assert imported_from(hello_world) == str(elsewhere)
    hello_world.run("invoke", "model.init", "other", "--example", "hello-world")
    hello_world.run("invoke", "pipeline.export", "--no-upload")
    assert "hello-world" not in (hello_world.root / "pipeline.yaml").read_text().replace("hello-world-model", "")


def imported_from(repository: Repository) -> str:
    trained = json.loads((repository.root / "models/hello-world/trained_model.json").read_text())
    return str(trained["parameters"]["imported_from"])


def test_what_is_no_model_is_refused_and_changes_nothing(hello_world: Repository, tmp_path: Path) -> None:
    hello_world.run("invoke", "init")
    problem, _ = hello_world.fails("invoke", "model.import", "--artifact", str(tmp_path / "nowhere"))
    assert problem == f"there is no folder `{tmp_path / 'nowhere'}`"
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("")
    problem, _ = hello_world.fails("invoke", "model.import", "--artifact", str(tmp_path / "x"))
    assert problem == f"`{tmp_path / 'x'}` holds no model of a known format; it holds notes.txt"
    (tmp_path / "x" / "churn.joblib").write_text("<html>not found</html>")
    _, hint = hello_world.fails("invoke", "model.import", "--artifact", str(tmp_path / "x"))
    assert hint == "call churn.joblib model.joblib"
    problem, hint = hello_world.fails("invoke", "model.import", "--artifact", str(tmp_path / "x" / "churn.joblib"))
    assert problem == f"`{tmp_path / 'x' / 'churn.joblib'}` is a file, and an artifact is a folder"
    assert "artifact/model.joblib" in hint
    (tmp_path / "x" / "churn.joblib").rename(tmp_path / "x" / "model.joblib")
    problem, _ = hello_world.fails("invoke", "model.import", "--artifact", str(tmp_path / "x"))
    assert problem.startswith(f"the model in `{tmp_path / 'x'}` cannot be read: model.joblib is not a pickle")
    (tmp_path / "x" / "MLmodel").write_text("flavors: {spacy: {}}")
    problem, _ = hello_world.fails("invoke", "model.import", "--artifact", str(tmp_path / "x"))
    assert problem.endswith("cannot be taken: its flavors are spacy")
    assert not (hello_world.root / "models/hello-world/model").exists()
    assert not any((hello_world.root / ".edge/training").iterdir())


@pytest.mark.parametrize(
    ("flavor", "file", "kind"),
    [
        ("xgboost: {data: model.xgb, model_class: xgboost.sklearn.XGBClassifier}", "model.bst", "XGBClassifier"),
        ("lightgbm: {data: model.lgb, model_class: lightgbm.basic.Booster}", "model.lightgbm.txt", "Booster"),
        ("catboost: {data: model.cb, model_type: CatBoostClassifier}", "model.cbm", "CatBoostClassifier"),
        ("onnx: {data: model.onnx}", "model.onnx", ""),
        ("statsmodels: {data: model.statsmodels}", "model.pkl", ""),
    ],
)
def test_the_file_of_each_flavor_gets_our_name(flavor: str, file: str, kind: str) -> None:
    model = read(yaml.safe_load(f"flavors: {{{flavor}}}"))
    assert (model.file, model.kind) == (file, kind)
