"""How far two samples of a feature are apart, by Vertex AI's two measures.

https://cloud.google.com/vertex-ai/docs/model-monitoring/overview#calculating_skew_and_drift: for categories the
L-infinity distance; for numbers the Jensen-Shannon divergence of histograms, whose bins divide the range of both
samples into equal intervals. Missing values do not count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

BINS = 10
L_INFINITY, JENSEN_SHANNON = "l_infinity", "jensen_shannon_divergence"


def deviation(before: Iterable[Any], now: Iterable[Any]) -> float | None:
    """Return the distance, from 0 (the same) to 1 (nothing in common); None when a sample is empty."""
    first = [value for value in before if not _is_missing(value)]
    second = [value for value in now if not _is_missing(value)]
    if not first or not second:
        return None
    if are_numbers((*first, *second)):
        return of_numbers(first, second)
    return of_categories(first, second)


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all values are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def of_numbers(before: Sequence[float], now: Sequence[float]) -> float:
    """Return the Jensen-Shannon divergence of two samples, of which none is empty."""
    return _jensen_shannon(*_histograms(before, now))


def of_categories(before: Sequence[Any], now: Sequence[Any], measure: str = L_INFINITY) -> float:
    """Return the distance of two samples of categories, of which none is empty, by either measure."""
    first, second = Counter(map(str, before)), Counter(map(str, now))
    if measure == L_INFINITY:
        return _l_infinity(first, second)
    names = {**first, **second}
    return _jensen_shannon(*([sample[name] / sample.total() for name in names] for sample in (first, second)))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _l_infinity(before: Counter[str], now: Counter[str]) -> float:
    totals = before.total(), now.total()
    return max(abs(before[name] / totals[0] - now[name] / totals[1]) for name in {**before, **now})


def _histograms(first: Sequence[float], second: Sequence[float]) -> tuple[list[float], list[float]]:
    low, high = min(min(first), min(second)), max(max(first), max(second))
    width = (high / BINS - low / BINS) or 1.0

    def shares(values: Sequence[float]) -> list[float]:
        counts = [0] * BINS
        for value in values:
            counts[min(BINS - 1, int(value / width - low / width))] += 1
        return [count / len(values) for count in counts]

    return shares(first), shares(second)


def _jensen_shannon(first: Sequence[float], second: Sequence[float]) -> float:
    total = 0.0
    for p, q in zip(first, second, strict=True):
        middle = (p + q) / 2
        total += sum(share * math.log2(share / middle) for share in (p, q) if share) / 2
    return min(1.0, max(0.0, total))
