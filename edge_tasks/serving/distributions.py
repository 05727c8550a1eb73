"""Which installed packages bring which modules.

`importlib.metadata.packages_distributions` tells it, too: from Python 3.11 on, and in a second for a few hundred
packages, since it makes objects of all their files. Each training waits for this one.
https://docs.python.org/3/library/importlib.metadata.html#mapping-import-to-distribution-packages
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata

_NAME = re.compile(r"^Name: *(.+?) *$", re.MULTILINE)
# The first part of each file's path, and whether there are more:
# https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file
_TOP = re.compile(r'^"?([^/,\n]+)(/?)', re.MULTILINE)


@cache
def by_module() -> dict[str, list[str]]:
    """Return the names of the packages that bring each top-level module."""
    found: dict[str, list[str]] = {}
    for distribution in metadata.distributions():
        about = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        if name := _NAME.search(about):
            declared = (distribution.read_text("top_level.txt") or "").split()
            for module in declared or _inferred(distribution):
                found.setdefault(module, []).append(name.group(1))
    return found


def _inferred(distribution: metadata.Distribution) -> Iterator[str]:
    record = distribution.read_text("RECORD")
    if record is None:
        record = "\n".join(map(str, distribution.files or ()))
    for top, more in sorted(set(_TOP.findall(record))):
        module = top if more else inspect.getmodulename(top) or top
        if "." not in module and module != "__pycache__":
            yield module
