"""Values of any kind as JSON knows them."""

from __future__ import annotations

import json
from typing import Any


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it; what JSON has no word for becomes its text."""
    try:
        return json.loads(json.dumps(value, default=_plain_item))
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _plain_item(value: Any) -> Any:
    # numpy's numbers and arrays know themselves how to become Python's.
    return value.tolist() if hasattr(value, "tolist") else str(value)
