"""The conditions of tasks: the part of the Common Expression Language that kfp writes, parsed and never run as code.

https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto (TriggerPolicy.condition)

    inputs.parameter_values['pipelinechannel--flip-Output'] == 'heads' && !(int(inputs.parameter_values['n']) > 2)
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Evaluate: TypeAlias = Callable[[Mapping[str, Any]], Any]

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
      | (?P<sign>&&|\|\||==|!=|<=|>=|<|>|!|\(|\)|\[|\])
      | (?P<word>[A-Za-z_][\w.]*)
    )""",
    re.VERBOSE,
)
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CONSTANTS = {"true": True, "false": False, "null": None}
PARAMETERS = "inputs.parameter_values"
MOST_CHARACTERS = 100_000
MOST_LEVELS = 200


class ConditionError(ValueError):
    """A condition is not one, or cannot be applied to the values it is asked about."""


def compile_condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return a function from a task's input parameters to whether its condition holds."""
    if len(text) > MOST_CHARACTERS:
        raise ConditionError(f"A condition has more than {MOST_CHARACTERS} characters.")
    evaluate = _Parser(text).parse()

    def holds(parameters: Mapping[str, Any]) -> bool:
        value = evaluate(parameters)
        if not isinstance(value, bool):
            raise ConditionError(f"The condition {text!r} gives {value!r}, which is neither true nor false.")
        return value

    return holds


class _Parser:
    """Recursive descent: `||` binds less than `&&`, that less than comparisons, those less than `!`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read(text))
        self._position = 0
        self._level = 0

    def parse(self) -> Evaluate:
        found = self._any()
        if self._position < len(self._tokens):
            raise self._error(f"unexpected {self._tokens[self._position][1]!r}")
        return found

    def _read(self, text: str) -> list[tuple[str, str]]:
        found, position = [], 0
        text = text.rstrip()
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self._error(f"cannot read {text[position : position + 20]!r}")
            found.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return found

    def _any(self) -> Evaluate:
        parts = [self._all()]
        while self._take("||"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda values: any(_truth(part(values)) for part in parts)

    def _all(self) -> Evaluate:
        parts = [self._comparison()]
        while self._take("&&"):
            parts.append(self._comparison())
        return parts[0] if len(parts) == 1 else lambda values: all(_truth(part(values)) for part in parts)

    def _comparison(self) -> Evaluate:
        left = self._one()
        for sign, compare in COMPARISONS.items():
            if self._take(sign):
                right = self._one()
                return lambda values: _compared(compare, sign, left(values), right(values))
        return left

    def _one(self) -> Evaluate:
        self._level += 1
        if self._level > MOST_LEVELS:
            raise self._error("it is nested too deeply")
        try:
            if self._take("!"):
                inner = self._one()
                return lambda values: not _truth(inner(values))
            if self._take("("):
                inner = self._any()
                self._expect(")")
                return inner
            return self._value()
        finally:
            self._level -= 1

    def _value(self) -> Evaluate:
        kind, text = self._next()
        if kind == "string":
            value: Any = _unquoted(text)
        elif kind == "number":
            value = float(text) if re.search(r"[.eE]", text) else int(text)
        elif text in CONSTANTS:
            value = CONSTANTS[text]
        elif text == PARAMETERS:
            return self._parameter()
        elif text in CONVERSIONS and self._take("("):
            inner, convert = self._any(), CONVERSIONS[text]
            self._expect(")")
            return lambda values: _converted(convert, text, inner(values))
        else:
            raise self._error(f"{text!r} is not known")
        return lambda _: value

    def _parameter(self) -> Evaluate:
        self._expect("[")
        kind, text = self._next()
        if kind != "string":
            raise self._error(f"{PARAMETERS} takes a name, not {text!r}")
        self._expect("]")
        name = _unquoted(text)

        def read(values: Mapping[str, Any]) -> Any:
            if name not in values:
                raise ConditionError(f"A condition asks for the parameter {name!r}, which the task does not have.")
            return values[name]

        return read

    def _next(self) -> tuple[str, str]:
        if self._position == len(self._tokens):
            raise self._error("it ends too early")
        self._position += 1
        return self._tokens[self._position - 1]

    def _take(self, sign: str) -> bool:
        found = self._tokens[self._position : self._position + 1] == [("sign", sign)]
        self._position += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._error(f"{sign!r} is missing")

    def _error(self, problem: str) -> ConditionError:
        return ConditionError(f"Invalid condition {self._text[:500]!r}: {problem}.")


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConditionError(f"{value!r} stands in a condition where true or false is expected.")
    return value


def _compared(compare: Callable[[Any, Any], bool], sign: str, left: Any, right: Any) -> bool:
    # A boolean is not a number here, as it is in Python; kfp writes 'true' for what it compares with a boolean.
    if isinstance(left, bool) != isinstance(right, bool):
        left, right = _text(left), _text(right)
    try:
        return bool(compare(left, right))
    except TypeError:
        raise ConditionError(f"{left!r} and {right!r} cannot be compared by {sign}.") from None


def _converted(convert: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        raise ConditionError(f"{name}() of {value!r} is not possible.") from None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), text[1:-1])


CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda value: int(float(value)),
    "double": float,
    "string": _text,
    "bool": lambda value: value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()],
}
