"""What MLflow writes about a model, in the file MLmodel, as far as it is needed to serve it without MLflow.

https://mlflow.org/docs/latest/ml/model/#mlmodel-configuration
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_tasks.domain.model_formats import FORMATS
from edge_tasks.domain.signature import ARRAY, TABLE, Column, Signature

FILE_NAME = "MLmodel"

_TYPES = {
    "boolean": ("boolean", "bool"),
    "integer": ("integer", "int32"),
    "long": ("integer", "int64"),
    "float": ("number", "float32"),
    "double": ("number", "float64"),
    "string": ("string", "object"),
    "datetime": ("datetime", "datetime64[ns]"),
}
_BY_NAME = {form.name: form for form in FORMATS}


@dataclass(frozen=True)
class MlflowModel:
    """One model: `data` is its file, to be called `file` in an artifact of ours, and of the class `kind`."""

    data: str
    file: str
    kind: str = ""
    python: str = ""
    signature: Signature | None = None


def read(document: Any) -> MlflowModel:
    """Return what MLmodel (as plain values) says. Raises ValueError when no flavor of it can be served."""
    flavors = document.get("flavors", {}) if isinstance(document, Mapping) else {}
    python = str(flavors.get("python_function", {}).get("python_version", ""))
    signature = _signature(document.get("signature")) if isinstance(document, Mapping) else None
    if "sklearn" in flavors:
        return MlflowModel(flavors["sklearn"]["pickled_model"], "model.pkl", "", python, signature)
    for name in ("xgboost", "lightgbm", "catboost"):
        if name in flavors:
            flavor = flavors[name]
            kind = str(flavor.get("model_class") or flavor.get("model_type") or "").rpartition(".")[2]
            return MlflowModel(flavor["data"], _BY_NAME[name].file, kind, python, signature)
    if "onnx" in flavors:
        return MlflowModel(flavors["onnx"]["data"], "model.onnx", "", python, signature)
    if "statsmodels" in flavors:
        return MlflowModel(flavors["statsmodels"]["data"], "model.pkl", "", python, signature)
    raise ValueError(f"its flavors are {', '.join(sorted(flavors)) or 'none'}")


def _signature(values: Any) -> Signature | None:
    if not isinstance(values, Mapping) or not values.get("inputs"):
        return None
    inputs = json.loads(values["inputs"])
    if len(inputs) == 1 and inputs[0].get("type") == "tensor":
        spec = inputs[0]["tensor-spec"]
        return Signature(ARRAY, shape=tuple(spec["shape"][1:]), dtype=spec["dtype"])
    if not all(item.get("name") and item.get("type") in _TYPES for item in inputs):
        return None
    columns = tuple(Column(item["name"], *_typed(item["type"], required=item.get("required", True))) for item in inputs)
    return Signature(TABLE, columns=columns)


def _typed(name: str, *, required: bool) -> tuple[str, bool, str]:
    kind, dtype = _TYPES[name]
    return kind, not required, dtype
