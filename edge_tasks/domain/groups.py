"""What a model answers to groups of what it is asked, and how often it is wrong there: sizes, shares, intervals.

Pure values. A group is a category of a column, one of few different numbers, or a fifth of many. Intervals hold the
true value in 95 of 100 cases: Wilson's for shares (https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm),
the normal one for means. They say how sure a number is. They do not say whether a difference is fair, or why it is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge_tasks.domain.distributions import (
    BINS,
    CATEGORY,
    FEW_NUMBERS,
    MISSING,
    OTHERS,
    Distribution,
    number_of,
    text_of,
)

# Columns with more categories have no groups that people can look at.
MOST_GROUPS = 20
# Answers that are counted by name; the rest of them count as one.
MOST_ANSWERS = 10
_Z = 1.959964


class Estimate(NamedTuple):
    """A share or a mean, and the interval that holds the true one in 95 of 100 cases."""

    value: float
    low: float
    high: float


def share(part: int, whole: int) -> Estimate | None:
    """Return the share of a part, with Wilson's interval; None of nothing."""
    if not whole:
        return None
    value, square = part / whole, _Z * _Z
    middle = (value + square / (2 * whole)) / (1 + square / whole)
    reach = _Z * math.sqrt(value * (1 - value) / whole + square / (4 * whole * whole)) / (1 + square / whole)
    return Estimate(value, max(0.0, min(value, middle - reach)), min(1.0, max(value, middle + reach)))


@dataclass(frozen=True)
class Tally:
    """Numbers, summed up."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Tally:
        """Sum numbers up; what is not finite is left out."""
        found = [number for number in numbers if math.isfinite(number)]
        return cls(len(found), math.fsum(found), math.fsum(number * number for number in found))

    @property
    def mean(self) -> Estimate | None:
        """The mean with its interval; None of nothing."""
        if not self.count:
            return None
        mean = self.total / self.count
        variance = max(0.0, self.squares / self.count - mean * mean) * self.count / max(1, self.count - 1)
        reach = _Z * math.sqrt(variance / self.count)
        return Estimate(mean, mean - reach, mean + reach)


@dataclass(frozen=True)
class Answers:
    """Answers of one group, predicted or true: numbers summed up, everything else counted by name."""

    numbers: Tally = Tally()
    names: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[Any], numeric: bool) -> Answers:
        """Sum answers up, or count them by name; missing ones are left out."""
        there = [value for value in values if value is not None]
        if numeric:
            numbers = (number_of(value) for value in there)
            return cls(Tally.of(number for number in numbers if number is not None))
        counted = Counter(map(class_of, there))
        names = dict(counted.most_common(MOST_ANSWERS))
        rest = sum(counted.values()) - sum(names.values())
        return cls(names={**names, OTHERS: rest} if rest else names)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.numbers.count + sum(self.names.values())

    def share(self, name: str) -> Estimate | None:
        """Return the share of an answer."""
        return share(self.names.get(name, 0), self.count)


def are_numbers(answers: Iterable[Any]) -> bool:
    """Whether answers are amounts; few different whole numbers are names of classes."""
    there = {value for value in answers if value is not None and isinstance(value, int | float | str)}
    numbers = [number_of(value) for value in there]
    if not numbers or any(number is None for number in numbers):
        return False
    return len(numbers) > FEW_NUMBERS or not all(number is not None and number.is_integer() for number in numbers)


def class_of(value: Any) -> str:
    """Return the name of a class; 1.0 is 1, since JSON and CSV do not tell them apart everywhere."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else text_of(value)


