"""v1beta1 in the words of v1: the few fields of the same meaning that bear another name.

Those that only v1beta1 has stay what they are, so that they are refused by their names.
"""

from __future__ import annotations

from typing import Any

import orjson

# A deployed model's container is logged when v1beta1 says so, and unless v1 says otherwise.
ENABLE, DISABLE = "enableContainerLogging", "disableContainerLogging"


def as_v1(body: bytes) -> bytes:
    """Return a request's body as v1 would have it; one that is not JSON comes back as it is."""
    if ENABLE.encode() not in body:
        return body
    try:
        return orjson.dumps(_as_v1(orjson.loads(body)))
    except orjson.JSONDecodeError:
        return body


def _as_v1(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_v1(part) for part in value]
    if not isinstance(value, dict):
        return value
    told = {name: _as_v1(part) for name, part in value.items()}
    if isinstance(told.get(ENABLE), bool):
        told[DISABLE] = not told.pop(ENABLE)
    return told
