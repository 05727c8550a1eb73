"""What was found, as a table for people and as plain values for programs."""

from __future__ import annotations

import re
from typing import Any

from edge_tasks.domain.distributions import CATEGORY, Distribution
from edge_tasks.domain.drift import Comparison
from edge_tasks.domain.groups import Answers, Estimate, Outcome
from edge_tasks.monitoring.bias import Groups
from edge_tasks.monitoring.watch import Watched

# Lines that people read.
LINES = 12
COLUMNS = ["column", "before", "now", "distance", "threshold", "verdict"]
GROUP_COLUMNS = ["group", "data", "rows", "predicted", "true", "errors"]
DAY_COLUMNS = ["day", "answered", "labels", "errors", "predicted", "true"]
# Classes that have a line each; of two classes the rarer one tells all.
_MOST_CLASSES = 5
CAUTION = (
    "a difference says that the answers differ between these groups; it does not say why, nor whether that is right or "
    "fair. In brackets stands what holds the true value in 95 of 100 cases; of many groups some differ by chance."
)


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


def markdown(watched: Watched) -> str:
    """Return the table of what has changed, and of the rest what is nearest to it, as Markdown."""
    columns, rows = table(watched)
    lines = [f"**{_escaped(watched.model)}**: {watched.requests} requests, {_escaped(watched.verdict)}.", ""]
    if rows:
        lines += [_line(columns), "|---" * len(columns) + "|", *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Return text of other people so that it stays text: no markup, no mention of somebody, no link."""
    text = re.sub(r"[^\w\s.,%+-]|_", lambda sign: f"&#{ord(sign[0])};", text)
    return " ".join(text.split())


def group_table(groups: Groups) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table: each group, in the sample before and now."""
    classes = _classes([*groups.before.values(), *groups.now.values()])
    rows = []
    for name in groups.names:
        for where, found in (("training" if groups.against == "its training" else groups.against, groups.before),
                             ("now", groups.now)):  # fmt: skip
            if name in found:
                rows += _outcome_rows(name, where, found[name], classes)
    return GROUP_COLUMNS, rows


def _outcome_rows(name: str, where: str, outcome: Outcome, classes: list[str]) -> list[list[str]]:
    rows = []
    for number, one in enumerate(classes or [""]):
        told = [name, where, str(outcome.rows)] if not number else ["", "", ""]
        rows.append([*told, _answers(outcome.predicted, one), _answers(outcome.actual, one)])
        rows[-1].append("" if number else _errors(outcome))
    return rows


def day_table(days: dict[str, Outcome]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table: what was answered on each day, and how often it was wrong."""
    (one, *_) = _classes(list(days.values())) or [""]
    rows = [
        [day, str(found.rows), str(found.errors.count), _errors(found), _answers(found.predicted, one),
         _answers(found.actual, one)]
        for day, found in days.items()
    ]  # fmt: skip
    return DAY_COLUMNS, rows


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain values, with its shares or means and their intervals."""
    values = outcome.to_dict()
    for name, answers in (("predicted", outcome.predicted), ("actual", outcome.actual)):
        if answers.names:
            values[name] = {one: [count, *(answers.share(one) or ())] for one, count in answers.names.items()}
        elif answers.numbers.mean:
            values[name] = [answers.numbers.count, *answers.numbers.mean]
    if outcome.error:
        values["errors"] = [outcome.errors.count, *outcome.error]
    return values


def groups_document(groups: Groups) -> dict[str, Any]:
    """Return the groups of a column as plain values."""
    return {
        "by": groups.column,
        "before": {name: outcome_document(outcome) for name, outcome in groups.before.items()},
        "now": {name: outcome_document(outcome) for name, outcome in groups.now.items()},
    }


def _classes(outcomes: list[Outcome]) -> list[str]:
    """Return the classes that have lines: the rarer of two, else the most frequent ones; none of numbers."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for answers in (outcome.predicted, outcome.actual):
            for name, count in answers.names.items():
                counts[name] = counts.get(name, 0) + count
    ordered = sorted(counts, key=lambda name: -counts[name])
    return ordered[1:] if len(ordered) == 2 else ordered[:_MOST_CLASSES]


def _answers(answers: Answers, one: str) -> str:
    if answers.numbers.count:
        return _number(answers.numbers.mean)
    return f"{one} {_percent(answers.share(one))}" if answers.count else ""


def _errors(outcome: Outcome) -> str:
    return _percent(outcome.error) if outcome.counts_wrong else _number(outcome.error)


def _percent(found: Estimate | None) -> str:
    return f"{found.value:.0%} ({found.low * 100:.0f} to {found.high:.0%})" if found else ""


def _number(found: Estimate | None) -> str:
    return f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g})" if found else ""


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
    edges = distribution.edges
    seen = 0
    for place, count in enumerate(distribution.counts):
        seen += count
        if there and seen * 2 >= there:
            if place == 0:
                return f"median < {distribution.written(edges[0], 4)}" if edges else "one value"
            if place == len(edges):
                return f"median > {distribution.written(edges[-1], 4)}"
            return f"median {distribution.between(edges[place - 1], edges[place], 4)}"
    return "none" if not distribution.missing else "all missing"
