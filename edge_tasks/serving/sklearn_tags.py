"""scikit-learn 1.6 walks through all classes of an estimator at each look at its tags, a dozen times per prediction.

What it looks for depends on the class alone, so that a server asks once for each class. That walk is of 1.6 only: 1.7
has it no more. https://github.com/scikit-learn/scikit-learn/blob/1.6.1/sklearn/utils/_tags.py
"""

from __future__ import annotations

import sys
from typing import Any

_CURRENT = "__sklearn_tags__"


def look_once_per_class() -> None:
    """Let scikit-learn keep what it has found, if it is there and does such a walk."""
    tags: Any = sys.modules.get("sklearn.utils._tags")
    find = getattr(tags, "_find_tags_provider", None)
    if find is None or hasattr(find, "known"):
        return
    known: set[type] = set()

    def found(estimator: Any, warn: bool = True) -> Any:
        kind = type(estimator)
        if kind in known:
            return _CURRENT
        provider = find(estimator, warn)
        # Any other is told in a warning, each time.
        if provider == _CURRENT:
            known.add(kind)
        return provider

    found.known = known  # type: ignore[attr-defined]
    tags._find_tags_provider = found  # noqa: SLF001  (there is no other way to it)
