"""The filter language of list methods: `display_name="x" AND NOT labels.env:*` (https://google.aip.dev/160).

Fields are checked against the message type, so a filter on a field that does not exist is refused with its
name, as Vertex AI does, instead of silently matching nothing.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from edge_tasks.emulator.errors import ApiError, invalid
from edge_tasks.emulator.expressions import Parser

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message

Predicate: TypeAlias = Callable[["Message"], bool]
Function: TypeAlias = Callable[[str], Predicate]

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator><=|>=|!=|=|<|>|:)
      | (?P<mark>[()])
      | (?P<word>[^\s"'()<>=!:]+)
    )""",
    re.VERBOSE,
)
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EQUALITIES = frozenset({"=", "!=", ":"})
STRUCT_TYPES: Mapping[str, Callable[[str], Any]] = {
    "string_value": str,
    "number_value": float,
    "bool_value": lambda text: {"true": True, "false": False}[text.lower()],
}
MAX_LENGTH = 10_000


def compile_filter(
    text: str,
    descriptor: Any,
    ids: Mapping[str, str] | None = None,
    functions: Mapping[str, Function] | None = None,
) -> Predicate:
    """Return a function that tells whether a message of `descriptor`'s type passes the filter.

    Some ids are separate filters, such as `model=123` in a list of models: `ids` says what the name of
    the resource begins with, here {"model": "projects/P/locations/L/models/"}. `functions` are what a message
    does not know of itself: `in_context("...")` or `child_contexts:"..."`.
    """
    if len(text) > MAX_LENGTH:
        raise invalid(f"Invalid filter: longer than {MAX_LENGTH} characters.")
    if not text.strip():
        return lambda _: True
    return _Parser(text, descriptor, ids or {}, functions or {}).whole()


class _Parser(Parser[Predicate]):
    """OR binds less than AND, as in the older list filters of Vertex AI."""

    TOKEN = TOKEN
    JOINS = (("OR", "or"), ("AND", "and"))
    NOT = ("NOT", "not")
    SIDE_BY_SIDE = "AND"
    NAMES: ClassVar[Mapping[str, str]] = {
        "word": "a name or value",
        "operator": "an operator (= != < <= > >= :)",
    }

    def __init__(self, text: str, descriptor: Any, ids: Mapping[str, str], functions: Mapping[str, Function]) -> None:
        super().__init__(text)
        self._descriptor = descriptor
        self._ids = ids
        self._functions = functions

    def joined(self, signs: Sequence[str], parts: Sequence[Predicate]) -> Predicate:
        if signs[0].upper() == "OR":
            return lambda m: any(part(m) for part in parts)
        return lambda m: all(part(m) for part in parts)

    def negated(self, part: Predicate) -> Predicate:
        return lambda m: not part(m)

    def take_not(self) -> bool:
        """`-state=FAILED` is `NOT state=FAILED`; the minus is part of the word that it stands before."""
        return super().take_not() or self.take_start("word", "-")

    def error(self, problem: str) -> ApiError:
        return invalid(f"Invalid filter {self.text!r}: {problem}.")

    def term(self) -> Predicate:
        path = self.next("word").text
        if path in self._functions:
            return self._call(path)
        # labels."key with dots" and metadata."key:1".number_value: the key follows as a string.
        if path.endswith(".") and self.is_next("string"):
            parts = [*path[:-1].split("."), _unquote(self.next("string").text)]
            if self.take_start("word", "."):
                parts += self.next("word").text.split(".")
        else:
            parts = path.split(".")
        sign = self.next("operator").text
        if self.is_next("string"):
            return self._compare(parts, sign, _unquote(self.next("string").text))
        value = self.next("word").text
        # A bare time holds colons: 2026-01-01T00:00:00Z
        while self.take(":"):
            value += ":" + self.next("word").text
        return self._compare(parts, sign, value)

    def _call(self, name: str) -> Predicate:
        """Read `name("argument")`, or `name:"argument"`, which means the same, or `name!="argument"`."""
        bracket = self.take("(")
        sign = "=" if bracket else self.next("operator").text
        if sign not in {":", "=", "!="}:
            raise self.error(f"{name} is compared with :, = or !=")
        argument = _unquote(self.next("string").text) if self.is_next("string") else self.next("word").text
        if bracket:
            self.expect(")")
        holds = self._functions[name](argument)
        return holds if sign != "!=" else lambda m: not holds(m)

    def _compare(self, parts: list[str], sign: str, wanted: str) -> Predicate:
        prefix = self._ids.get(".".join(parts))
        if prefix is not None:
            parts, wanted = ["name"], wanted if wanted.startswith(prefix) else prefix + wanted
        if sign == ":" and len(parts) == 1 and _is_map_of(self._descriptor, parts[0]):
            # labels:key is labels.key:*
            parts, wanted = [*parts, wanted], "*"
        read = _reader(parts, self._descriptor)
        if sign == ":" and wanted == "*":
            return read.has
        convert = read.converter(wanted)
        if sign in EQUALITIES and (isinstance(convert, str) or read.is_list):
            matches = _text_matcher(convert) if isinstance(convert, str) else lambda values: convert in values
            if sign == "!=":
                return lambda m: not matches(read.get(m))
            return lambda m: matches(read.get(m))
        if read.is_list:
            raise invalid(f"Invalid filter: {'.'.join(parts)} is a list, which is compared with :, = or !=.")
        compare = COMPARISONS[sign]

        def predicate(message: Message) -> bool:
            value = read.get(message)
            return sign == "!=" if value is None else bool(compare(value, convert))

        return predicate


