"""Lengths of time as people write them: 30m, 12h, 7d, 2w."""

from __future__ import annotations

import re
from datetime import timedelta

from edge_tasks.errors import EdgeError

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PERIOD = re.compile(r"(\d{1,5})([mhdw])")


def read_period(text: str) -> timedelta:
    """Return a length of time such as 30m, 12h, 7d or 2w. Raises EdgeError for what is not one."""
    match = _PERIOD.fullmatch(text)
    if match is None or not int(match[1]):
        raise EdgeError(f"`{text}` is not a length of time", "write a number and m, h, d or w, such as 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def checked_period(text: str) -> str:
    """Return the text of a length of time. Raises ValueError for what is not one."""
    try:
        read_period(text)
    except EdgeError:
        raise ValueError("is not a length of time (a number and m, h, d or w, such as 7d)") from None
    return text


def write_period(seconds: float) -> str:
    """Return the shortest text for a length of time: 90m, 1h, 2d; seconds, such as 45s, where minutes do not do."""
    for unit, length in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"
