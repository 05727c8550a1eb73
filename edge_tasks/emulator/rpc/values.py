"""Between google.protobuf.Value and JSON values, as json_format does it, which takes many times as long.

Lists of numbers, of which most requests consist, are read and written as bytes of the wire format: a number in a list
takes 11 of them, the tag of the list's item, its length, the tag of `number_value`, and the number.
https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_tasks.emulator.schema.surface import Message

# Field 1 of a list, 9 bytes long; field 2 of a Value, 8 bytes.
_ITEM = b"\x0a\x09\x11"
_SIZE = len(_ITEM) + 8
# Field 2 of a PredictRequest.
_INSTANCES = b"\x12"


def from_value(value: Message) -> Any:
    """Return what a Value holds; whole numbers are integers, as in JSON that clients make of it."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return _numbers(value.list_value.SerializeToString()) or [from_value(part) for part in value.list_value.values]
    if kind == "struct_value":
        return {name: from_value(part) for name, part in value.struct_value.fields.items()}
    return getattr(value, kind) if kind in {"string_value", "bool_value"} else None


def from_rows(values: Sequence[Message], data: bytes) -> list[Any]:
    """Return what the instances of a PredictRequest hold, whose bytes are `data`.

    Rows of as many numbers each, the usual table, are read all at once.
    """
    return _table(values, data) or [from_value(value) for value in values]


def _table(values: Sequence[Message], data: bytes) -> list[Any] | None:
    """Return the rows when each is a list of as many numbers as the first, and they lie in `data` one after another."""
    if len(values) < 2 or values[0].WhichOneof("kind") != "list_value":
        return None
    first = values[0].SerializeToString()
    items = values[0].list_value.SerializeToString()
    if not items or _numbers(items) is None:
        return None
    start = data.find(first)
    head = first[: len(first) - len(items)]
    # Before each row: the field's tag, and the row's length.
    lead = _varint_size(len(first)) + 1
    size = lead + len(first)
    block = data[start - lead : start - lead + size * len(values)]
    if start < lead or len(block) != size * len(values):
        return None
    begin = lead + len(head)
    places = [*range(begin), *(at for at in range(begin, size) if (at - begin) % _SIZE < len(_ITEM))]
    if block[:1] != _INSTANCES or any(block[at::size] != block[at : at + 1] * len(values) for at in places):
        return None
    width = len(items) // _SIZE
    row = f"{begin}x" + "3xd" * width
    numbers = [int(one) if one.is_integer() else one for one in struct.unpack("<" + row * len(values), block)]
    return [numbers[at : at + width] for at in range(0, len(numbers), width)]


def _varint_size(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def _numbers(data: bytes) -> list[Any] | None:
    """Return the numbers of a list's bytes; None when it holds something else."""
    count, rest = divmod(len(data), _SIZE)
    if rest or any(data[place::_SIZE] != _ITEM[place : place + 1] * count for place in range(len(_ITEM))):
        return None
    numbers = struct.unpack("<" + "3xd" * count, data)
    return [int(number) if number.is_integer() else number for number in numbers]


def into_value(content: Any, value: Message) -> None:
    """Put a JSON value into a Value."""
    if content is None:
        value.null_value = 0
    elif isinstance(content, bool):
        value.bool_value = content
    elif isinstance(content, (int, float)):
        value.number_value = content
    elif isinstance(content, str):
        value.string_value = content
    elif isinstance(content, dict):
        value.struct_value.SetInParent()
        for name, part in content.items():
            into_value(part, value.struct_value.fields[name])
    else:
        value.list_value.SetInParent()
        if (data := _as_items(content)) is not None:
            value.list_value.MergeFromString(data)
            return
        for part in content:
            into_value(part, value.list_value.values.add())


def _as_items(content: Sequence[Any]) -> bytes | None:
    """Return the bytes of a list of numbers; None when it holds something else."""
    if not content or any(type(part) is not float and type(part) is not int for part in content):
        return None
    return b"".join([_ITEM + struct.pack("<d", part) for part in content])
