"""Loading an artifact: from its file, to an object with the library's own `predict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_tasks.domain.model_formats import FORMATS, KIND_FILE, format_of


class ModelFileError(Exception):
    """An artifact holds no model that can be loaded."""


def load_model(folder: Path) -> Any:
    """Load the model of an artifact's folder. Raises ModelFileError when no file in it is one."""
    form = format_of(path.name for path in folder.iterdir() if path.is_file())
    if form is None or form.name not in _LOADERS:
        known = ", ".join(form.file for form in FORMATS if form.name in _LOADERS)
        raise ModelFileError(f"the artifact holds none of the files {known}")
    return _LOADERS[form.name](folder / form.file)


def as_loaded(model: Any) -> Any:
    """Return what is asked in the place of `model` when it was loaded: a booster of XGBoost takes no rows itself."""
    kind = type(model)
    return _Booster(model) if (kind.__module__, kind.__name__) == ("xgboost.core", "Booster") else model


def kind_of(folder: Path) -> str:
    """Return which class of its library the model is of; empty when that was not written down."""
    try:
        return str(json.loads((folder / KIND_FILE).read_text(encoding="utf-8"))["class"])
    except (OSError, ValueError, KeyError):
        return ""


def _joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _pickle(path: Path) -> Any:
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301  that is what a model is: code, in its own process


class _Booster:
    """A booster of XGBoost, asked with rows."""

    def __init__(self, booster: Any):
        import xgboost

        self._matrix = xgboost.DMatrix
        self._booster = booster

    def predict(self, rows: Any, **keywords: Any) -> Any:
        return self._booster.predict(rows if isinstance(rows, self._matrix) else self._matrix(rows), **keywords)


def _xgboost(path: Path) -> Any:
    import xgboost

    kind = kind_of(path.parent)
    if not kind.startswith("XGB"):
        return _Booster(xgboost.Booster(model_file=str(path)))
    model = getattr(xgboost, kind)()
    model.load_model(str(path))
    return model


def _lightgbm(path: Path) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=str(path))


def _catboost(path: Path) -> Any:
    import catboost

    return getattr(catboost, kind_of(path.parent) or "CatBoost")().load_model(str(path))


class _Torch:
    """A module of TorchScript, asked with arrays."""

    def __init__(self, path: Path):
        import torch

        self._torch = torch
        self._module = torch.jit.load(str(path), map_location="cpu")
        self._module.eval()

    def predict(self, rows: Any, **keywords: Any) -> Any:
        torch = self._torch
        with torch.inference_mode():
            tensor = rows if isinstance(rows, torch.Tensor) else torch.as_tensor(rows)
            return _as_arrays(self._module(tensor, **keywords))


def _as_arrays(outputs: Any) -> Any:
    if isinstance(outputs, tuple | list):
        return [_as_arrays(output) for output in outputs]
    if isinstance(outputs, dict):
        return {name: _as_arrays(output) for name, output in outputs.items()}
    return outputs.detach().cpu().numpy()


class _Keras:
    """A Keras model; its own `predict` is made for large batches and prints."""

    def __init__(self, path: Path):
        import keras

        self._model = keras.models.load_model(path)

    def predict(self, rows: Any, **keywords: Any) -> Any:
        return self._model.predict_on_batch(rows, **keywords)


class _Onnx:
    """A model in ONNX, asked with arrays, or with a table whose columns are its inputs."""

    def __init__(self, path: Path):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._inputs = self._session.get_inputs()

    def predict(self, rows: Any) -> Any:
        import numpy as np

        if hasattr(rows, "columns"):
            if len(self._inputs) == 1:
                feed = {self._inputs[0].name: self._typed(rows.to_numpy(), self._inputs[0])}
            else:
                feed = {item.name: self._typed(rows[item.name].to_numpy()[:, None], item) for item in self._inputs}
        else:
            feed = {self._inputs[0].name: self._typed(np.asarray(rows), self._inputs[0])}
        outputs = self._session.run(None, feed)
        return outputs[0]

    @staticmethod
    def _typed(values: Any, wanted: Any) -> Any:
        kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
        return values.astype(kinds[wanted.type]) if wanted.type in kinds else values


_LOADERS: dict[str, Callable[[Path], Any]] = {
    "joblib": _joblib,
    "pickle": _pickle,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "torch": _Torch,
    "keras": _Keras,
    "onnx": _Onnx,
}
