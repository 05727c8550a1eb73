"""What was found, as a table for people and as plain values for programs."""

from __future__ import annotations

from typing import Any

from edge_tasks.domain.distributions import CATEGORY, Distribution
from edge_tasks.domain.drift import Comparison
from edge_tasks.monitoring.watch import Watched

# Lines that people read.
LINES = 12
COLUMNS = ["column", "before", "now", "distance", "threshold", "verdict"]


def table(watched: Watched, *, everything: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table: what has changed, and of the rest what is nearest to it."""
    shown = watched.comparisons if everything else watched.comparisons[: max(LINES, len(watched.changed))]
    return COLUMNS, [_row(one) for one in shown]


def document(watched: Watched) -> dict[str, Any]:
    """Return all of it as plain values."""
    return {
        "model": watched.model,
        "against": watched.against,
        "requests": watched.requests,
        "verdict": watched.verdict,
        "changed": [one.column for one in watched.changed],
        "columns": [
            {
                "column": one.column,
                "measure": one.measure,
                "distance": round(one.distance, 6),
                "threshold": round(one.threshold, 6),
                "verdict": one.verdict,
                "before": one.before.to_dict(),
                "now": one.now.to_dict(),
            }
            for one in watched.comparisons
        ],
    }


def _row(one: Comparison) -> list[str]:
    before, now = _shown(one)
    return [one.column, before, now, f"{one.distance:.3f}", f"{one.threshold:.3f}", one.verdict]


def _shown(one: Comparison) -> tuple[str, str]:
    """Return what tells both apart at a glance: a median, or the share that differs most."""
    if one.before.kind == CATEGORY:
        before, now = _shares(one.before), _shares(one.now)
        names = {**before, **now}
        if not names:
            return "", ""
        most = max(names, key=lambda name: abs(before.get(name, 0) - now.get(name, 0)))
        return f"{most} {before.get(most, 0):.0%}", f"{most} {now.get(most, 0):.0%}"
    return _median(one.before), _median(one.now)


def _shares(distribution: Distribution) -> dict[str, float]:
    total = distribution.total or 1
    shares = {name: count / total for name, count in distribution.categories.items()}
    return shares | ({"(missing)": distribution.missing / total} if distribution.missing else {})


def _median(distribution: Distribution) -> str:
    """Return in which bin the median lies."""
    there = sum(distribution.counts)
    borders = [f"{edge:.4g}" for edge in distribution.edges]
    seen = 0
    for place, count in enumerate(distribution.counts):
        seen += count
        if there and seen * 2 >= there:
            if place == 0:
                return f"median < {borders[0]}" if borders else "one value"
            if place == len(borders):
                return f"median > {borders[-1]}"
            low, high = borders[place - 1 : place + 1]
            return f"median {low}" if low == high else f"median {low} to {high}"
    return "none" if not distribution.missing else "all missing"
