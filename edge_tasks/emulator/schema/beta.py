"""v1beta1 in the words of v1: the few fields of the same meaning that bear another name, and those that v1 has not.

Of fields that only v1beta1 has, the messages hold those that the emulator honours (`FIELDS`): v1 refuses them by their
names, and its answers do not have them. All others stay unknown, so that they are refused by their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from edge_tasks.emulator.errors import invalid

# A deployed model's container is logged when v1beta1 says so, and unless v1 says otherwise.
ENABLE, DISABLE = "enableContainerLogging", "disableContainerLogging"
# By message.
FIELDS = {
    "Schedule": ("create_model_monitoring_job_request",),
    "DedicatedResources": ("initial_replica_count", "scale_to_zero_spec"),
}
_OURS = "google.cloud.aiplatform.v1."
_NAMES = frozenset(f"{_OURS}{kind}.{field}" for kind, fields in FIELDS.items() for field in fields)
# Whether messages of a type can hold such fields, however deep.
_can_hold: dict[str, bool] = {}


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


def refuse(message: Any) -> None:
    """Refuse a request of v1 that holds what only v1beta1 has."""
    for _, field in _found(message):
        where = field.containing_type.name
        raise invalid(
            f'Invalid JSON payload received. Unknown name "{field.json_name}" of {where}: Cannot find field.'
            " It is one of v1beta1."
        )


def forget(message: Any) -> None:
    """Take what only v1beta1 has out of an answer of v1."""
    for owner, field in list(_found(message)):
        owner.ClearField(field.name)


def _found(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the fields that are set and only v1beta1 has, with the messages that hold them."""
    if not _holds(message.DESCRIPTOR):
        return
    for field, value in message.ListFields():
        if field.full_name in _NAMES:
            yield message, field
        elif field.message_type is None:
            continue
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for part in value.values():
                    yield from _found(part)
        elif field.is_repeated:
            for part in value:
                yield from _found(part)
        else:
            yield from _found(value)


def _holds(descriptor: Any) -> bool:
    known = _can_hold.get(descriptor.full_name)
    if known is None:
        known = _can_hold[descriptor.full_name] = _reaches(descriptor)
    return known


def _reaches(descriptor: Any) -> bool:
    seen, left = {descriptor.full_name}, [descriptor]
    while left:
        for field in left.pop().fields:
            if field.full_name in _NAMES:
                return True
            kind = field.message_type
            if kind is not None and kind.full_name not in seen:
                seen.add(kind.full_name)
                left.append(kind)
    return False
