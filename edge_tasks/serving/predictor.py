"""The predictor: Google's four methods, and what they do unless a model has its own.

https://cloud.google.com/vertex-ai/docs/predictions/custom-prediction-routines
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge_tasks.domain.signature import FILE_NAME, RequestError, Signature
from edge_tasks.serving.inputs import Reader, reader_of
from edge_tasks.serving.model_files import load_model
from edge_tasks.serving.steps import Steps

# What of a model can be asked for in a request, by the parameter `method`.
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples")

_NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})
_parameters: ContextVar[Mapping[str, Any]] = ContextVar("parameters", default=_NO_PARAMETERS)


class Predictor:
    """Loads a model, and answers requests: `preprocess`, then `predict`, then `postprocess`.

    A model's own predictor overrides what it needs. `model` is what was loaded, `signature` what signature.json says
    (None without one), `parameters` those of the request that is being answered.
    """

    model: Any = None
    signature: Signature | None = None
    _read: Reader = staticmethod(reader_of(None))
    _found: tuple[Any, str, Steps | None] = (None, "", None)

    def load(self, artifacts_uri: str) -> None:
        """Load the model from the folder `artifacts_uri`."""
        folder = Path(artifacts_uri)
        self.signature = read_signature(folder)
        self._read = reader_of(self.signature)
        self.model = load_model(folder)

    def preprocess(self, prediction_input: Any) -> Any:
        """Return what the model takes, from the body of the request: `{"instances": [...], "parameters": {...}}`.

        It is checked against the signature. Raise RequestError for what the sender has to change.
        """
        return self._read(prediction_input["instances"])

    def predict(self, instances: Any) -> Any:
        """Ask the model; what it is asked by is the signature's `method`, or the request's parameter of that name.

        Further parameters are keyword arguments of that method.
        """
        keywords = dict(self.parameters)
        method = keywords.pop("method", None) or (self.signature.method if self.signature else "predict")
        steps = self._method(method)
        if keywords:
            _check_keywords(steps.whole, method, keywords)
            answers = steps.whole(instances, **keywords)
        else:
            answers = steps(instances)
        if method in ("predict_proba", "predict_log_proba", "decision_function"):
            return with_classes(self.model, method, answers)
        return answers

    def _method(self, name: str) -> Steps:
        """Return a method of the model; looked up once, because a pipeline takes long to say whether it has it."""
        model, found, steps = self._found
        if steps is not None and found == name and model is self.model:
            return steps
        if name not in METHODS or not hasattr(self.model, name):
            known = ", ".join(f"`{method}`" for method in METHODS if hasattr(self.model, method))
            raise RequestError(f"the model has no `{name}`; it has {known or 'none that can be asked for'}")
        steps = Steps(self.model, name)
        self._found = (self.model, name, steps)
        return steps

    def postprocess(self, prediction_results: Any) -> Any:
        """Return the body of the answer: `{"predictions": [...]}` with one prediction for each instance."""
        return {"predictions": as_predictions(prediction_results)}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the request that is being answered."""
        return _parameters.get()

    def healthy(self) -> bool:
        """Say whether predictions can be had; a model's own predictor may look at what it depends on."""
        return True


def answer(predictor: Any, request: Any) -> Any:
    """Return the body of the answer to the body of a request. Raises RequestError for what is not a request."""
    if not isinstance(request, dict) or not isinstance(request.get("instances"), list):
        raise RequestError('the body must be {"instances": [...]}')
    parameters = request.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RequestError("`parameters` must be an object")
    token = _parameters.set(parameters or _NO_PARAMETERS)
    try:
        return predictor.postprocess(predictor.predict(predictor.preprocess(request)))
    finally:
        _parameters.reset(token)


def read_signature(folder: Path) -> Signature | None:
    """Return the signature next to an artifact; None when there is none."""
    path = folder / FILE_NAME
    return Signature.from_json(path.read_bytes()) if path.is_file() else None


def _check_keywords(function: Any, method: str, keywords: Mapping[str, Any]) -> None:
    """Raise RequestError that names a parameter which the method does not take, as far as it tells."""
    try:
        taken = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return
    names = [parameter.name for parameter in taken][1:]
    for keyword in keywords:
        if keyword not in names:
            known = f"; it has {', '.join(f'`{name}`' for name in names)}" if names else ""
            raise RequestError(f"`{method}` of the model has no parameter `{keyword}`{known}")


# -- answers --


def with_classes(model: Any, method: str, values: Any) -> list[dict[str, Any]]:
    """Return probabilities or decision values with the names of their classes, and the class that wins."""
    classes = getattr(model, "classes_", None)
    name = {"predict_proba": "probabilities", "predict_log_proba": "log_probabilities"}.get(method, "decision")
    if isinstance(values, list):  # of several outputs, each has its own classes
        each = [with_classes(_Classes(one), method, value) for one, value in zip(classes or [], values, strict=True)]
        return [{"prediction": [part["prediction"] for part in row], name: [part[name] for part in row]}
                for row in zip(*each, strict=True)]  # fmt: skip
    rows = values.tolist()
    if classes is None:
        return [{name: row} for row in rows]
    labels = classes.tolist() if hasattr(classes, "tolist") else list(classes)
    if rows and not isinstance(rows[0], list):  # the decision value of two classes is one number
        return [{"prediction": labels[int(value > 0)], name: value} for value in rows]
    if rows and len(rows[0]) != len(labels):
        return [{name: row} for row in rows]
    keys = [str(label) for label in labels]
    return [
        {"prediction": labels[row.index(max(row))], name: dict(zip(keys, row, strict=True))} for row in rows
    ]  # fmt: skip


class _Classes:
    def __init__(self, classes: Any):
        self.classes_ = classes


def as_predictions(results: Any) -> list[Any]:
    """Return results as a list with one JSON value for each instance; NaN becomes null."""
    if hasattr(results, "columns") and hasattr(results, "to_dict"):  # a DataFrame: an object for each row
        return [plain(row) for row in results.to_dict(orient="records")]
    if isinstance(results, dict):  # arrays by the name of the output
        columns = {name: as_predictions(values) for name, values in results.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if hasattr(results, "todense"):
        results = results.toarray()
    if hasattr(results, "tolist"):
        results = results.tolist()
    return [plain(item) for item in results]


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"a prediction of type {type(value).__name__} cannot be written as JSON")
