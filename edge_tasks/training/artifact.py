"""Writing a model's file: in its library's own format where it has one, else as a pickle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_tasks.domain.baseline import FILE_NAME as BASELINE_FILE
from edge_tasks.domain.model_formats import FORMATS, KIND_FILE, ModelFormat
from edge_tasks.domain.signature import FILE_NAME as SIGNATURE_FILE
from edge_tasks.errors import TrainingError

# What stands next to the model's file and tells of it.
_DESCRIPTIONS = (KIND_FILE, SIGNATURE_FILE, BASELINE_FILE)
_BY_NAME = {form.name: form for form in FORMATS}


def write_artifact(model: Any, folder: Path, inputs: Any) -> ModelFormat:
    """Write `model` into `folder`, and return the format. Raises TrainingError when it cannot be written.

    `inputs` is a sample of its inputs, or None; a PyTorch module that cannot be scripted is traced with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A training may save twice: what serves must not find the model before.
    for file in (*(form.file for form in FORMATS), *_DESCRIPTIONS):
        (folder / file).unlink(missing_ok=True)
    writer = _writer(model)
    if writer is None:
        return _pickled(model, folder)
    name, write = writer
    form = _BY_NAME[name]
    write(model, folder / form.file, inputs)
    (folder / KIND_FILE).write_text(json.dumps({"class": type(model).__name__}) + "\n", encoding="utf-8")
    return form


def has_own_format(model: Any) -> bool:
    """Say whether `model` is written in its library's own format, and not as a pickle."""
    return _writer(model) is not None


def _writer(model: Any) -> tuple[str, _Write] | None:
    found = (_WRITERS.get((base.__module__.partition(".")[0], base.__name__)) for base in type(model).__mro__)
    return next((writer for writer in found if writer is not None), None)


def _pickled(model: Any, folder: Path) -> ModelFormat:
    import pickle

    try:
        try:
            import joblib
        except ImportError:
            form = _BY_NAME["pickle"]
            (folder / form.file).write_bytes(pickle.dumps(model))
        else:
            form = _BY_NAME["joblib"]
            joblib.dump(model, folder / form.file)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(
            f"a {type(model).__name__} cannot be saved as a pickle: {error}",
            "save what can be: lambdas and open files cannot, functions of a module next to train.py can",
        ) from error
    return form


def _xgboost(model: Any, path: Path, _: Any) -> None:
    # The library tells the format by the ending; the image looks for `model.bst`, and both read any of its formats.
    written = path.with_suffix(".ubj")
    model.save_model(str(written))
    written.rename(path)


def _by_save_model(model: Any, path: Path, _: Any) -> None:
    model.save_model(str(path))


def _by_save(model: Any, path: Path, _: Any) -> None:
    model.save(str(path))


def _onnx(model: Any, path: Path, _: Any) -> None:
    path.write_bytes(model.SerializeToString())


def _torch(model: Any, path: Path, inputs: Any) -> None:
    import torch

    training = model.training
    model.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted = model if isinstance(model, torch.jit.ScriptModule) else _scripted(torch, model, inputs)
        torch.jit.save(scripted, str(path))
    finally:
        model.train(training)


def _scripted(torch: Any, model: Any, inputs: Any) -> Any:
    try:
        return torch.jit.script(model)
    except Exception as error:  # TorchScript knows a part of Python, and says so in many ways
        if inputs is None:
            raise TrainingError(
                f"the module cannot be scripted: {str(error).splitlines()[0]}",
                "give save_results `inputs`, some rows, with which it is traced",
            ) from error
        return torch.jit.trace(model, torch.as_tensor(inputs))


_Write = Callable[[Any, Path, Any], None]
# By the top package and the name of a class, or of one that it is made from: nothing has to be imported to look.
_WRITERS: dict[tuple[str, str], tuple[str, _Write]] = {
    ("xgboost", "XGBModel"): ("xgboost", _xgboost),
    ("xgboost", "Booster"): ("xgboost", _xgboost),
    ("lightgbm", "Booster"): ("lightgbm", _by_save_model),
    ("catboost", "CatBoost"): ("catboost", _by_save_model),
    ("torch", "Module"): ("torch", _torch),
    ("keras", "Model"): ("keras", _by_save),
    ("onnx", "ModelProto"): ("onnx", _onnx),
}
