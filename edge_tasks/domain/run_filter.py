"""Filters of runs: `accuracy > 0.9 user = ada -status=completed "two words"`. Pure functions.

The command line and the dashboard's page know the same filters: `page/query.js` is this module in JavaScript, and
`tests/run_filter_cases.py` holds both to one table of cases.

    filter      terms side by side; all of them must hold
    term        a comparison, or a word that must occur somewhere; `-` before it denies it
    comparison  a name, one of = == != > >= < <= ~ (a part of a text), and a value
    name        a field of a run; a metric or a parameter; `metrics.NAME`, `parameters.NAME`
    value       a number, a text, a list in brackets; for `took` 90s, 10m, 2h or 3d; for times 2026-11-20 or
                2026-11-20T10:00Z (without a zone: this machine's)

Text with blanks, brackets or signs in it stands in quotation marks.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from edge_tasks.domain.runs import STATUSES, RunSummary
from edge_tasks.errors import EdgeError

_BARE = re.compile(r'(?:[^\s"<>=!~()]|!(?!=))+')
_SIGN = re.compile(r">=|<=|!=|==?|>|<|~")
_LIST = re.compile(r"\[[^\]]*\]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SPAN = re.compile(r"(\d+\.?\d*|\.\d+)([smhd]?)")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_ORDERS = (">", ">=", "<", "<=")
# Numbers that JSON has no word for are texts in a record.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_TIMES = ("started", "created", "ended")
_FIELDS: dict[str, Callable[[RunSummary, datetime], Any]] = {
    "run": lambda run, _: run.run_id,
    "name": lambda run, _: run.name,
    "status": lambda run, now: run.status_at(now).lower(),
    "model": lambda run, _: run.model_name,
    "started": lambda run, _: run.started,
    "took": lambda run, now: run.seconds_at(now),
    "created": lambda run, _: run.created,
    "ended": lambda run, _: run.ended,
    "user": lambda run, _: run.user,
    "host": lambda run, _: run.host,
    "target": lambda run, _: run.target,
    "commit": lambda run, _: run.commit,
    "data": lambda run, _: run.data_version or None,
    "version": lambda run, _: _version(run),
    "tags": lambda run, _: ", ".join(run.tags) or None,
}


@dataclass(frozen=True)
class Term:
    """One condition. Without a `name` it is a word; `place` is where its value stands, the first character being 1."""

    denied: bool
    name: str | None
    sign: str
    value: str
    place: int

    def holds(self, run: RunSummary, now: datetime) -> bool:
        """Say whether it holds for `run`. A comparison does not hold for a run that has no such value."""
        if self.name is None:
            return (self.value.lower() in _words(run, now)) != self.denied
        value = _value(run, self.name, now)
        return (value is not None and self._compares(value)) != self.denied

    def _compares(self, value: Any) -> bool:
        if isinstance(value, datetime):
            return (limits := _period(self.value)) is not None and _in_time(value, self.sign, *limits)
        wanted = _span(self.value) if self.name == "took" else _number(self.value)
        mine = _as_number(value)
        if self.sign in _ORDERS and (wanted is None) != (mine is None):
            return False
        if wanted is not None and mine is not None and self.sign != "~":
            return _compared(mine, self.sign, wanted)
        text, other = text_of(value).lower(), _as_list(self.value).lower()
        if self.sign in ("=", "==") and self.name in ("commit", "run"):
            return text.startswith(other)  # they are written short
        return other in text if self.sign == "~" else _compared(text, self.sign, other)


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Return the filter that `text` is. Raises EdgeError that names the place of what cannot be one."""
        return cls(tuple(_Reader(text).terms()))

    @property
    def names(self) -> list[str]:
        """The names that are compared."""
        return [term.name for term in self.terms if term.name is not None]

    def check(self, runs: Sequence[RunSummary], now: datetime) -> None:
        """Raise EdgeError when a name is of no run, or a value cannot be one of its values."""
        for term in self.terms:
            if term.name is not None:
                _check(term, term.name, runs, now)

    def holds(self, run: RunSummary, now: datetime) -> bool:
        """Say whether all conditions hold for `run`."""
        return all(term.holds(run, now) for term in self.terms)


class _Reader:
    """Reads the terms of one text, from left to right."""

    def __init__(self, text: str):
        self._text = text
        self._at = 0

    def terms(self) -> Iterable[Term]:
        self._skip()
        while self._at < len(self._text):
            yield self._term()
            self._skip()

    def _term(self) -> Term:
        denied = self._text[self._at] == "-"
        self._at += denied
        place = self._at
        word = self._word()
        if word is None:
            sign = _SIGN.match(self._text, self._at)
            raise _refused(place, f"a name is expected before `{sign[0]}`" if sign else self._unexpected("a word"))
        self._skip()
        sign = _SIGN.match(self._text, self._at)
        if sign is None:
            return Term(denied, None, "", word, place + 1)
        self._at = sign.end()
        self._skip()
        place = self._at
        found = _LIST.match(self._text, self._at)
        if found:
            self._at = found.end()
        value = found[0] if found else self._word()
        if value is None:
            raise _refused(place, self._unexpected("a value"))
        return Term(denied, word, sign[0], value, place + 1)

    def _word(self) -> str | None:
        if self._text[self._at : self._at + 1] == '"':
            end = self._text.find('"', self._at + 1)
            if end < 0:
                raise _refused(self._at, "the quotation mark is not closed")
            begin, self._at = self._at + 1, end + 1
            return self._text[begin:end]
        found = _BARE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else None

    def _unexpected(self, wanted: str) -> str:
        there = self._text[self._at : self._at + 1]
        return f"{wanted} is expected, and there is {f'`{there}`' if there.strip() else 'nothing'}"

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1


