"""Whether a column has changed: Vertex AI's two distances, and thresholds that know how much chance does. Pure values.

https://cloud.google.com/vertex-ai/docs/model-monitoring/overview: categories are compared by the L-infinity distance
(the largest difference of a share), numbers by the Jensen-Shannon divergence of their histograms. Here it is in bits,
so that both lie between 0 (the same) and 1 (nothing in common).

Without a threshold of the user's own, a column has changed when its distance is both larger than chance explains and
large enough to matter. Chance is the distance of two samples of one distribution, of sizes n and m. Of `columns` that
are looked at together, none exceeds it in 99 of 100 windows:

- Jensen-Shannon: 8 ln 2 / (1/n + 1/m) times the divergence is about chi-square, with one degree of freedom less than
  there are bins (a second-order expansion of the divergence).
- L-infinity: Bernstein's inequality for each share p, with the variance p (1 - p) (1/n + 1/m).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from edge_tasks.domain.distributions import CATEGORY, MISSING, Distribution

L_INFINITY, JENSEN_SHANNON = "l_infinity", "jensen_shannon"
# Of a hundred windows of data that have not changed, one may raise a false alarm.
FALSE_ALARMS = 0.01
# Less than this does not matter, however sure it is: a shift by a third of a standard deviation, a share by 5 %.
LEAST_DIVERGENCE, LEAST_SHARE = 0.02, 0.05
# Without so many requests there is no verdict.
FEWEST_REQUESTS = 200
# Bins that expect fewer values are joined with their neighbours: the approximation needs them.
_FEWEST_EXPECTED = 5.0

SAME, CHANGED, TOO_FEW = "same", "changed", "not enough"


@dataclass(frozen=True)
class Comparison:
    """One column of two samples."""

    column: str
    measure: str
    distance: float
    threshold: float
    before: Distribution
    now: Distribution
    fewest: int = FEWEST_REQUESTS

    @property
    def verdict(self) -> str:
        """Whether the column has changed, or there are too few values to say."""
        if self.now.total < self.fewest or not self.before.total:
            return TOO_FEW
        return CHANGED if self.distance > self.threshold else SAME


def compare(
    before: Mapping[str, Distribution],
    now: Mapping[str, Distribution],
    thresholds: Mapping[str, float] | None = None,
    fewest: int = FEWEST_REQUESTS,
) -> list[Comparison]:
    """Compare the columns that both have, the largest excess over its threshold first."""
    common = [name for name in before if name in now]
    found = []
    for name in common:
        first, second = before[name], now[name]
        measure = L_INFINITY if first.kind == CATEGORY else JENSEN_SHANNON
        distance = l_infinity(first, second) if first.kind == CATEGORY else jensen_shannon(first, second)
        threshold = (thresholds or {}).get(name)
        if threshold is None:
            threshold = chance(first, second, len(common))
        found.append(Comparison(name, measure, distance, threshold, first, second, fewest))
    found.sort(key=lambda one: one.threshold - one.distance)
    return found


def l_infinity(before: Distribution, now: Distribution) -> float:
    """Return the largest difference of a category's share."""
    return max((abs(p - q) for p, q in _shares(before, now)), default=0.0)


def jensen_shannon(before: Distribution, now: Distribution) -> float:
    """Return the Jensen-Shannon divergence of two histograms, in bits."""
    total = 0.0
    for p, q in _shares(before, now):
        middle = (p + q) / 2
        total += sum(share * math.log2(share / middle) for share in (p, q) if share) / 2
    return min(1.0, max(0.0, total))


def chance(before: Distribution, now: Distribution, columns: int) -> float:
    """Return the distance from which on a column has changed, when `columns` are looked at together."""
    if not before.total or not now.total:
        return 1.0
    error = FALSE_ALARMS / max(1, columns)
    spread = 1 / before.total + 1 / now.total
    if before.kind == CATEGORY:
        pairs = list(_shares(before, now))
        error /= max(1, len(pairs))
        share = (before.total, now.total)
        return max(LEAST_SHARE, *(_bernstein(_pooled(p, q, share), spread, error) for p, q in pairs))
    bins = sum(1 for p, q in _shares(before, now) if p or q)
    return max(LEAST_DIVERGENCE, _chi_square(1 - error, max(1, bins - 1)) * spread / (8 * math.log(2)))


def _pooled(p: float, q: float, totals: tuple[int, int]) -> float:
    return (p * totals[0] + q * totals[1]) / sum(totals)


def _bernstein(share: float, spread: float, error: float) -> float:
    """Return how far two shares of one size differ at most, but for `error` of all cases."""
    sureness = math.log(2 / error)
    slack = sureness * spread / 3
    return slack + math.sqrt(slack * slack + 2 * share * (1 - share) * spread * sureness)


def _chi_square(probability: float, degrees: int) -> float:
    """Return a quantile of the chi-square distribution, by Wilson and Hilferty's approximation."""
    part = 2 / (9 * degrees)
    return float(degrees * max(0.0, 1 - part + NormalDist().inv_cdf(probability) * math.sqrt(part)) ** 3)


def _shares(before: Distribution, now: Distribution) -> Iterable[tuple[float, float]]:
    """Return the shares of both, category by category or bin by bin; missing values are one of them."""
    totals = before.total, now.total
    if not all(totals):
        return []
    if before.kind == CATEGORY:
        names = {**before.categories, **now.categories}
        counts = [(before.categories.get(name, 0), now.categories.get(name, 0)) for name in names if name != MISSING]
    else:
        counts = _joined(list(zip(before.counts, now.counts, strict=True)), totals)
    counts.append((before.missing, now.missing))
    return [(first / totals[0], second / totals[1]) for first, second in counts]


def _joined(counts: Sequence[tuple[int, int]], totals: tuple[int, int]) -> list[tuple[int, int]]:
    """Join neighbouring bins until each expects enough values in the smaller sample."""
    smaller, both = min(totals), sum(totals)
    found: list[tuple[int, int]] = []
    first = second = 0
    for one, other in counts:
        first, second = first + one, second + other
        if (first + second) * smaller / both >= _FEWEST_EXPECTED:
            found.append((first, second))
            first = second = 0
    if first or second:
        last = found.pop() if found else (0, 0)
        found.append((last[0] + first, last[1] + second))
    return found
