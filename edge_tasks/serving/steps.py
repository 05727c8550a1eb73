"""The steps of a scikit-learn model, called one by one.

A Pipeline and a ColumnTransformer look at each prediction at what cannot change any more once they are fitted: which
methods their steps have, what their tags are, who wants metadata, where the columns are. For one row that takes as long
as the steps themselves. Here it is found out once; the steps do what they always do, and the first answer is compared
with the model's own: https://scikit-learn.org/stable/modules/compose.html
"""

from __future__ import annotations

import contextlib
import sys
from collections import UserList
from collections.abc import Callable
from typing import Any

Ask = Callable[[Any], Any]


class Steps:
    """A method of a model, called by its steps once that was seen to give the same.

    `whole` is the method; it is called itself where its steps cannot be told apart.
    """

    def __init__(self, model: Any, name: str):
        self.whole: Callable[..., Any] = getattr(model, name)
        self._by_steps: Ask | None = None
        self._is_proven = False
        with contextlib.suppress(Exception):
            self._by_steps = _asked(model, name)

    @property
    def are_known(self) -> bool:
        """Whether the next answer comes from the steps."""
        return self._is_proven

    def __call__(self, rows: Any) -> Any:
        """Return what the method returns for some rows."""
        if self._by_steps is None:
            return self.whole(rows)
        if self._is_proven:
            return self._by_steps(rows)
        expected = self.whole(rows)
        with contextlib.suppress(Exception):
            self._is_proven = _same(expected, self._by_steps(rows))
        if not self._is_proven:
            self._by_steps = None
        return expected


def _asked(model: Any, name: str) -> Ask | None:
    """Return what calls a method of a pipeline by its steps; None for another model."""
    sklearn = sys.modules.get("sklearn")
    if sklearn is None or sklearn.get_config().get("enable_metadata_routing"):
        return None
    from sklearn.pipeline import Pipeline

    # Of the class itself: one that is derived may do anything else.
    if type(model) is not Pipeline:
        return None
    *before, (_, last) = model.steps
    if last is None or last == "passthrough":
        return None
    transforms = [_transforming(step) for _, step in before if step is not None and step != "passthrough"]
    ask = _asked(last, name) or getattr(last, name)

    def by_steps(rows: Any) -> Any:
        for transform in transforms:
            rows = transform(rows)
        return ask(rows)

    return by_steps


def _transforming(step: Any) -> Ask:
    """Return what transforms as a step does."""
    from sklearn.compose import ColumnTransformer

    return _asked(step, "transform") or (_by_columns(step) if type(step) is ColumnTransformer else step.transform)


def _by_columns(transformer: Any) -> Ask:
    """Return what transforms as a ColumnTransformer does; its own method unless it is of the plain kind.

    That is: over the columns of a DataFrame, by their names, to an array.
    """
    import pandas as pd
    from sklearn import get_config

    whole: Ask = transformer.transform
    names = getattr(transformer, "feature_names_in_", None)
    output = getattr(transformer, "_sklearn_output_config", {}).get("transform", get_config().get("transform_output"))
    if names is None or transformer.transformer_weights is not None or output not in (None, "default"):
        return whole
    expected = pd.Index(names)
    try:
        parts = [
            (_chosen(expected, columns), None if step == "passthrough" else _transforming(step))
            for _, step, columns in transformer.transformers_
            if not (isinstance(step, str) and step == "drop") and (isinstance(columns, str) or len(columns))
        ]
    except (TypeError, KeyError, IndexError):
        return whole
    if not parts:
        return whole
    joined = _joined_sparse if transformer.sparse_output_ else _joined

    def by_columns(table: Any) -> Any:
        if type(table) is not pd.DataFrame or not table.columns.equals(expected):
            return whole(table)
        chosen = ((choose(table), transform) for choose, transform in parts)
        return joined([part if transform is None else transform(part) for part, transform in chosen])

    return by_columns


def _chosen(names: Any, columns: Any) -> Ask:
    """Return what takes some columns out of a DataFrame that has these names."""
    if isinstance(columns, str):
        return lambda table: table[columns]
    if isinstance(columns, UserList):  # scikit-learn's list of the remaining columns, which warns who reads it
        columns = columns.data
    chosen = list(columns)
    if not all(isinstance(one, str) for one in chosen):
        chosen = names[chosen]  # by their places, or by a mask
    positions = names.get_indexer(chosen)
    if (positions < 0).any():
        raise KeyError(columns)
    return lambda table: table.take(positions, axis=1)


def _joined(parts: list[Any]) -> Any:
    import numpy as np

    return np.hstack([part.toarray() if hasattr(part, "toarray") else part for part in parts])


def _joined_sparse(parts: list[Any]) -> Any:
    from scipy import sparse
    from sklearn.utils import check_array

    return sparse.hstack([check_array(part, accept_sparse=True, ensure_all_finite=False) for part in parts]).tocsr()


def _same(one: Any, other: Any) -> bool:
    """Say whether two answers are equal, in type, shape and every value."""
    import numpy as np

    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    return False
