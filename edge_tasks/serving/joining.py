"""Requests that wait at the same time are answered by one call of the model, where no answer depends on another row.

A call of a pipeline over one row costs as much as over eight: it is not the rows that take time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from edge_tasks.domain.model_formats import format_of
from edge_tasks.domain.signature import ARRAY, TABLE, TEXTS
from edge_tasks.serving.pickle_scan import UnreadablePickleError, needed_names
from edge_tasks.serving.predictor import Predictor, answer

# `EDGE_SERVING_JOIN=0` in `serving_env` turns it off.
VARIABLE = "EDGE_SERVING_JOIN"

# Formats of libraries whose models look at each row by itself.
_BY_ROW = ("xgboost", "lightgbm", "catboost")
# What else a pickle may name: the model's own code might look at all rows of a request.
_LIBRARIES = frozenset({"sklearn", "numpy", "scipy", "pandas", "joblib", "xgboost", "lightgbm", "catboost"})
_PLAIN = frozenset({"builtins", "collections", "copyreg", "_codecs", "datetime"})
# These run what they are given.
_EXCEPT = ("FunctionTransformer", "eval", "exec", "getattr", "compile", "__import__")


def can_join(predictor: Any, artifacts: Path) -> bool:
    """Say whether requests may be answered together: by our own predictor, and a model that takes rows one by one."""
    if type(predictor) is not Predictor or predictor.signature is None or os.environ.get(VARIABLE) == "0":
        return False
    if predictor.signature.form not in (TABLE, ARRAY, TEXTS):
        return False
    form = format_of(path.name for path in artifacts.iterdir() if path.is_file())
    if form is None:
        return False
    if form.name in _BY_ROW:
        return True
    if form.name not in ("joblib", "pickle"):
        return False
    try:
        names = needed_names(artifacts / form.file)
    except UnreadablePickleError:
        return False
    return all(_is_by_row(*name.partition(":")[::2]) for name in names)


def _is_by_row(module: str, name: str) -> bool:
    known = module.partition(".")[0] in _LIBRARIES or module in _PLAIN
    return known and name.rpartition(".")[2] not in _EXCEPT


def joined(predictor: Any, requests: Sequence[Any]) -> list[bytes] | None:
    """Return the bodies of the answers to bodies of requests, by one call of the model.

    None when one of them can only be answered, or refused, by itself.
    """
    instances: list[Any] = []
    counts = []
    for request in requests:
        if not isinstance(request, dict) or request.get("parameters"):
            return None
        rows = request.get("instances")
        if not isinstance(rows, list) or not rows:
            return None
        instances += rows
        counts.append(len(rows))
    try:
        predictions = answer(predictor, {"instances": instances})["predictions"]
    except Exception:  # whose request it is about is seen when each is answered by itself
        return None
    if len(predictions) != len(instances):
        return None
    bodies, start = [], 0
    for count in counts:
        part = {"predictions": predictions[start : start + count]}
        bodies.append(orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY))
        start += count
    return bodies
