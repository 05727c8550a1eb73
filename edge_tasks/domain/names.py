"""Which of the known names somebody meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# How alike two names must be, from 0 to 1.
_ALIKE = 0.6


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the name of `known` that `word` is most like, or None when none is like it."""
    by_plain = {plain(name): name for name in known}
    if found := by_plain.get(plain(word)):
        return found
    near = difflib.get_close_matches(plain(word), by_plain, n=1, cutoff=_ALIKE)
    return by_plain[near[0]] if near else None


def plain(name: str) -> str:
    """Return `name` as it is compared: in lower case, with one kind of separator."""
    return re.sub(r"[.:/_ -]+", "-", name.strip().lower()).strip("-")