@dataclass(frozen=True)
class Outcome:
    """What a group was answered, what would have been right, and the errors where both are known."""

    rows: int
    predicted: Answers = Answers()
    actual: Answers = Answers()
    # Of numbers the absolute differences, of everything else 1 for wrong and 0 for right.
    errors: Tally = Tally()

    @classmethod
    def of(cls, answers: Sequence[Any], labels: Sequence[Any], numeric: bool) -> Outcome:
        """Sum up what was answered to rows (see `answer_of`); a label that is not known is None."""
        differences = (error_of(answer, label, numeric) for answer, label in zip(answers, labels, strict=True))
        errors = Tally.of(error for error in differences if error is not None)
        return cls(len(answers), Answers.of(answers, numeric), Answers.of(labels, numeric), errors)

    @property
    def error(self) -> Estimate | None:
        """The share of wrong answers, or the mean absolute error, with its interval."""
        return share(round(self.errors.total), self.errors.count) if self.counts_wrong else self.errors.mean

    @property
    def counts_wrong(self) -> bool:
        """Whether `errors` counts wrong answers."""
        return not self.predicted.numbers.count

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; what is empty is left out."""
        values: dict[str, Any] = {"rows": self.rows}
        for name, answers in (("predicted", self.predicted), ("actual", self.actual)):
            if answers.names:
                values[name] = dict(answers.names)
            elif answers.numbers.count:
                values[name] = _listed(answers.numbers)
        return values | ({"errors": _listed(self.errors)} if self.errors.count else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcome:
        """Read what `to_dict` returned. Raises ValueError when it cannot be one."""
        errors = _tally(values.get("errors", (0, 0, 0)))
        return cls(int(values["rows"]), _answers(values.get("predicted")), _answers(values.get("actual")), errors)


def _listed(tally: Tally) -> list[float]:
    return [tally.count, tally.total, tally.squares]


def _tally(values: Sequence[Any]) -> Tally:
    count, total, squares = values
    return Tally(int(count), float(total), float(squares))


def _answers(values: Any) -> Answers:
    if isinstance(values, Mapping):
        return Answers(names={str(name): int(count) for name, count in values.items()})
    return Answers(_tally(values)) if values is not None else Answers()


def answer_of(prediction: Any) -> Any:
    """Return the one answer in a prediction: a class or a number; None when it holds none.

    Of an object that is its `prediction`, or of probabilities by class the likeliest.
    """
    if isinstance(prediction, Mapping):
        if "prediction" in prediction:
            return answer_of(prediction["prediction"])
        numbers = {name: number_of(value) for name, value in prediction.items()}
        if numbers and all(number is not None for number in numbers.values()):
            return max(numbers, key=lambda name: numbers[name] or 0.0)
        return None
    if isinstance(prediction, list):
        return answer_of(prediction[0]) if len(prediction) == 1 else None
    return prediction


def error_of(answer: Any, label: Any, numeric: bool) -> float | None:
    """Return how wrong an answer is: of numbers the difference, else 0 or 1; None when one of both is not known."""
    if answer is None or label is None:
        return None
    if not numeric:
        return float(class_of(answer) != class_of(label))
    first, second = number_of(answer), number_of(label)
    return None if first is None or second is None else abs(first - second)


@dataclass(frozen=True)
class Grouping:
    """The groups of a column, as its distribution in a sample has them."""

    column: Distribution

    @property
    def is_possible(self) -> bool:
        """Whether there are groups, and few enough to look at."""
        if self.column.kind == CATEGORY:
            return 1 < len(self.column.categories) <= MOST_GROUPS
        return bool(self.column.edges)

    def of(self, value: Any) -> str:
        """Return the group of a value."""
        if self.column.kind == CATEGORY:
            name = text_of(value)
            return name if name == MISSING or name in self.column.categories else OTHERS
        number = self.column.number_of(value)
        if number is None:
            return MISSING
        cuts = self._cuts
        if cuts is None:
            return self.column.written(number, 6) if number in self.column.edges else OTHERS
        place, borders = bisect_right(cuts, number), [self.column.written(cut, 6) for cut in cuts]
        if place == 0:
            return f"below {borders[0]}"
        return f"from {borders[-1]}" if place == len(cuts) else f"{borders[place - 1]} to {borders[place]}"

    @property
    def _cuts(self) -> list[float] | None:
        """Return the borders between the fifths of many numbers; None when each number is a group."""
        edges = self.column.edges
        # Few numbers have two edges each: themselves, and the next larger number that there is.
        if all(math.nextafter(low, math.inf) == high for low, high in zip(edges[::2], edges[1::2], strict=False)):
            return None
        inner = edges[1:-1]
        return list(inner[1 :: BINS // 5] or inner)

    def split(self, values: Sequence[Any], answers: Sequence[Any], labels: Sequence[Any]) -> dict[str, Outcome]:
        """Return what each group of the column's `values` was answered, the largest first."""
        numeric = are_numbers(answers)
        rows: dict[str, list[int]] = {}
        for place, value in enumerate(values):
            rows.setdefault(self.of(value), []).append(place)
        return {
            name: Outcome.of([answers[place] for place in places], [labels[place] for place in places], numeric)
            for name, places in sorted(rows.items(), key=lambda item: -len(item[1]))
        }
