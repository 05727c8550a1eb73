"""Between JSON over HTTP and messages, by the rules of the SDK's own transports.

https://cloud.google.com/endpoints/docs/grpc/transcoding and https://protobuf.dev/programming-guides/json.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.http.exchange import Reply

if TYPE_CHECKING:
    from edge_tasks.emulator.http.exchange import Request
    from edge_tasks.emulator.http.routing import Route
    from edge_tasks.emulator.schema.surface import Message, Surface

UNKNOWN_FIELD = re.compile(r'no field named "([^"]*)"(?: at "([^"]*)")?')
MASK = "google.protobuf.FieldMask"


class Transcoder:
    """Reads requests into messages and writes messages as replies."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    def read(self, request: Request, route: Route) -> Message:
        """Return the RPC's request message: from the body, then the query, then the path."""
        message = self._surface.message_class(route.rpc.request_type)()
        body = request.json()
        if route.rule.body == "*":
            self._parse(body, message)
        elif route.rule.body:
            part = getattr(message, route.rule.body)
            part.SetInParent()
            self._parse(body, part)
        elif body:
            raise invalid("Invalid JSON payload received. This method takes no body.")
        if body:
            _check_depth(message)
        query = _query_tree(request.parameters(), message.DESCRIPTOR)
        if query:
            self._parse(query, message)
        for path, value in request.variables.items():
            target = message
            *parents, name = path.split(".")
            for parent in parents:
                target = getattr(target, parent)
            setattr(target, name, value)
        return message

    def write(self, message: Message, *, enum_numbers: bool) -> Reply:
        """Return a message as a JSON reply."""
        return Reply(orjson.dumps(self.to_json(message, enum_numbers=enum_numbers)))

    def to_json(self, message: Message, *, enum_numbers: bool) -> Any:
        """Return a message as JSON values."""
        return json_format.MessageToDict(
            message, use_integers_for_enums=enum_numbers, descriptor_pool=self._surface.pool
        )

    def _parse(self, value: dict[str, Any], message: Message) -> None:
        try:
            json_format.ParseDict(
                _with_camel_masks(value, message.DESCRIPTOR), message, descriptor_pool=self._surface.pool
            )
        except (json_format.ParseError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise invalid(_explain(str(error))) from None


def _check_depth(message: Message) -> None:
    """Refuse what protobuf would write and never read again: a stored message of that kind would be lost."""
    try:
        type(message).FromString(message.SerializeToString())
    except DecodeError:
        raise invalid("Invalid JSON payload received. The body is nested too deeply.") from None


def _explain(text: str) -> str:
    """Say what is wrong in the words of Google's front end."""
    unknown = UNKNOWN_FIELD.search(text)
    if unknown:
        name, at = unknown.groups()
        where = f" at '{at}'" if at else ""
        return f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    return f"Invalid JSON payload received. {text[:500]}"


def _query_tree(parameters: list[tuple[str, str]], descriptor: Any) -> dict[str, Any]:
    """Return query parameters (`a.b=c`) as the JSON object that they mean."""
    tree: dict[str, Any] = {}
    for name, text in parameters:
        node, owner = tree, descriptor
        *parents, last = name.split(".")
        for parent in parents:
            field = _field(owner, parent, name)
            if field.message_type is None or field.is_repeated:
                raise _unknown_parameter(name)
            owner = field.message_type
            node = node.setdefault(field.json_name, {})
        field = _field(owner, last, name)
        value = _query_value(field, text, name)
        if field.is_repeated:
            node.setdefault(field.json_name, []).append(value)
        else:
            node[field.json_name] = value
    return tree


def _field(owner: Any, part: str, name: str) -> Any:
    field = _field_or_none(owner, part)
    if field is None:
        raise _unknown_parameter(name)
    return field


def _field_or_none(owner: Any, name: str) -> Any:
    return owner.fields_by_name.get(name) or owner.fields_by_camelcase_name.get(name)


def _unknown_parameter(name: str) -> Exception:
    return invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')


def _query_value(field: Any, text: str, name: str) -> Any:
    if field.type == field.TYPE_BOOL:
        if text.lower() not in {"true", "false"}:
            raise invalid(f"Invalid value {text[:100]!r} for the query parameter {name!r}: true or false.")
        return text.lower() == "true"
    if _is_mask(field):
        return _camel_mask(text)
    if field.message_type is not None and not field.message_type.full_name.startswith("google.protobuf."):
        raise invalid(f"The query parameter {name!r} is an object: name its fields.")
    return text


def _with_camel_masks(value: dict[str, Any], descriptor: Any) -> dict[str, Any]:
    """Return a body whose own field masks are in camelCase, as json_format wants them."""
    fields = {name: _field_or_none(descriptor, name) for name, text in value.items() if isinstance(text, str)}
    masks = {name: _camel_mask(value[name]) for name, field in fields.items() if field is not None and _is_mask(field)}
    return value | masks if masks else value


def _is_mask(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.full_name == MASK)


def _camel_mask(text: str) -> str:
    """Masks come in camelCase from the SDK and in snake_case from people."""
    paths = (path.strip() for path in text.split(",") if path)
    return ",".join(re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), path) for path in paths)
