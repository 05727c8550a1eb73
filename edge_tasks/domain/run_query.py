"""Choosing and ordering recorded runs: by user, by commit, by a filter, by a metric. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge_tasks.domain.run_filter import Filter, check_names, flat
from edge_tasks.domain.runs import STATUSES, RunSummary
from edge_tasks.errors import EdgeError

# What runs can be ordered by, in addition to metrics and parameters.
_FIELDS = ("run_id", "model_name", "status", "created", "started", "ended", "user", "host", "commit")


@dataclass(frozen=True)
class Query:
    """Which runs are wanted; what is None (or empty) does not matter."""

    model_name: str | None = None
    status: str | None = None
    user: str | None = None
    commit: str | None = None
    tag: str | None = None
    where: Filter = field(default_factory=Filter)

    @property
    def wants_all(self) -> bool:
        """Whether every run is wanted."""
        return self == Query()

    def chosen(self, runs: Iterable[RunSummary], now: datetime) -> list[RunSummary]:
        """Return the runs that are wanted, in the order that they have."""
        return [run for run in runs if self._wants(run, now)]

    def _wants(self, run: RunSummary, now: datetime) -> bool:
        return (
            self.model_name in (None, run.model_name)
            and self.status in (None, run.status_at(now))
            and self.user in (None, run.user)
            and (self.commit is None or (run.commit or "").startswith(self.commit.lower()))
            and (self.tag is None or self.tag in run.tags)
            and self.where.holds(run, now)
        )


def checked_status(text: str) -> str:
    """Return the status that `text` means, in letters of any case."""
    if text.upper() not in STATUSES:
        raise EdgeError(f"`{text}` is not a status", f"use {', '.join(status.lower() for status in STATUSES)}")
    return text.upper()


def ordered(runs: Sequence[RunSummary], name: str, *, descending: bool = False) -> list[RunSummary]:
    """Return `runs` by a field, a metric or a parameter; those without it come last."""
    if name not in _FIELDS:
        check_names([name], runs)
    having, without = [], []
    for run in runs:
        key = _sort_key(getattr(run, name) if name in _FIELDS else flat(run).get(name))
        if key is None:
            without.append(run)
        else:
            having.append((key, run))
    having.sort(key=lambda pair: pair[0], reverse=descending)
    return [*(run for _, run in having), *without]


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else None


def _sort_key(value: Any) -> tuple[int, Any] | None:
    """Return a key that puts numbers before texts; None for what cannot be ordered."""
    number = _number(value)
    if value is None or number != number:
        return None
    return (0, number) if number is not None else (1, str(value))
