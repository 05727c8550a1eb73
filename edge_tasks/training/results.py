"""Saving what a training made: the artifact, its signature, its libraries, the metrics and plots."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsFloat

from edge_tasks.domain.baseline import FILE_NAME as BASELINE_FILE
from edge_tasks.domain.signature import FILE_NAME as SIGNATURE_FILE
from edge_tasks.domain.signature import Signature
from edge_tasks.errors import TrainingError
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.results import ENVIRONMENT_FILE, METRICS_FILE, PLOTS_FOLDER
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER


def save_results(
    model: Any,
    metrics: Mapping[str, SupportsFloat],
    model_output_dir: str | Path,
    plots: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    *,
    inputs: Any = None,
    method: str = "predict",
    labels: Any = None,
) -> None:
    """Save a fitted `model` and its `metrics` into `model_output_dir`, where DVC and Vertex AI look for them.

    `model` is of scikit-learn, XGBoost, LightGBM, CatBoost, PyTorch, Keras, statsmodels, in ONNX, or anything that
    pickles. `inputs` is a sample of what it is asked, such as X_train (a DataFrame, an array, a list of texts, bytes,
    rows or objects): from it comes the signature, by which requests are checked and it is decided what serves the
    model. Its first rows are kept as an example, and become test_payload.json when the model has none. `method` is what
    of the model answers: `predict`, `predict_proba`, `decision_function`, `transform`. `labels` are the true answers to
    `inputs`, row by row: with them baseline.json tells how often the model is wrong in each group of a column.

    Writes `model/` (the artifact, signature.json, baseline.json, requirements.txt, and the code that it needs),
    `metrics.json`, `environment.json`, and each of `plots` (file name to rows, all with the same keys) as CSV under
    `plots/`, for `dvc plots`. Raises TrainingError for metrics that are not finite numbers, which would break the
    comparison of runs later, and for inputs that the model does not answer.
    """
    from edge_tasks.serving.model_files import as_loaded
    from edge_tasks.training.artifact import write_artifact
    from edge_tasks.training.baseline import baseline_of
    from edge_tasks.training.context import current_spec
    from edge_tasks.training.data import used_data
    from edge_tasks.training.describe import describe
    from edge_tasks.training.environment import write_environment

    if not isinstance(metrics, Mapping):
        raise TrainingError(
            f"the metrics of save_results are {_shown(metrics)}, not names and numbers",
            'save_results(model, {"accuracy": accuracy}, model_output_dir)',
        )
    numbers = {name: _number(name, value) for name, value in metrics.items()}
    signature: Signature | None = None
    instances: list[Any] = []
    if inputs is not None:
        signature, instances = describe(as_loaded(model), inputs, method)
    elif labels is not None:
        raise TrainingError("`labels` are the answers to `inputs`", "inputs=X_train, labels=y_train")
    elif method != "predict":
        raise TrainingError(f'method="{method}" stands in signature.json, which takes `inputs`', "inputs=X_train")
    output = Path(model_output_dir)
    artifact = output / ARTIFACT_FOLDER
    (output / PAYLOAD_FILE).unlink(missing_ok=True)
    form = write_artifact(model, artifact, None if inputs is None else inputs[:2])
    if signature is not None:
        (artifact / SIGNATURE_FILE).write_text(signature.to_json(), encoding="utf-8")
        if labels is not None and len(labels) != len(inputs):
            raise TrainingError(
                f"there are {len(labels)} labels for {len(inputs)} inputs", "inputs=X_train, labels=y_train"
            )
        baseline = baseline_of(as_loaded(model), inputs, signature, labels)
        if baseline is not None:
            spec = current_spec()
            baseline = replace(baseline, data=used_data() if spec is None else spec.data)
            (artifact / BASELINE_FILE).write_text(baseline.to_json(), encoding="utf-8")
        payload = json.dumps({"instances": instances}, indent=2, ensure_ascii=False)
        (output / PAYLOAD_FILE).write_text(payload + "\n", encoding="utf-8")
    libraries = write_environment(artifact, form, model, signature)
    for name, rows in (plots or {}).items():
        _write_csv(output / PLOTS_FOLDER / name, rows)
    (output / ENVIRONMENT_FILE).write_text(json.dumps(libraries, indent=2) + "\n", encoding="utf-8")
    (output / METRICS_FILE).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def _number(name: str, value: Any) -> int | float:
    try:
        number = value.item() if hasattr(value, "item") else value
    except (ValueError, RuntimeError):  # an array, or a tensor, of several numbers
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise TrainingError(f"the metric `{name}` is {value!r}, not a finite number", "give save_results plain numbers")
    return number


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
