"""The part of Cloud Logging's query language that asks for the log of a job, or of what an endpoint serves.

https://cloud.google.com/logging/docs/view/logging-query-language: comparisons of the fields below, joined by AND, OR,
NOT and parentheses. What else it knows is refused by name, never ignored.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from edge_tasks.emulator.errors import invalid

if TYPE_CHECKING:
    from edge_tasks.emulator.runtime.job_log import Entry

SUPPORTED = (
    'resource.type="ml_job" AND resource.labels.job_id="ID", or resource.type="aiplatform.googleapis.com/Endpoint" AND'
    ' resource.labels.endpoint_id="ID", and of their entries timestamp, insertId, severity and'
    " resource.labels.task_name"
)
TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign><=|>=|!=|=|<|>)|(?P<mark>[()])|(?P<word>[\w.-]+))')
SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
# The types of resources that have a log, and the label that says which one is meant.
JOB, ENDPOINT = "ml_job", "aiplatform.googleapis.com/Endpoint"
LABELS = {JOB: "resource.labels.job_id", ENDPOINT: "resource.labels.endpoint_id"}
ID = re.compile(r"[0-9]{1,20}")
LONGEST, DEEPEST = 20_000, 50


class Term(NamedTuple):
    """A part of a filter: `since` is a time before which no entry passes, in microseconds; `facts` hold for all."""

    passes: Callable[[Entry], bool]
    since: int = 0
    facts: frozenset[tuple[str, str]] = frozenset()


class LogFilter(NamedTuple):
    """Which resource's log is asked for, and which of its entries."""

    kind: str
    resource_id: str
    since: int
    passes: Callable[[Entry], bool]


def parse(text: Any) -> LogFilter:
    """Read a filter; it must name one job or one endpoint."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise invalid(f"A log filter must be a text of at most {LONGEST} characters.")
    term = _Parser(text).parse()
    facts = dict(term.facts)
    kind = facts.get("resource.type", "")
    label = LABELS.get(kind, "")
    resource_id = facts.get(label, "")
    if len(term.facts) != 2 or set(facts) != {"resource.type", label} or not ID.fullmatch(resource_id):
        _refuse(text)
    return LogFilter(kind, resource_id, term.since, term.passes)


class _Parser:
    """Recursive descent; AND binds more than OR, and two comparisons side by side are joined by AND."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = TOKEN.match(text, position)
            if match is None:
                _refuse(text)
            self._tokens.append((str(match.lastgroup), match.group().strip()))
            position = match.end()
        self._depth = 0

    def parse(self) -> Term:
        term = self._either()
        if self._tokens:
            _refuse(self._text)
        return term

    def _either(self) -> Term:
        terms = [self._all()]
        while self._take("word", "OR"):
            terms.append(self._all())
        if len(terms) == 1:
            return terms[0]
        if any(term.facts for term in terms):
            # Several jobs, or a job and all entries with an error: one job's log is all that can be listed.
            _refuse(self._text)
        return Term(lambda entry: any(term.passes(entry) for term in terms), min(term.since for term in terms))

    def _all(self) -> Term:
        terms = [self._one()]
        while self._take("word", "AND") or (self._tokens and self._tokens[0] not in {("mark", ")"), ("word", "OR")}):
            terms.append(self._one())
        if len(terms) == 1:
            return terms[0]
        return Term(
            lambda entry: all(term.passes(entry) for term in terms),
            max(term.since for term in terms),
            frozenset().union(*(term.facts for term in terms)),
        )

    def _one(self) -> Term:
        if self._take("word", "NOT"):
            term = self._bracket() if self._take("mark", "(") else self._comparison()
            if term.facts:
                _refuse(self._text)
            return Term(lambda entry: not term.passes(entry))
        return self._bracket() if self._take("mark", "(") else self._comparison()

    def _bracket(self) -> Term:
        self._depth += 1
        term = self._either() if self._depth <= DEEPEST else _refuse(self._text)
        self._depth -= 1
        if not self._take("mark", ")"):
            _refuse(self._text)
        return term

    def _comparison(self) -> Term:
        if len(self._tokens) < 3 or [kind for kind, _ in self._tokens[:2]] != ["word", "sign"]:
            _refuse(self._text)
        (_, field), (_, sign), (kind, value) = self._tokens[:3]
        del self._tokens[:3]
        if kind not in {"text", "word"}:
            _refuse(self._text)
        if kind == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        compare = SIGNS[sign]
        if field in {"resource.type", *LABELS.values()} and sign == "=":
            return Term(lambda _: True, facts=frozenset({(field, value)}))
        if field == "timestamp":
            time = microseconds(value)
            return Term(lambda entry: compare(entry.microseconds, time), time if sign in {"=", ">", ">="} else 0)
        if field == "insertId":
            return Term(lambda entry: compare(insert_id(entry), value))
        if field == "resource.labels.task_name" and sign in {"=", "!="}:
            return Term(lambda entry: compare(entry.replica, value))
        if field != "severity" or value.upper() not in SEVERITIES:
            _refuse(self._text)
        level = SEVERITIES.index(value.upper())
        return Term(lambda entry: compare(SEVERITIES.index(entry.severity), level))

    def _take(self, kind: str, text: str) -> bool:
        found = bool(self._tokens) and self._tokens[0] == (kind, text)
        if found:
            del self._tokens[0]
        return found


def insert_id(entry: Entry) -> str:
    """Return the id of an entry, by which those of one time are ordered."""
    return f"{entry.offset:012d}"


def microseconds(text: str) -> int:
    """Return a time of the form 2026-01-01T00:00:00Z as microseconds since 1970."""
    match = TIME.fullmatch(text)
    try:
        if match is not None:
            zone = match.group(3).replace("Z", "+00:00")
            zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            whole = (datetime.fromisoformat(match.group(1) + zone) - EPOCH) // timedelta(seconds=1)
            # Nanoseconds are cut: an entry of the very microsecond is then shown again rather than lost.
            return whole * 1_000_000 + int(f"{match.group(2) or '0':0<6}"[:6])
    except ValueError:
        pass
    raise invalid(f"Invalid timestamp {text!r} in the filter: write 2026-01-01T00:00:00Z.")


def _refuse(text: str) -> NoReturn:
    raise invalid(f"This emulator does not know the log filter {text[:500]!r}; it knows: {SUPPORTED}.")
