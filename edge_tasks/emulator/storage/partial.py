"""Partial answers: `fields=items(name,metadata/owner),nextPageToken`.

https://cloud.google.com/storage/docs/json_api#partial-response
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from edge_tasks.emulator.storage.errors import wrong_parameter

# What is wanted of each field; an empty mapping is all of it.
Mask = dict[str, Any]


@lru_cache(maxsize=256)
def parse(fields: str) -> Mask:
    """Read a `fields` parameter."""
    mask, rest = _list(fields, fields)
    if rest:
        raise wrong_parameter("fields", fields)
    return mask


def names_at(fields: str | None, name: str) -> Collection[str] | None:
    """Return which fields are wanted of what stands under a name; None when that is all of them."""
    mask = parse(fields) if fields else {}
    if not mask or "*" in mask:
        return None
    inner = mask.get(name)
    if inner is None:
        return ()
    return None if not inner or "*" in inner else inner.keys()


def select(value: Any, mask: Mask) -> Any:
    """Return the wanted part of a value."""
    if not mask or ("*" in mask and not mask["*"]):
        return value
    if isinstance(value, list):
        return [select(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    every = mask.get("*")
    return {
        name: select(item, mask.get(name, every) or {})
        for name, item in value.items()
        if name in mask or every is not None
    }


def _list(text: str, whole: str) -> tuple[Mask, str]:
    mask: Mask = {}
    while True:
        path, text = _path(text, whole)
        inner: Mask = {}
        if text.startswith("("):
            inner, text = _list(text[1:], whole)
            if not text.startswith(")"):
                raise wrong_parameter("fields", whole)
            text = text[1:]
        node = mask
        for name in path[:-1]:
            node = node.setdefault(name, {})
        if path[-1] in node and node[path[-1]] and inner:
            node[path[-1]] |= inner
        else:
            node[path[-1]] = inner
        if not text.startswith(","):
            return mask, text
        text = text[1:]


def _path(text: str, whole: str) -> tuple[list[str], str]:
    end = next((place for place, letter in enumerate(text) if letter in ",()"), len(text))
    path = [name.strip() for name in text[:end].split("/")]
    if not all(path):
        raise wrong_parameter("fields", whole)
    return path, text[end:]
