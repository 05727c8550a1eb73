"""Which installed packages bring which modules.

Python 3.10 knows that only of packages that declare their modules in top_level.txt. The wheels of numpy, pandas and
scikit-learn do not: https://docs.python.org/3/library/importlib.metadata.html#mapping-import-to-distribution-packages
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata


@cache
def by_module() -> dict[str, list[str]]:
    """Return the names of the packages that bring each top-level module."""
    return dict(metadata.packages_distributions()) if sys.version_info >= (3, 11) else declared_or_inferred()


def declared_or_inferred() -> dict[str, list[str]]:
    """Return the same, also where Python itself does not look at the files of a package."""
    found: dict[str, list[str]] = {}
    for distribution in metadata.distributions():
        declared = (distribution.read_text("top_level.txt") or "").split()
        for module in declared or dict.fromkeys(_inferred(distribution)):
            found.setdefault(module, []).append(distribution.metadata["Name"])
    return found


def _inferred(distribution: metadata.Distribution) -> Iterator[str]:
    for file in distribution.files or ():
        top, *rest = file.parts
        module = top if rest else inspect.getmodulename(top) or top
        if "." not in module:
            yield module