def _refused(place: int, why: str) -> EdgeError:
    hint = 'such as --where "accuracy > 0.9 user = ada"; text with blanks or brackets in quotation marks'
    return EdgeError(f"character {place + 1} of the filter: {why}", hint)


def _check(term: Term, name: str, runs: Sequence[RunSummary], now: datetime) -> None:
    field = _field(name)
    if field is None:
        check_names([name], runs)
    wrong = ""
    if field == "status" and term.sign != "~" and term.value.upper() not in STATUSES:
        wrong = f"a status is one of {', '.join(status.lower() for status in STATUSES)}"
    elif field == "took" and term.sign != "~" and _span(term.value) is None:
        wrong = "`took` is a time such as 90s, 10m or 2h"
    elif field in _TIMES and _period(term.value) is None:
        wrong = f"`{name}` is a date such as 2026-11-20 or 2026-11-20T10:00Z"
    elif field is None and term.sign in _ORDERS and _number(term.value) is None:
        values = [value for run in runs if (value := _value(run, name, now)) is not None]
        if values and all(_as_number(value) is not None for value in values):
            wrong = f"`{name}` is a number"
    if wrong:
        raise _refused(term.place - 1, f"{wrong}, which `{term.value}` is not")


def check_names(names: Iterable[str], runs: Sequence[RunSummary]) -> None:
    """Raise EdgeError when no run at all has one of these names."""
    unseen = {name for name in names if _field(name) is None}
    if not runs or not unseen:
        return
    known = {name for run in runs for name in flat(run)}
    for name in sorted(unseen):
        plain = re.sub(r"^(metrics|parameters)\.", "", name)
        if name in known or plain in known or plain.lower() in {one.lower() for one in known}:
            continue
        near = difflib.get_close_matches(name, [*known, *_FIELDS], n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(known)) or 'none at all'}"
        raise EdgeError(f"no run has `{name}`", hint)


def _field(name: str) -> str | None:
    return name.lower() if name.lower() in _FIELDS else None


def _value(run: RunSummary, name: str, now: datetime) -> Any:
    """Return a run's value: a field's before a metric's before a parameter's; None when it has none."""
    if field := _field(name):
        return _FIELDS[field](run, now)
    groups = {"metrics.": flattened(run.metrics), "parameters.": flattened(run.parameters)}
    for exact in (True, False):
        for prefix, values in groups.items():
            for wanted in (name, name.removeprefix(prefix)):
                if exact and wanted in values:
                    return values[wanted]
                found = None if exact else next((one for one in values if one.lower() == wanted.lower()), None)
                if found is not None:
                    return values[found]
    return None


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


def text_of(value: Any) -> str:
    """Return a value as JavaScript writes it: true, 1 for 1.0, [1,2]; so that both sides find the same."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, float):
        # JavaScript has exponents from 1e-7 on, Python from 1e-5 on, with two digits at least.
        text = f"{Decimal(repr(value)):f}" if 1e-6 <= abs(value) < 1e-4 else repr(value)
        return re.sub(r"e([+-])0", r"e\1", text)
    if isinstance(value, list | tuple):
        parts = (json.dumps(one, ensure_ascii=False) if isinstance(one, str) else text_of(one) for one in value)
        return f"[{','.join(parts)}]"
    return str(value)


def _version(run: RunSummary) -> Any:
    version = (run.model_version or "").rpartition("@")[2]
    return int(version) if version.isdecimal() else version or None


def _words(run: RunSummary, now: datetime) -> str:
    facts = [run.run_id, run.name, run.model_name, run.status_at(now).lower(), run.user, run.host, run.target]
    facts += [run.commit, run.error, *run.tags, *flattened(run.metrics)]
    facts += [f"{name}={text_of(value)}" for name, value in flattened(run.parameters).items()]
    return "\n".join(fact for fact in facts if fact).lower()


def _compared(one: Any, sign: str, other: Any) -> bool:
    if sign in ("=", "==", "!="):
        return bool(one == other) != (sign == "!=")
    return bool({">": one > other, ">=": one >= other, "<": one < other, "<=": one <= other}[sign])


def _in_time(value: datetime, sign: str, low: datetime, high: datetime) -> bool:
    """Compare with a period: a day is as long as it is, a moment has no length."""
    same = low <= value < high or value == low
    if sign in ("=", "==", "~"):
        return same
    return {"!=": not same, ">": value > low, ">=": value >= low, "<": value < low, "<=": value < low or same}[sign]


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _span(text: str) -> float | None:
    found = _SPAN.fullmatch(text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def _period(text: str) -> tuple[datetime, datetime] | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        length = timedelta(days=1) if "T" not in text else timedelta(0)
        return moment.astimezone(), (moment + length).astimezone()
    except (ValueError, OverflowError):
        return None


def _as_number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return _NOT_FINITE.get(value) if isinstance(value, str) else None


def _as_list(text: str) -> str:
    if not text.startswith("["):
        return text
    try:
        return text_of(json.loads(text))
    except ValueError:
        return text