class _FieldReader:
    """Reads one field of a message as a comparable value; None when it is not set."""

    def __init__(self, fields: list[Any], key: str | None) -> None:
        self._fields = fields
        self._key = key
        self.is_list = bool(fields[-1].is_repeated) and key is None

    def get(self, message: Message) -> Any:
        for field in self._fields[:-1]:
            message = getattr(message, field.name)
        last = self._fields[-1]
        value = getattr(message, last.name)
        if self._key is not None:
            return value.get(self._key) if hasattr(value, "get") else None
        if _kind(last) == "message" and not self.is_list:
            return _timestamp(value) if message.HasField(last.name) else None
        return value

    def has(self, message: Message) -> bool:
        """Whether the field is set: a key may have an empty value, a field with an empty one is not set."""
        value = self.get(message)
        return value is not None if self._key is not None else bool(value)

    def converter(self, wanted: str) -> Any:
        """Return the wanted value in the type of the field."""
        field = self._fields[-1]
        if self._key is not None:
            return wanted
        kind = _kind(field)
        try:
            if kind == "enum":
                known = field.enum_type.values_by_name
                return known[wanted].number if wanted in known else int(wanted)
            if kind == "message":
                if field.message_type.full_name != "google.protobuf.Timestamp":
                    raise invalid(f"Invalid filter: {field.name} cannot be compared with a value.")
                return _parse_time(wanted)
            if kind == "bool":
                return {"true": True, "false": False}[wanted.lower()]
            if kind == "number":
                return float(wanted)
        except (ValueError, KeyError):
            raise invalid(f"Invalid filter: {wanted!r} is not a value of {field.name}.") from None
        return wanted


class _StructReader:
    """Reads a value of a Struct by its type: `metadata.accuracy.number_value`."""

    def __init__(self, field: Any, path: list[str]) -> None:
        if len(path) != 2 or path[1] not in STRUCT_TYPES:
            raise invalid(f"Invalid filter: write {field.name}.KEY.TYPE, where TYPE is {' or '.join(STRUCT_TYPES)}.")
        self._name = field.name
        self._key, self._type = path
        self.is_list = False

    def has(self, message: Message) -> bool:
        return self.get(message) is not None

    def get(self, message: Message) -> Any:
        value = getattr(message, self._name).fields.get(self._key)
        return getattr(value, self._type) if value is not None and value.HasField(self._type) else None

    def converter(self, wanted: str) -> Any:
        try:
            return STRUCT_TYPES[self._type](wanted)
        except (ValueError, KeyError):
            raise invalid(f"Invalid filter: {wanted!r} is not a {self._type}.") from None


def _reader(parts: list[str], descriptor: Any) -> _FieldReader | _StructReader:
    fields: list[Any] = []
    for index, part in enumerate(parts):
        field = _field(descriptor, part)
        if field is None:
            raise invalid(f"Invalid filter: unknown field {'.'.join(parts)!r}.")
        fields.append(field)
        rest = parts[index + 1 :]
        if _is_map(field):
            if not rest:
                raise invalid(f"Invalid filter: name a key, such as {part}.KEY.")
            return _FieldReader(fields, ".".join(rest))
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Struct":
            return _StructReader(field, rest)
        if field.is_repeated and rest:
            raise invalid(f"Invalid filter: {part} is a list.")
        if rest:
            if field.message_type is None:
                raise invalid(f"Invalid filter: unknown field {'.'.join(parts)!r}.")
            descriptor = field.message_type
    return _FieldReader(fields, None)


def _text_matcher(wanted: str) -> Callable[[Any], bool]:
    """Text matches whole, or by `*` as a wildcard; `:` on a list means that it holds the text."""
    pattern = re.compile(fnmatch.translate(wanted.replace("[", "[[]").replace("?", "[?]")))

    def matches(value: Any) -> bool:
        if value is None:
            return False
        if isinstance(value, str):
            return value == wanted or ("*" in wanted and pattern.match(value) is not None)
        return any(matches(str(part)) for part in value)

    return matches


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _field(descriptor: Any, name: str) -> Any:
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def _is_map_of(descriptor: Any, name: str) -> bool:
    field = _field(descriptor, name)
    return field is not None and _is_map(field)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _kind(field: Any) -> str:
    if field.message_type is not None:
        return "message"
    if field.enum_type is not None:
        return "enum"
    if field.type == field.TYPE_BOOL:
        return "bool"
    return "text" if field.type in {field.TYPE_STRING, field.TYPE_BYTES} else "number"


def _timestamp(value: Any) -> Any:
    """Return a Timestamp as (seconds, nanoseconds); other messages do not compare."""
    return (value.seconds, value.nanos) if hasattr(value, "nanos") else value


def _parse_time(text: str) -> tuple[int, int]:
    from google.protobuf.timestamp_pb2 import Timestamp

    stamp = Timestamp()
    stamp.FromJsonString(text if "T" in text else f"{text}T00:00:00Z")
    return stamp.seconds, stamp.nanos
