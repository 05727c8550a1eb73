"""Choosing and ordering recorded runs: `accuracy>0.9`, by user, by commit, by a metric. Pure functions."""

from __future__ import annotations

import difflib
import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_tasks.domain.runs import STATUSES, RunSummary
from edge_tasks.errors import EdgeError

_COMPARISON = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
_ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

# What runs can be ordered by, in addition to metrics and parameters.
_FIELDS = ("run_id", "model_name", "status", "created", "started", "ended", "user", "host", "commit")


@dataclass(frozen=True)
class Comparison:
    """One condition on a metric or a parameter; a metric goes before a parameter of the same name."""

    name: str
    sign: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> Comparison:
        """Return the comparison that `text` is, such as `accuracy>0.9` or `kernel=rbf`."""
        match = _COMPARISON.fullmatch(text)
        if match is None:
            raise EdgeError(f"`{text}` is not a comparison", 'such as --where "accuracy>0.9" or --where kernel=rbf')
        name, sign, value = match.groups()
        return cls(name, sign, _value(value))

    def holds(self, run: RunSummary) -> bool:
        """Say whether it holds for `run`; for one that has no such metric or parameter it does not."""
        values = flat(run)
        if self.name not in values:
            return False
        if self.sign in ("=", "==", "!="):
            return _same(values[self.name], self.value) != (self.sign == "!=")
        mine, other = _number(values[self.name]), _number(self.value)
        return mine is not None and other is not None and bool(_ORDERS[self.sign](mine, other))


@dataclass(frozen=True)
class Query:
    """Which runs are wanted; what is None (or empty) does not matter."""

    model_name: str | None = None
    status: str | None = None
    user: str | None = None
    commit: str | None = None
    tag: str | None = None
    where: tuple[Comparison, ...] = ()

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
            and all(comparison.holds(run) for comparison in self.where)
        )


def checked_status(text: str) -> str:
    """Return the status that `text` means, in letters of any case."""
    if text.upper() not in STATUSES:
        raise EdgeError(f"`{text}` is not a status", f"use {', '.join(status.lower() for status in STATUSES)}")
    return text.upper()


def check_names(names: Iterable[str], runs: Sequence[RunSummary]) -> None:
    """Raise EdgeError when no run at all has a metric or parameter of one of these names."""
    unseen = dict.fromkeys(names)
    for run in runs:
        if not unseen:
            return
        for name in unseen.keys() & flat(run).keys():
            del unseen[name]
    for name in unseen if runs else ():
        known = {name for run in runs for name in flat(run)}
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(known)) or 'none at all'}"
        raise EdgeError(f"no run has a metric or parameter `{name}`", hint)


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


def flat(run: RunSummary) -> dict[str, Any]:
    """Return parameters and metrics under one name each, those inside others as `optimizer.rate`."""
    return {**flattened(run.parameters), **flattened(run.metrics)}


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `values` with those inside others as `optimizer.rate`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _same(one: Any, other: Any) -> bool:
    # For Python True is 1.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _value(text: str) -> Any:
    try:
        # NaN and infinity stay the texts that they are in a record.
        return json.loads(text, parse_constant=str)
    except ValueError:
        # As Python and YAML write them, and texts without quotes.
        return {"True": True, "False": False, "None": None}.get(text, text)


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
