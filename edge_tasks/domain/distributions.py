"""How the values of a column are distributed: in bins for numbers and dates, by value for everything else.

Pure values.

Bins are made once, from the sample that later ones are compared with: so that each holds about as many of its values,
or one value each when there are few different ones. What lies outside has its own bins.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

NUMBER, DATE, CATEGORY = "number", "date", "category"
# Bins of numbers, and categories that are kept by name; the rest of them count as one.
BINS, CATEGORIES = 10, 50
# So many different numbers have a bin each.
FEW_NUMBERS = 20
# From so many values on numpy counts them: to import it takes as long as to count some of such columns.
MANY = 1000
OTHERS = "(others)"
MISSING = "(missing)"
# As Python and pandas write truth values, and spreadsheets; requests have JSON's.
_TRUTHS = ("True", "TRUE", "False", "FALSE")
# A day, with or without a time, in UTC where no zone is told. Fractions of a second do not matter here.
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?)?(?:([+-]\d\d):?(\d\d)|Z)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Distribution:
    """The values of a column, counted.

    Numbers have `edges` (the inner borders of the bins, in order) and one count more in `counts`; what equals an edge
    belongs to the bin above it. Dates are numbers, too: seconds since 1970. Categories have their counts by name.
    `missing` counts null and NaN.
    """

    kind: str
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    categories: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0

    @property
    def total(self) -> int:
        """How many values there are, missing ones too."""
        return sum(self.counts) + sum(self.categories.values()) + self.missing

    def like(self, values: Iterable[Any]) -> Distribution:
        """Count other values in the same bins, or by the same names."""
        if self.kind == CATEGORY:
            counted = _texts(values)
            missing = counted.pop(MISSING, 0)
            return Distribution(CATEGORY, categories=_folded(counted, self.categories), missing=missing)
        if self.kind == NUMBER and isinstance(values, Sequence) and len(values) >= MANY:
            fast = self._many(values)
            if fast is not None:
                return fast
        counts, missing = [0] * (len(self.edges) + 1), 0
        edges = self.edges
        for value in values:
            number = self.number_of(value)
            if number is None:
                missing += 1
            else:
                counts[bisect_right(edges, number)] += 1
        return Distribution(self.kind, edges, tuple(counts), missing=missing)

    def number_of(self, value: Any) -> float | None:
        """Return a value as the bins have it; None for what is missing, and for what is not of this kind."""
        return date_of(value) if self.kind == DATE and isinstance(value, str) else number_of(value)

    def written(self, number: float, digits: int) -> str:
        """Return a number of the bins as people read it, of dates the date."""
        return _date_text(number) if self.kind == DATE else f"{number:.{digits}g}"

    def between(self, low: float, high: float, digits: int) -> str:
        """Return the numbers from `low` up to `high` in words; one alone where there is no other between them."""
        least, most = self.written(low, digits), self.written(high, digits)
        return least if least == most or math.nextafter(low, math.inf) == high else f"{least} to {most}"

    def _many(self, values: Sequence[Any]) -> Distribution | None:
        """Count numbers and missing values as `like` does; None when there is anything else, or no numpy."""
        try:
            import numpy as np
        except ImportError:
            return None
        kinds = set(map(type, values))
        if not kinds <= {int, float, type(None)}:
            return None
        there = [value for value in values if value is not None] if type(None) in kinds else values
        try:
            numbers = np.array(there, dtype=float)
        except OverflowError:
            return None
        numbers = numbers[~np.isnan(numbers)]
        places = np.searchsorted(np.array(self.edges, dtype=float), numbers, side="right")
        counts = np.bincount(places, minlength=len(self.edges) + 1)
        return Distribution(NUMBER, self.edges, tuple(counts.tolist()), missing=len(values) - len(numbers))

    def plus(self, other: Distribution) -> Distribution:
        """Return the counts of both together; `other` was counted in the same bins, or by the same names."""
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        categories = Counter(self.categories)
        categories.update(other.categories)
        return Distribution(self.kind, self.edges, counts, dict(categories), self.missing + other.missing)

    def representatives(self) -> Iterable[tuple[Any, int]]:
        """Yield a value of each bin, or each category, and how many values it stands for; None is a missing one."""
        yield from self.categories.items()
        for place, count in enumerate(self.counts):
            if not self.edges:
                yield 0.0, count
            elif place == 0:
                yield math.nextafter(self.edges[0], -math.inf), count
            else:
                yield self.edges[place - 1], count
        if self.missing:
            yield None, self.missing

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; what is empty is left out."""
        values: dict[str, Any] = {"kind": self.kind, "edges": list(self.edges), "counts": list(self.counts)}
        values |= {"categories": dict(self.categories), "missing": self.missing}
        return {name: value for name, value in values.items() if value not in ([], {}, 0)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Distribution:
        """Read what `to_dict` returned. Raises ValueError when it cannot be one."""
        edges = tuple(map(float, values.get("edges", ())))
        counts = tuple(map(int, values.get("counts", ())))
        categories = {str(name): int(count) for name, count in values.get("categories", {}).items()}
        found = cls(str(values.get("kind")), edges, counts, categories, int(values.get("missing", 0)))
        fits = found.kind in (NUMBER, DATE) and len(counts) == len(edges) + 1 and list(edges) == sorted(set(edges))
        if not fits and (found.kind != CATEGORY or edges or counts):
            raise ValueError("it has no bins, or no categories, that belong together")
        return found


def describe(values: Sequence[Any]) -> Distribution:
    """Count the values of a sample; they are numbers, or dates, when all that are not missing are."""
    there = [value for value in values if not _is_missing(value)]
    for kind, read in ((NUMBER, number_of), (DATE, date_of)):
        numbers = _all_read(there, read)
        if numbers is not None:
            return Distribution(kind, _edges(sorted(numbers))).like(values)
    counted = _texts(values)
    missing = counted.pop(MISSING, 0)
    kept = dict(counted.most_common(CATEGORIES))
    return Distribution(CATEGORY, categories=_folded(counted, kept), missing=missing)


def _all_read(values: Iterable[Any], read: Callable[[Any], float | None]) -> list[float] | None:
    """Return what `read` makes of the values; None when it cannot read one."""
    found = []
    for value in values:
        number = read(value)
        if number is None:
            return None
        found.append(number)
    return found


def _edges(ordered: Sequence[float]) -> tuple[float, ...]:
    """Return the borders of bins: what lies below the least value, or above the largest, has its own bins."""
    if not ordered:
        return ()
    different = set(ordered)
    if len(different) > FEW_NUMBERS:
        different = {ordered[len(ordered) * place // BINS] for place in range(BINS)}
        return tuple(sorted({*different, math.nextafter(ordered[-1], math.inf)}))
    return tuple(sorted({*different, *(math.nextafter(value, math.inf) for value in different)}))


def number_of(value: Any) -> float | None:
    """Return a number; None for what is missing, and for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return None if math.isnan(number) else number


def date_of(value: Any) -> float | None:
    """Return a date that is written as ISO 8601 has it, however exactly, in seconds since 1970; None for all else."""
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    zone = f"{match[3]}:{match[4]}" if match[3] else "+00:00"
    try:
        return (datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}{zone}") - _EPOCH).total_seconds()
    except ValueError:
        return None


def _date_text(seconds: float) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=round(seconds))
    except (OverflowError, ValueError):
        return f"{seconds:.6g} s since 1970"
    return moment.strftime("%Y-%m-%d" if moment.hour == moment.minute == 0 else "%Y-%m-%d %H:%M")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any) -> str:
    """Return the name of a category; a truth value has one name, also where a CSV file has it as text."""
    if _is_missing(value):
        return MISSING
    text = str(value)
    return text.lower() if text in _TRUTHS else text


def _texts(values: Iterable[Any]) -> Counter[str]:
    """Count values by their names as categories."""
    if isinstance(values, Sequence) and set(map(type, values)) <= {str, type(None)}:
        counted: Counter[Any] = Counter(values)
        missing = counted.pop(None, 0)
        if missing:
            counted[MISSING] += missing
        for name in _TRUTHS:
            if name in counted:
                counted[name.lower()] += counted.pop(name)
        return counted
    return Counter(map(text_of, values))


def _folded(counted: Mapping[str, int], known: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of the known categories, and of all others together."""
    found = dict.fromkeys((name for name in known if name != OTHERS), 0)
    others = 0
    for name, count in counted.items():
        if name in found:
            found[name] += count
        else:
            others += count
    return {**found, OTHERS: others} if others or OTHERS in known else found
