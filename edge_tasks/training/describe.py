"""From a sample of a model's inputs to its signature: names, types, ranges, an example, and what is answered.

Inputs are a DataFrame, an array, or a list of texts, bytes, rows or objects. The first rows of the sample become the
signature's example and the model's test_payload.json, so give what may be seen by everybody who sees the repository.
"""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_tasks.domain.model_formats import PREDICTOR_FILE
from edge_tasks.domain.signature import ARRAY, BYTES, OBJECTS, TABLE, TEXTS, Column, Output, Signature
from edge_tasks.errors import TrainingError
from edge_tasks.serving.inputs import reader_of
from edge_tasks.serving.predictor import as_predictions
from edge_tasks.training.artifact import has_own_format
from edge_tasks.training.environment import model_folder

# Rows that are predicted to see what comes of them, and that are written into test_payload.json.
_TRIED, _SHOWN = 20, 3
# A text column with more values than this is a text, not a category.
_MOST_CATEGORIES = 50


def describe(model: Any, inputs: Any, method: str) -> tuple[Signature, list[Any]]:
    """Return the signature of `model` by the sample `inputs`, and the first instances of it as JSON.

    Rows of a table are objects, but lists where Google's prebuilt image may serve, which knows no names of columns.

    Raises TrainingError when the sample is empty, of no known kind, or the model cannot answer it.
    """
    _check_kind(inputs)
    signature = _of_inputs(inputs)
    head = inputs.head(_TRIED) if hasattr(inputs, "head") else inputs[:_TRIED]
    instances = [_instance(signature, row) for row in _rows(head)]
    signature = replace(signature, example=instances[0], method=method)
    function = getattr(model, method, None)
    if function is None:
        if hasattr(model, "predict"):
            raise TrainingError(f"a {type(model).__name__} has no `{method}`", 'method="predict" is the default')
        if not has_own_format(model) and not _has_predictor():
            raise TrainingError(
                f"a {type(model).__name__} has no `{method}`: there is nothing to ask it by",
                f"write {PREDICTOR_FILE} next to train.py, which asks it otherwise, or leave out `inputs`",
            )
        return signature, instances[:_SHOWN]
    try:
        answers = function(head)
    except Exception as error:
        raise TrainingError(
            f"the model does not answer the inputs that were given to save_results: {error}",
            "give `inputs` as the model takes them, such as some rows of X_train",
        ) from error
    if not _has_predictor():
        _check_request(model, signature, instances, answers)
    output = _output(model, answers, method)
    differs, shown = _difference(model, method, instances, answers), instances[:_SHOWN]
    if differs == "":
        shown = [list(instance.values()) if isinstance(instance, dict) else instance for instance in shown]
    return replace(signature, output=output, differs=differs), shown


def _has_predictor() -> bool:
    folder = model_folder()
    return Path(PREDICTOR_FILE).is_file() or (folder is not None and (folder / PREDICTOR_FILE).is_file())


def _check_request(model: Any, signature: Signature, instances: list[Any], answers: Any) -> None:
    """Raise TrainingError when the model does not answer the instances as JSON has them, nor its answers go into it."""
    try:
        as_predictions(answers)
    except TypeError as error:
        raise TrainingError(
            f"what the model answers does not go into JSON: {error}",
            f"let it answer numbers or texts, or write {PREDICTOR_FILE}, whose `postprocess` makes them of its answers",
        ) from error
    texts = [column.name for column in signature.columns if column.type == "any"]
    what = f" (it has no such type as that of {', '.join(f'`{name}`' for name in texts[:5])})" if texts else ""
    try:
        getattr(model, signature.method)(reader_of(signature)(instances))
    except Exception as error:  # what the model says to it is the reason
        raise TrainingError(
            f"the model does not answer the `inputs` of save_results as a request has them, in JSON: {error}{what}",
            f"let the model take numbers, texts, and dates of pandas' type datetime64, or write {PREDICTOR_FILE}, "
            "whose `preprocess` makes of a request what it takes",
        ) from error


# -- inputs --


def _check_kind(inputs: Any) -> None:
    """Raise TrainingError for tables that hold rows in another way than pandas and numpy."""
    if hasattr(inputs, "toarray"):
        raise TrainingError(
            "the `inputs` of save_results are a sparse matrix, and no request holds one",
            "put what makes it of texts or columns into the model, a Pipeline, or give inputs[:100].toarray()",
        )
    if hasattr(inputs, "columns") and not hasattr(inputs, "itertuples"):
        library = type(inputs).__module__.partition(".")[0]
        raise TrainingError(
            f"the `inputs` of save_results are a {type(inputs).__name__} of {library}",
            "give one of pandas: inputs=x_train.to_pandas()",
        )
    if isinstance(inputs, Mapping):
        raise TrainingError(
            "the `inputs` of save_results are columns by name, not rows",
            "give a DataFrame: inputs=pd.DataFrame(x_train)",
        )


