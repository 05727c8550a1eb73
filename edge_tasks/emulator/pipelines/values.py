"""Values of parameters: read by their type from JSON, whose numbers have no type, and from what a task wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edge_tasks.emulator.pipelines.ir import Parameter

EXPECTED = {
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
    "TASK_CONFIG": (dict,),
}
SELECTOR = re.compile(r"parseJson\(string_value\)((?:\[(?:\"[^\"]*\"|'[^']*'|\d+)\])*)")
STEP = re.compile(r"\[(?:\"([^\"]*)\"|'([^']*)'|(\d+))\]")


class ValueTypeError(ValueError):
    """A value is not of its parameter's type."""


def typed(kind: str, value: Any, name: str) -> Any:
    """Return a value as one of this type; `name` is the parameter's, for the error."""
    if value is None:
        return None
    if kind in {"NUMBER_INTEGER", "NUMBER_DOUBLE"}:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong(kind, value, name)
        if kind == "NUMBER_DOUBLE":
            return float(value)
        if value != int(value):
            raise _wrong(kind, value, name)
        return int(value)
    expected = EXPECTED.get(kind)
    if expected is not None and not isinstance(value, expected):
        raise _wrong(kind, value, name)
    return whole(value) if kind in {"LIST", "STRUCT"} else value


def whole(value: Any) -> Any:
    """Return JSON with its whole numbers as such: in a Struct of protobuf every number is a double."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    return [whole(part) for part in value] if isinstance(value, list) else value


def cast(kind: str, value: Any, name: str) -> Any:
    """Return a value of one type as another, where a pipeline joins what kfp allows to join.

    An item of a loop, or the text of a placeholder, may be a number or its text.
    """
    if isinstance(value, str) and kind not in {"STRING", ""}:
        return parsed(kind, value, name)
    if kind == "STRING" and value is not None and not isinstance(value, str):
        return text_of(value)
    return typed(kind, value, name) if kind else value


def parsed(kind: str, text: str, name: str) -> Any:
    """Return the value that a task has written into the file of an output parameter."""
    if kind == "STRING":
        return text
    try:
        value = json.loads(text.lower() if kind == "BOOLEAN" else text)
    except ValueError:
        raise _wrong(kind, text, name) from None
    return typed(kind, value, name)


def text_of(value: Any) -> str:
    """Return a value as a placeholder within a text shows it."""
    return value if isinstance(value, str) else json.dumps(value)


def given(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a component's inputs: those that are given, else the defaults; none for an optional one."""
    for name in values:
        if name not in parameters:
            raise ValueTypeError(f"The pipeline has no input parameter {name!r}.")
    found = {}
    for name, parameter in parameters.items():
        value = values.get(name)
        value = parameter.default if value is None else value
        if value is None and not parameter.optional:
            raise ValueTypeError(f"The input parameter {name!r} is required: it has no default.")
        if value is not None:
            found[name] = typed(parameter.kind, value, name)
    return found


def selected(selector: str, value: Any) -> Any:
    """Return the part of a value that a `parameterExpressionSelector` names: `parseJson(string_value)["a"]`."""
    match = SELECTOR.fullmatch(selector.strip())
    if match is None:
        raise ValueTypeError(f"The selector {selector!r} is not known.")
    found = value
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            raise ValueTypeError(f"{value!r} is not JSON, which {selector!r} reads.") from None
    try:
        for double, single, index in STEP.findall(match[1]):
            found = found[int(index)] if index else found[double or single]
    except (KeyError, IndexError, TypeError):
        raise ValueTypeError(f"{selector!r} finds nothing in {text_of(value)[:200]}.") from None
    return found


def _wrong(kind: str, value: Any, name: str) -> ValueTypeError:
    return ValueTypeError(f"The parameter {name!r} must be of the type {kind}; it is {text_of(value)[:200]}.")
