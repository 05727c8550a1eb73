"""The part of Cloud Logging's query language that asks for the log of a job, or of an endpoint's models.

https://cloud.google.com/logging/docs/view/logging-query-language: comparisons of the fields below, joined by AND, OR,
NOT and parentheses. What else it knows is refused by name, never ignored.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_tasks.emulator.errors import ApiError, invalid
from edge_tasks.emulator.expressions import Parser

if TYPE_CHECKING:
    from edge_tasks.emulator.runtime.job_log import Entry

JOB, ENDPOINT = "ml_job", "aiplatform.googleapis.com/Endpoint"
SUPPORTED = (
    f'resource.type="{JOB}" AND resource.labels.job_id="ID", and of its entries timestamp, insertId, severity and'
    f' resource.labels.task_name; resource.type="{ENDPOINT}" AND resource.labels.endpoint_id="ID", with'
    " resource.labels.location, and of its entries timestamp, insertId, severity and labels.deployed_model_id"
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
ID = re.compile(r"[a-z0-9-]{1,63}")
# What says whose log it is, by the type of the resource.
OWNER = {JOB: "resource.labels.job_id", ENDPOINT: "resource.labels.endpoint_id"}
LOCATION = "resource.labels.location"
FACTS = frozenset({"resource.type", LOCATION, *OWNER.values()})
# What one job's task, or one deployed model, has written.
WRITERS = frozenset({"resource.labels.task_name", "labels.deployed_model_id"})
LONGEST = 20_000


class Term(NamedTuple):
    """A part of a filter: `since` is a time before which no entry passes, in microseconds; `facts` hold for all."""

    passes: Callable[[Entry], bool]
    since: int = 0
    facts: frozenset[tuple[str, str]] = frozenset()


class LogFilter(NamedTuple):
    """Whose log is asked for, and which of its entries; without a location it is any."""

    kind: str
    owner: str
    location: str
    since: int
    passes: Callable[[Entry], bool]


def parse(text: Any) -> LogFilter:
    """Read a filter; it must name one job or one endpoint."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise invalid(f"A log filter must be a text of at most {LONGEST} characters.")
    term = _Parser(text).whole()
    facts = dict(term.facts)
    kind = facts.pop("resource.type", "")
    owner = facts.pop(OWNER.get(kind, ""), "")
    location = facts.pop(LOCATION, "") if kind == ENDPOINT else ""
    is_double = len({name for name, _ in term.facts}) != len(term.facts)
    if is_double or facts or not ID.fullmatch(owner):
        raise _unknown(text, "it does not name one job or endpoint")
    return LogFilter(kind, owner, location, term.since, term.passes)


class _Parser(Parser[Term]):
    """AND binds more than OR, and two comparisons side by side are joined by AND."""

    TOKEN = TOKEN
    JOINS = (("OR",), ("AND",))
    NOT = ("NOT",)
    SIDE_BY_SIDE = "AND"

    def joined(self, signs: Sequence[str], parts: Sequence[Term]) -> Term:
        if signs[0] == "AND":
            facts = frozenset().union(*(part.facts for part in parts))
            since = max(part.since for part in parts)
            return Term(lambda entry: all(part.passes(entry) for part in parts), since, facts)
        if any(part.facts for part in parts):
            raise self.error("one job's log is all that can be listed")
        return Term(lambda entry: any(part.passes(entry) for part in parts), min(part.since for part in parts))

    def negated(self, part: Term) -> Term:
        if part.facts:
            raise self.error("it asks for the logs of others")
        return Term(lambda entry: not part.passes(entry))

    def error(self, problem: str) -> ApiError:
        return _unknown(self.text, problem)

    def term(self) -> Term:
        field, sign = self.next("word").text, self.next("sign").text
        kind, value = self.next("text", "word")
        if kind == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        compare = SIGNS[sign]
        if field in FACTS and sign == "=":
            return Term(lambda _: True, facts=frozenset({(field, value)}))
        if field == "timestamp":
            time = microseconds(value)
            return Term(lambda entry: compare(entry.microseconds, time), time if sign in {"=", ">", ">="} else 0)
        if field == "insertId":
            return Term(lambda entry: compare(insert_id(entry), value))
        if field in WRITERS and sign in {"=", "!="}:
            return Term(lambda entry: compare(entry.replica, value))
        if field != "severity" or value.upper() not in SEVERITIES:
            raise self.error(f"{field} is not known")
        level = SEVERITIES.index(value.upper())
        return Term(lambda entry: compare(SEVERITIES.index(entry.severity), level))


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


def _unknown(text: str, problem: str) -> ApiError:
    return invalid(f"This emulator does not know the log filter {text[:500]!r}: {problem}. It knows: {SUPPORTED}.")
