"""What a model answers to the groups of a column, in its training and in what it is asked now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.cloud.request_batch import Batch
from edge_tasks.domain.baseline import Baseline, columns_of
from edge_tasks.domain.config import Monitoring
from edge_tasks.domain.distributions import Distribution, describe
from edge_tasks.domain.groups import MOST_GROUPS, Grouping, Outcome, answer_of
from edge_tasks.errors import EdgeError
from edge_tasks.monitoring import requests
from edge_tasks.monitoring.feedback import Labels
from edge_tasks.monitoring.watch import names_in


@dataclass(frozen=True)
class Groups:
    """The groups of a column: what they were answered in the sample of `against`, and now."""

    column: str
    against: str
    before: Mapping[str, Outcome] = field(default_factory=dict)
    now: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The groups, as the sample before has them, then those that are new."""
        return list({**self.before, **self.now})


def groups(
    batches: Iterable[Batch], baseline: Baseline | None, labels: Labels, column: str, settings: Monitoring
) -> Groups:
    """Split what was asked, and the baseline, by the groups of a column.

    Without a baseline the groups are those of what was asked.
    """
    if settings.columns and column not in settings.columns:
        raise EdgeError(f"`{column}` is not one of the columns that may be looked at", "add it to `monitoring.columns`")
    names = names_in(baseline) if baseline else []
    inputs: dict[str, None] = {}
    values: list[Any] = []
    answers: list[Any] = []
    known: list[Any] = []
    for batch in batches:
        columns = columns_of(requests.asked(batch), (), names)
        inputs.update(dict.fromkeys(columns))
        answers += [answer_of(prediction) for prediction in requests.answered(batch)]
        values += columns.get(column, [None] * (len(answers) - len(values)))
        known += labels.of_batch(batch)
    if column not in inputs and (baseline is None or column not in baseline.columns):
        there = ", ".join(f"`{name}`" for name in inputs) or "none"
        raise EdgeError(f"what is asked has no column `{column}`", f"it has {there}")
    grouping = Grouping(_distribution(baseline, column, values))
    if not grouping.is_possible:
        raise EdgeError(
            f"`{column}` has no groups to compare", f"choose a column with 2 to {MOST_GROUPS} categories, or of numbers"
        )
    before = baseline.groups.get(column) if baseline else None
    if before is None and baseline is not None and column in baseline.columns:
        before = _sizes(grouping)
    source = baseline.source if baseline else ""
    return Groups(column, source, before or {}, grouping.split(values, answers, known))


def _distribution(baseline: Baseline | None, column: str, values: Sequence[Any]) -> Distribution:
    return baseline.columns[column] if baseline and column in baseline.columns else describe(values)


def _sizes(grouping: Grouping) -> dict[str, Outcome]:
    """Return the groups of a sample of which only the distribution is known."""
    sizes: dict[str, int] = {}
    for value, count in grouping.column.representatives():
        name = grouping.of(value)
        sizes[name] = sizes.get(name, 0) + count
    return {name: Outcome(count) for name, count in sorted(sizes.items(), key=lambda item: -item[1]) if count}
