"""Models of scikit-learn and XGBoost, which are pickles, and boosters of XGBoost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def load(artifacts: Path) -> Callable[[Any, Any], Any]:
    """Load `model.bst`, `model.joblib` or `model.pkl`, and return its prediction function.

    The `parameters` of a request become a keyword argument of that name, as in the image of scikit-learn:
    https://github.com/googleapis/python-aiplatform/pull/2037. Most estimators take none, and refuse it.
    """
    if (artifacts / "model.bst").is_file():
        return _load_booster(artifacts / "model.bst")
    pickled = artifacts / "model.joblib"
    if pickled.is_file():
        import joblib

        model = joblib.load(pickled)
    else:
        import pickle

        with (artifacts / "model.pkl").open("rb") as file:
            model = pickle.load(file)  # noqa: S301  (that is what the file is; it is our own process)

    def predict(instances: Any, parameters: Any) -> Any:
        keywords = {} if parameters is None else {"parameters": parameters}
        return model.predict(_as_input(instances), **keywords)

    return predict


def _load_booster(path: Path) -> Callable[[Any, Any], Any]:
    import numpy as np
    import xgboost

    booster = xgboost.Booster(model_file=str(path))
    return lambda instances, _: booster.predict(xgboost.DMatrix(np.asarray(instances, dtype=float)))


def _as_input(instances: Any) -> Any:
    """Rows become an array at once, which estimators would do one by one; texts stay a list."""
    if isinstance(instances, list) and instances and isinstance(instances[0], list):
        import numpy as np

        return np.asarray(instances)
    return instances
