"""A model's own code, which lies in its artifact: modules that its pickle needs, and its predictor."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from edge_tasks.domain.model_formats import CODE_FOLDER, PREDICTOR_FILE
from edge_tasks.serving.predictor import Predictor

_METHODS = ("load", "preprocess", "predict", "postprocess")


class OwnCodeError(Exception):
    """predictor.py does not hold one predictor."""


def make_predictor(artifacts: Path) -> Any:
    """Return the predictor for an artifact's folder, not loaded yet; its code can be imported from now on.

    It is the model's own when there is one: an instance of the one class in predictor.py that has the four methods.
    """
    code = artifacts / CODE_FOLDER
    if code.is_dir():
        sys.path.insert(0, str(code.resolve()))
    if not (code / PREDICTOR_FILE).is_file():
        return Predictor()
    module = importlib.import_module(Path(PREDICTOR_FILE).stem)
    own = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and all(hasattr(kind, method) for method in _METHODS)
    ]
    # A base class of another in the file is not what is meant.
    own = [kind for kind in own if not any(kind is not other and issubclass(other, kind) for other in own)]
    if len(own) != 1:
        names = ", ".join(kind.__name__ for kind in own) or "none"
        raise OwnCodeError(
            f"{PREDICTOR_FILE} must hold one class with the methods {', '.join(_METHODS)}; it holds {names}"
        )
    return own[0]()
