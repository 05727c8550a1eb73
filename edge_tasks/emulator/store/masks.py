"""Field masks: `update_mask` of patch methods (https://google.aip.dev/161)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_tasks.emulator.schema.surface import Message


def apply_mask(target: Message, source: Message, paths: Iterable[str], mutable: frozenset[str]) -> None:
    """Copy the masked fields of `source` into `target`; a field that is not set there is cleared.

    `mutable` names the fields that a client may change; a mask of `*` means all of them.
    """
    paths = list(paths)
    if not paths:
        raise invalid("update_mask is required: name the fields to update.")
    if paths == ["*"]:
        paths = sorted(mutable)
    for path in paths:
        name, _, rest = path.partition(".")
        field = target.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise invalid(f"Invalid update_mask: {path!r} is not a field of {target.DESCRIPTOR.name}.")
        if name not in mutable:
            raise invalid(f"Invalid update_mask: {path!r} cannot be updated; these can: {', '.join(sorted(mutable))}.")
        if rest and _is_map(field):
            _copy_key(getattr(target, name), getattr(source, name), rest)
        elif rest:
            raise invalid(f"Invalid update_mask: name {name!r} as a whole.")
        else:
            target.ClearField(name)
            _copy_field(target, source, field)


def _copy_field(target: Message, source: Message, field: Any) -> None:
    one_field = type(source)()
    one_field.CopyFrom(source)
    for other, _ in source.ListFields():
        if other.name != field.name:
            one_field.ClearField(other.name)
    target.MergeFrom(one_field)


def _copy_key(target: Message, source: Message, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _is_map(field: Any) -> bool:
    message_type = field.message_type
    return message_type is not None and bool(message_type.GetOptions().map_entry)
