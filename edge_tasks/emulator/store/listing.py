"""List methods: filter, order, and pages that stay true while resources come and go."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.store.filters import compile_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.store.database import Row
    from edge_tasks.emulator.store.filters import Function

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000


def page(
    rows: list[Row],
    request: Message,
    descriptor: Any,
    ids: Mapping[str, str] | None = None,
    functions: Mapping[str, Function] | None = None,
    *,
    oldest_first: bool = False,
) -> tuple[list[Message], str]:
    """Return the messages of one page and the token of the next, as a list request asks.

    Without an order the newest comes first and a page continues below the last row it showed, so nothing is
    skipped when rows vanish between two pages. With an order the page continues at a position.
    `oldest_first` is how some methods list what has no other order.
    """
    size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
    if size < 0:
        raise invalid("page_size must not be negative.")
    keep = compile_filter(getattr(request, "filter", ""), descriptor, ids, functions)
    rows = [row for row in rows if keep(row.message)]
    order = getattr(request, "order_by", "")
    asked = [getattr(request, "filter", ""), order]
    position = _read_token(request.page_token, asked)
    if order:
        rows = _ordered(rows, order, descriptor)
        start = position
    elif oldest_first:
        rows = rows[::-1]
        start = next((i for i, row in enumerate(rows) if row.seq > position), len(rows))
    else:
        start = next((i for i, row in enumerate(rows) if row.seq < position), len(rows)) if position else 0
    shown = rows[start : start + size]
    messages = [_masked(row.message, request) for row in shown]
    if start + size >= len(rows) or not shown:
        return messages, ""
    following = start + size if order else shown[-1].seq
    return messages, _write_token(following, asked)


def _masked(message: Message, request: Message) -> Message:
    """Return only the fields that `read_mask` asks for (https://google.aip.dev/157), the name always."""
    mask = getattr(request, "read_mask", None)
    if mask is None or not mask.paths or list(mask.paths) == ["*"]:
        return message
    result = type(message)()
    plain = type(mask)()
    for path in mask.paths:
        within = _split_at_struct(path.split("."), message.DESCRIPTOR)
        if within is None:
            raise invalid(f"Invalid read_mask: {path!r} is not a field of {message.DESCRIPTOR.name}.")
        field, key = within
        if key:
            _copy_key(getattr(message, field), getattr(result, field), key)
        else:
            plain.paths.append(path)
    plain.MergeMessage(message, result)
    result.name = message.name
    return result


def _split_at_struct(parts: list[str], descriptor: Any) -> tuple[str, str] | None:
    """Return the first field of a path, and the key when it is a Struct's; None when there is no such field."""
    for index, part in enumerate(parts):
        field = descriptor.fields_by_name.get(part)
        if field is None:
            return None
        rest = parts[index + 1 :]
        if not rest:
            break
        if field.message_type is None or field.is_repeated:
            return None
        if field.message_type.full_name == "google.protobuf.Struct":
            return (parts[0], rest[0]) if index == 0 else None
        descriptor = field.message_type
    return parts[0], ""


def _copy_key(source: Message, target: Message, key: str) -> None:
    """Copy a key of a Struct, which masks in JSON name as a field: `pipeline_info` is the key pipelineInfo."""
    first, *others = key.split("_")
    for name in (key, first + "".join(map(str.capitalize, others))):
        if name in source.fields:
            target.fields[name].CopyFrom(source.fields[name])


def _ordered(rows: list[Row], order: str, descriptor: Any) -> list[Row]:
    """Sort by `display_name desc, create_time`; the last key is sorted first, since sorting is stable."""
    for term in reversed(order.split(",")):
        words = term.split()
        if not words or len(words) > 2 or (len(words) == 2 and words[1].lower() not in {"asc", "desc"}):
            raise invalid(f"Invalid order_by {order!r}: write `field [asc|desc], ...`.")
        name = words[0]
        field = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
        if field is None or field.is_repeated:
            raise invalid(f"Invalid order_by {order!r}: {name!r} is not a field to order by.")
        rows = sorted(
            rows,
            key=lambda row, field=field: _sort_key(getattr(row.message, field.name)),  # type: ignore[misc]
            reverse=len(words) == 2 and words[1].lower() == "desc",
        )
    return rows


def _sort_key(value: Any) -> Any:
    if hasattr(value, "nanos"):
        return (value.seconds, value.nanos)
    return str(value) if hasattr(value, "DESCRIPTOR") else value


def _write_token(position: int, asked: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, *asked]).encode()).decode()


def _read_token(token: str, asked: list[str]) -> int:
    if not token:
        return 0
    try:
        position, *rest = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error):
        raise invalid("Invalid page_token.") from None
    if rest != asked or not isinstance(position, int) or position < 0:
        raise invalid("Invalid page_token: it belongs to a list with another filter or order.")
    return position
