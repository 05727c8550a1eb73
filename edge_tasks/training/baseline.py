"""From a sample of a model's inputs to its baseline: how each column is distributed, and the predictions, without rows.

`invoke model.monitor` compares with it what the model is asked later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edge_tasks.domain.baseline import MOST_PARTS, Baseline, columns_of, grouped, make_baseline
from edge_tasks.domain.signature import ARRAY, TABLE, Signature
from edge_tasks.training.describe import as_json

# Rows that are looked at: more make no better histogram of ten bins.
_MOST_ROWS = 10_000


def baseline_of(model: Any, inputs: Any, signature: Signature, labels: Any = None) -> Baseline | None:
    """Return the baseline of a table, or of an array of few columns; None for texts, images, and what is nested.

    With `labels`, the true answers to the inputs, it tells of groups how often the model is wrong there.
    """
    columns = len(signature.columns) if signature.form == TABLE else signature.shape[0] if signature.shape else 1
    if signature.form not in {TABLE, ARRAY} or len(signature.shape) > 1 or columns > MOST_PARTS:
        return None
    # Every k-th row, since data are often sorted.
    step = -(-len(inputs) // _MOST_ROWS)
    sample = inputs.iloc[::step] if hasattr(inputs, "iloc") else inputs[::step]
    instances, predictions = _instances(sample), _predictions(model, sample, signature)
    found = make_baseline(columns_of(instances, predictions), "its training")
    if len(predictions) != len(instances):
        return found
    known = [None] * len(instances) if labels is None else _instances(_every(labels, step))
    return replace(found, groups=grouped(columns_of(instances), found.columns, predictions, known))


def _every(labels: Any, step: int) -> Any:
    return labels.iloc[::step] if hasattr(labels, "iloc") else labels[::step]


def _instances(sample: Any) -> list[Any]:
    rows = sample.to_dict(orient="records") if hasattr(sample, "columns") else sample
    return list(as_json(list(rows)))


def _predictions(model: Any, sample: Any, signature: Signature) -> list[Any]:
    """Return what the model answers to the sample, as it is served; nothing when the sample cannot be asked at once."""
    from edge_tasks.serving.predictor import as_predictions, with_classes

    function = getattr(model, signature.method, None)
    if function is None:
        return []
    answers = function(sample)
    if signature.method in {"predict_proba", "predict_log_proba", "decision_function"}:
        answers = with_classes(model, signature.method, answers)
    return as_predictions(answers)
