"""The parameters of a study, and which values they may have.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#ParameterSpec

Every domain maps its values to the unit interval and back, scaled as the study asks, so that an algorithm
works on the unit interval alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from edge_tasks.emulator.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_tasks.emulator.schema.surface import Message

Value: TypeAlias = float | int | str
Point: TypeAlias = dict[str, Value]

NAME = re.compile(r"[^\s=\0]+")
MOST_VALUES = 1000
LINEAR, LOG, REVERSE_LOG = "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"
# Which condition fits to the parameter that it is about.
CONDITIONS = {
    "integer_value_spec": "parent_int_values",
    "categorical_value_spec": "parent_categorical_values",
    "discrete_value_spec": "parent_discrete_values",
}
# By this much values of a discrete parameter may differ and be the same.
EPSILON = 1e-10


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`, both included: whole ones, or all."""

    low: float
    high: float
    scale: str
    whole: bool

    @property
    def ordered(self) -> bool:
        """Whether values near to each other are alike."""
        return True

    def holds(self, value: Value) -> bool:
        """Whether a value is legal."""
        return not isinstance(value, str) and self.low <= value <= self.high

    def from_unit(self, unit: float) -> Value:
        """Return the value at a place of the unit interval."""
        low, high = self._edges()
        if self.scale == LOG:
            value = _between_logs(low, high, unit)
        elif self.scale == REVERSE_LOG:
            value = low + (high - _between_logs(low, high, 1 - unit))
        else:
            value = low * (1 - unit) + high * unit
        return min(max(round(value) if self.whole else value, self.low), self.high)

    def to_unit(self, value: Value) -> float:
        """Return a value's place in the unit interval."""
        assert not isinstance(value, str)
        low, high = self._edges()
        if self.scale == LOG:
            start, place, end = math.log(low), math.log(value), math.log(high)
        elif self.scale == REVERSE_LOG:
            mirrored = max(low + (high - value), low)
            start, place, end = -math.log(high), -math.log(mirrored), -math.log(low)
        else:
            # Halved, since the width of the largest interval is not a float.
            start, place, end = low / 2, value / 2, high / 2
        # Rounding may leave no way between the edges.
        unit = (place - start) / (end - start) if end > start else 0.5
        return min(max(unit, 0.0), 1.0)

    def values(self) -> Iterator[Value]:
        """Return all values: for whole numbers only."""
        assert self.whole
        return iter(range(int(self.low), int(self.high) + 1))

    def _edges(self) -> tuple[float, float]:
        """Return the edges of the scale: whole numbers are as wide as one each."""
        return (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """A list of values: numbers in increasing order, or categories."""

    options: tuple[Value, ...]
    ordered: bool

    def holds(self, value: Value) -> bool:
        """Whether a value is legal."""
        return value in self.options

    def from_unit(self, unit: float) -> Value:
        """Return the value at a place of the unit interval, in which all have the same share."""
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def to_unit(self, value: Value) -> float:
        """Return the middle of a value's share of the unit interval."""
        return (self.options.index(value) + 0.5) / len(self.options)

    def values(self) -> Iterator[Value]:
        """Return all values."""
        return iter(self.options)


@dataclass(frozen=True)
class Parameter:
    """A parameter, and its conditional parameters, which exist for some of its values only."""

    name: str
    domain: Interval | Choices
    conditional: tuple[tuple[tuple[Value, ...], Parameter], ...] = ()

    def children(self, value: Value) -> list[Parameter]:
        """Return the conditional parameters that exist for a value of this one."""
        return [child for values, child in self.conditional if value in values]


def is_legal(point: Point, parameters: Sequence[Parameter]) -> bool:
    """Whether a point has a legal value for every parameter that exists in it, and nothing else."""
    wanted = {}
    remaining = list(parameters)
    while remaining:
        parameter = remaining.pop()
        if parameter.name not in point or not parameter.domain.holds(point[parameter.name]):
            return False
        wanted[parameter.name] = parameter
        remaining += parameter.children(point[parameter.name])
    return set(wanted) == set(point)


def read_parameters(specs: Iterable[Message]) -> tuple[Parameter, ...]:
    """Read the parameters of a study; what Vertex AI would refuse is refused."""
    parameters = tuple(_read(spec) for spec in specs)
    if not parameters:
        raise invalid("study_spec.parameters is required.")
    _check_names(parameters)
    return parameters


def _read(spec: Message) -> Parameter:
    name = spec.parameter_id
    if not NAME.fullmatch(name):
        raise invalid(f"Invalid parameter_id {name!r}: it must be set and not hold whitespace or `=`.")
    kind = spec.WhichOneof("parameter_value_spec")
    if kind is None:
        raise invalid(f"The parameter {name!r} needs a value spec: double, integer, categorical or discrete.")
    values = getattr(spec, kind)
    domain: Interval | Choices
    if kind in {"double_value_spec", "integer_value_spec"}:
        domain = _interval(name, values, _scale(spec), whole=kind == "integer_value_spec")
    else:
        domain = _choices(name, tuple(values.values), ordered=kind == "discrete_value_spec")
        if kind == "discrete_value_spec" and _is_log(_scale(spec)) and domain.options[0] <= 0:  # type: ignore[operator]
            raise invalid(f"The parameter {name!r} has a logarithmic scale: all its values must be positive.")
    children = tuple(_read_child(name, kind, domain, child) for child in spec.conditional_parameter_specs)
    return Parameter(name, domain, children)


def _read_child(
    parent: str, kind: str, domain: Interval | Choices, child: Message
) -> tuple[tuple[Value, ...], Parameter]:
    condition = child.WhichOneof("parent_value_condition")
    if condition is None or condition != CONDITIONS.get(kind):
        raise invalid(
            f"A conditional parameter of {parent!r} needs the condition"
            f" {CONDITIONS.get(kind, 'of an integer, categorical or discrete parent')}."
        )
    values = []
    for value in getattr(child, condition).values:
        # Discrete values are the same when they nearly are.
        found = _nearest(value, domain)
        if found is None:
            raise invalid(f"The condition {condition} names {value!r}, which is not a value of {parent!r}.")
        values.append(found)
    if not values:
        raise invalid(f"The condition {condition} of a conditional parameter of {parent!r} names no values.")
    return tuple(values), _read(child.parameter_spec)


def _nearest(value: Value, domain: Interval | Choices) -> Value | None:
    if domain.holds(value):
        return value
    if isinstance(domain, Choices) and domain.ordered:
        return next((option for option in domain.options if abs(option - value) <= EPSILON), None)  # type: ignore[operator]
    return None


def _interval(name: str, values: Message, scale: str, *, whole: bool) -> Interval:
    low, high = values.min_value, values.max_value
    if not (math.isfinite(low) and math.isfinite(high)):
        raise invalid(f"The parameter {name!r} needs a finite min_value and max_value.")
    if low > high:
        raise invalid(f"The parameter {name!r} has a min_value of {low} above its max_value of {high}.")
    if _is_log(scale) and low <= 0:
        raise invalid(f"The parameter {name!r} has a logarithmic scale: its min_value must be positive, not {low}.")
    return Interval(low, high, scale, whole)


def _choices(name: str, values: tuple[Value, ...], *, ordered: bool) -> Choices:
    if not 1 <= len(values) <= MOST_VALUES:
        raise invalid(f"The parameter {name!r} needs 1 to {MOST_VALUES} values.")
    if ordered and not all(math.isfinite(value) for value in values):  # type: ignore[arg-type]
        raise invalid(f"The values of the parameter {name!r} must be finite.")
    if ordered and any(after - before < EPSILON for before, after in pairwise(values)):  # type: ignore[operator]
        raise invalid(f"The values of the parameter {name!r} must increase by at least 1e-10.")
    if len(set(values)) != len(values):
        raise invalid(f"The parameter {name!r} names a value twice.")
    if any("\0" in value for value in values if isinstance(value, str)):
        raise invalid(f"The values of the parameter {name!r} must not hold NUL characters.")
    return Choices(values, ordered)


def _between_logs(low: float, high: float, unit: float) -> float:
    exponent = math.log(low) * (1 - unit) + math.log(high) * unit
    # Rounded up, the largest number's logarithm has no power any more.
    return math.exp(min(exponent, math.log(high)))


def _scale(spec: Message) -> str:
    field = spec.DESCRIPTOR.fields_by_name["scale_type"]
    known = field.enum_type.values_by_number.get(spec.scale_type)
    if known is None:
        raise invalid(f"The parameter {spec.parameter_id!r} has an unknown scale_type.")
    return LINEAR if known.name == "SCALE_TYPE_UNSPECIFIED" else str(known.name)


def _is_log(scale: str) -> bool:
    return scale in {LOG, REVERSE_LOG}


def _check_names(parameters: Iterable[Parameter]) -> None:
    """Refuse two parameters of one name that could exist in one point."""
    seen: set[str] = set()
    for parameter in parameters:
        for name in _names(parameter):
            if name in seen:
                raise invalid(f"The parameter_id {name!r} is used twice.")
            seen.add(name)


def _names(parameter: Parameter) -> set[str]:
    """Return every name that can occur at or below a parameter."""
    found = {parameter.name}
    taken: list[tuple[set[Value], set[str]]] = []
    for values, child in parameter.conditional:
        names = _names(child)
        for others, theirs in taken:
            # The same name may stand under other values, with another domain.
            if names & theirs and others & set(values):
                raise invalid(
                    f"The parameter_id {min(names & theirs)!r} is used twice for a value of {parameter.name!r}."
                )
        if parameter.name in names:
            raise invalid(f"The parameter_id {parameter.name!r} is used twice.")
        taken.append((set(values), names))
        found |= names
    return found
