"""Between google.protobuf.Value and JSON values, as json_format does it, which takes ten times as long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message


def from_value(value: Message) -> Any:
    """Return what a Value holds; whole numbers are integers, as in JSON that clients make of it."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [from_value(part) for part in value.list_value.values]
    if kind == "struct_value":
        return {name: from_value(part) for name, part in value.struct_value.fields.items()}
    return getattr(value, kind) if kind in {"string_value", "bool_value"} else None


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
        for part in content:
            into_value(part, value.list_value.values.add())
