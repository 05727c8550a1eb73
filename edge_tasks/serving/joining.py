"""Which models answer each row by itself: requests that wait at the same time are then answered by one call.

A call of a pipeline over one row costs as much as over eight: it is not the rows that take time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edge_tasks.domain.model_formats import format_of
from edge_tasks.serving.pickle_scan import UnreadablePickleError, needed_names

# `EDGE_SERVING_JOIN=0` in `serving_env` turns it off.
VARIABLE = "EDGE_SERVING_JOIN"

# Formats of libraries whose models look at each row by itself.
_BY_ROW = ("xgboost", "lightgbm", "catboost")
# What else a pickle may name: the model's own code might look at all rows of a request.
_LIBRARIES = frozenset({"sklearn", "numpy", "scipy", "pandas", "joblib", "xgboost", "lightgbm", "catboost"})
_PLAIN = frozenset({"builtins", "collections", "copyreg", "_codecs", "datetime"})
# These run what they are given.
_EXCEPT = ("FunctionTransformer", "eval", "exec", "getattr", "compile", "__import__")


def parts(predictions: Any, counts: Iterable[int]) -> Iterator[Any]:
    """Yield the predictions of each request, which had so many rows."""
    start = 0
    for count in counts:
        yield predictions[start : start + count]
        start += count


def can_join(artifacts: Path) -> bool:
    """Say whether requests may be answered together: the model in a folder looks at each row by itself."""
    if os.environ.get(VARIABLE) == "0":
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
