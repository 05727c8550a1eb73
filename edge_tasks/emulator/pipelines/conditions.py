"""The conditions of tasks: the part of the Common Expression Language that kfp writes, parsed and never run as code.

https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto (TriggerPolicy.condition)

    inputs.parameter_values['pipelinechannel--flip-Output'] == 'heads' && !(int(inputs.parameter_values['n']) > 2)
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from edge_tasks.emulator.expressions import Parser

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


class ConditionError(ValueError):
    """A condition is not one, or cannot be applied to the values it is asked about."""


def compile_condition(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return a function from a task's input parameters to whether its condition holds."""
    if len(text) > MOST_CHARACTERS:
        raise ConditionError(f"A condition has more than {MOST_CHARACTERS} characters.")
    evaluate = _Parser(text).whole()

    def holds(parameters: Mapping[str, Any]) -> bool:
        value = evaluate(parameters)
        if not isinstance(value, bool):
            raise ConditionError(f"The condition {text!r} gives {value!r}, which is neither true nor false.")
        return value

    return holds


class _Parser(Parser[Evaluate]):
    """`||` binds less than `&&`, that less than comparisons, those less than `!`."""

    TOKEN = TOKEN
    JOINS = (("||",), ("&&",), tuple(COMPARISONS))
    NOT = ("!",)
    NAMES: ClassVar[Mapping[str, str]] = {"string": "a name in quotes"}
    MOST_LEVELS = 200

    def joined(self, signs: Sequence[str], parts: Sequence[Evaluate]) -> Evaluate:
        if signs[0] == "||":
            return lambda values: any(_truth(part(values)) for part in parts)
        if signs[0] == "&&":
            return lambda values: all(_truth(part(values)) for part in parts)
        if len(signs) > 1:
            raise self.error(f"unexpected {signs[1]!r}")
        left, right = parts
        return lambda values: _compared(signs[0], left(values), right(values))

    def negated(self, part: Evaluate) -> Evaluate:
        return lambda values: not _truth(part(values))

    def term(self) -> Evaluate:
        kind, text = self.next("string", "number", "word")
        if kind == "string":
            value: Any = _unquoted(text)
        elif kind == "number":
            value = float(text) if re.search(r"[.eE]", text) else int(text)
        elif text in CONSTANTS:
            value = CONSTANTS[text]
        elif text == PARAMETERS:
            return self._parameter()
        elif text in CONVERSIONS and self.take("("):
            inner, convert = self.expression(), CONVERSIONS[text]
            self.expect(")")
            return lambda values: _converted(convert, text, inner(values))
        else:
            raise self.error(f"{text!r} is not known")
        return lambda _: value

    def error(self, problem: str) -> ConditionError:
        return ConditionError(f"Invalid condition {self.text[:500]!r}: {problem}.")

    def _parameter(self) -> Evaluate:
        self.expect("[")
        name = _unquoted(self.next("string").text)
        self.expect("]")

        def read(values: Mapping[str, Any]) -> Any:
            if name not in values:
                raise ConditionError(f"A condition asks for the parameter {name!r}, which the task does not have.")
            return values[name]

        return read


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConditionError(f"{value!r} stands in a condition where true or false is expected.")
    return value


def _compared(sign: str, left: Any, right: Any) -> bool:
    # A boolean is not a number here, as it is in Python; kfp writes 'true' for what it compares with a boolean.
    if isinstance(left, bool) != isinstance(right, bool):
        left, right = _text(left), _text(right)
    try:
        return bool(COMPARISONS[sign](left, right))
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