def _of_inputs(inputs: Any) -> Signature:
    if not hasattr(inputs, "__len__") or len(inputs) == 0:
        raise TrainingError("the `inputs` of save_results are empty", "give some rows of what the model is asked")
    if hasattr(inputs, "columns") and hasattr(inputs, "dtypes"):
        names = [str(name) for name in inputs.columns]
        if len(set(names)) != len(names):
            raise TrainingError("two columns of the `inputs` have the same name", "rename one of them")
        return Signature(TABLE, columns=tuple(_column(str(name), inputs[name]) for name in inputs.columns))
    if hasattr(inputs, "shape") and hasattr(inputs, "dtype"):
        kind = str(inputs.dtype).removeprefix("torch.")
        if kind == "object" or kind.startswith(("<U", "str")):
            return _of_list(inputs.tolist())
        return Signature(ARRAY, shape=tuple(int(size) for size in inputs.shape[1:]), dtype=kind)
    return _of_list(list(inputs))


def _of_list(items: list[Any]) -> Signature:
    if all(isinstance(item, str) for item in items):
        return Signature(TEXTS)
    if all(isinstance(item, bytes) for item in items):
        return Signature(BYTES)
    return Signature(OBJECTS)


def _column(name: str, values: Any) -> Column:
    dtype = str(values.dtype)
    present = values.dropna()
    optional = len(present) < len(values)
    kind = _type(values.dtype, present)
    if dtype == "category":
        levels = as_json(list(values.cat.categories))
        shown = tuple(map(str, levels)) if kind == "string" and len(levels) <= _MOST_CATEGORIES else ()
        return Column(name, kind, optional, dtype, shown, levels=tuple(levels), ordered=bool(values.cat.ordered))
    if kind in ("integer", "number") and len(present):
        low, high = float(present.min()), float(present.max())
        if math.isfinite(low) and math.isfinite(high):
            return Column(name, kind, optional, dtype, minimum=low, maximum=high)
    if kind == "string" and present.nunique() <= _MOST_CATEGORIES:
        return Column(name, kind, optional, dtype, categories=tuple(sorted(str(value) for value in present.unique())))
    return Column(name, kind, optional, dtype)


def _type(dtype: Any, present: Any) -> str:
    """Return the word for a column of pandas' type `dtype`, be it of numpy, of pandas itself, or of pyarrow."""
    from pandas.api import types

    named = (
        ("boolean", types.is_bool_dtype),
        ("integer", types.is_integer_dtype),
        ("number", types.is_float_dtype),
        ("datetime", types.is_datetime64_any_dtype),
    )
    if str(dtype) not in ("object", "category"):
        return next((word for word, is_one in named if is_one(dtype)), "string")
    kinds = set(map(type, present))
    if kinds and all(issubclass(kind, str) for kind in kinds):
        return "string"
    if kinds and all(issubclass(kind, bool) for kind in kinds):
        return "boolean"
    if kinds and all(_is_integer(kind) for kind in kinds):
        return "integer"
    return "any"


def _is_integer(kind: type) -> bool:
    return issubclass(kind, int) or kind.__name__.startswith(("int", "uint"))


def _rows(head: Any) -> list[Any]:
    if hasattr(head, "columns"):
        return [
            dict(zip((str(name) for name in head.columns), row, strict=True))
            for row in head.itertuples(index=False, name=None)
        ]
    return [row.tolist() if hasattr(row, "tolist") else row for row in head]


def _instance(signature: Signature, row: Any) -> Any:
    if signature.form == BYTES:
        return {"b64": base64.b64encode(row).decode()}
    return as_json(row)


def as_json(value: Any) -> Any:
    """Return a value as JSON has it: what is missing (NaN, NaT, NA) is null, a date its ISO text."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) else str(value)


# -- outputs --


def _output(model: Any, answers: Any, method: str) -> Output:
    classes = getattr(model, "classes_", None)
    several = isinstance(classes, list)  # a classifier of several outputs has a list of arrays
    if classes is not None and not several and method in ("predict", "predict_proba", "decision_function"):
        return Output("class", classes=tuple(as_json(list(classes))))
    names = tuple(str(name) for name in getattr(answers, "columns", ()))
    shape = tuple(getattr(answers, "shape", ()))
    if len(shape) > 1 or several:
        return Output("vector", names=names, length=int(shape[1]) if len(shape) > 1 else None)
    first = as_json(next(iter(answers), None)) if hasattr(answers, "__iter__") else None
    words = ((bool, "boolean"), (int | float, "number"), (str, "text"), (list, "vector"), (dict, "object"))
    return Output(next((word for kind, word in words if isinstance(first, kind)), ""))


def _difference(model: Any, method: str, instances: list[Any], answers: Any) -> str | None:
    """Return why Google's prebuilt image would not answer the same; an empty text when it would, None when unknown.

    The images of scikit-learn and XGBoost make an array of the instances and call `predict`, so that is done here.
    """
    if method != "predict":
        return f"it calls `predict`, this model is asked by `{method}`"
    try:
        import numpy as np
    except ImportError:
        return None
    if instances and isinstance(instances[0], dict):
        rows = [list(instance.values()) for instance in instances]
        what = "it makes an array of the instances, without the names of their columns"
    else:
        rows, what = instances, "it makes an array of the instances"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            others = model.predict(np.asarray(rows))
        return "" if _same(as_json(list(answers)), as_json(list(others))) else f"{what}, and the answers are others"
    except Exception as error:  # whatever the model says to it is the reason
        reason = str(error).strip().splitlines()
        return f"{what}, and the model refuses that: {reason[0][:200] if reason else type(error).__name__}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)
