"""A baseline: how the columns of a sample are distributed, without its rows. Pure values.

Instances are objects with a value for each column, lists of numbers, or single values; the columns of the last two are
named `0`, `1`, ... unless names are given. Predictions are one column, `prediction`; of an object or a list each part
is one, such as `prediction.probability`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from edge_tasks.domain.distributions import Distribution, describe
from edge_tasks.domain.groups import Grouping, Outcome, answer_of
from edge_tasks.errors import EdgeError

FILE_NAME = "baseline.json"
FORMAT_VERSION = 1
PREDICTION = "prediction"
# Of a longer list, such as an image's pixels, nobody looks at the parts.
MOST_PARTS = 200
# So many columns have groups, which keeps baseline.json small.
MOST_GROUPED = 50


@dataclass(frozen=True)
class Baseline:
    """The columns of a sample of `rows` rows, and where it comes from, in words.

    `groups` holds, by column and group, what was answered there; `data` the version of each data file that the training
    had (path to DVC hash).
    """

    rows: int
    columns: Mapping[str, Distribution] = field(default_factory=dict)
    source: str = ""
    groups: Mapping[str, Mapping[str, Outcome]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the content of baseline.json."""
        columns = {name: column.to_dict() for name, column in self.columns.items()}
        values = {"format_version": FORMAT_VERSION, "rows": self.rows, "source": self.source, "columns": columns}
        if self.data:
            values["data"] = dict(self.data)
        if self.groups:
            values["groups"] = {
                column: {name: outcome.to_dict() for name, outcome in groups.items()}
                for column, groups in self.groups.items()
            }
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Baseline:
        """Read baseline.json. Raises EdgeError that says what is wrong with it."""
        try:
            values = json.loads(text)
            version = values["format_version"]
            columns = {str(name): Distribution.from_dict(value) for name, value in values["columns"].items()}
            groups = {
                str(column): {str(name): Outcome.from_dict(outcome) for name, outcome in found.items()}
                for column, found in values.get("groups", {}).items()
            }
            data = {str(path): str(version) for path, version in values.get("data", {}).items()}
            found = cls(int(values["rows"]), columns, str(values.get("source", "")), groups, data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EdgeError(f"it is not a baseline: {error}") from None
        if version != FORMAT_VERSION:
            hint = "git pull, then pip install -r requirements.txt"
            raise EdgeError(f"it has format {version}, this version of vertex-edge knows {FORMAT_VERSION}", hint)
        return found

    def only(self, columns: Sequence[str]) -> Baseline:
        """Return the baseline of these columns and of the predictions alone; of all when none is named."""
        if not columns:
            return self
        kept = {name: one for name, one in self.columns.items() if name in columns or is_prediction(name)}
        return replace(self, columns=kept, groups={name: one for name, one in self.groups.items() if name in columns})

    def like(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Distribution]:
        """Count other values in this baseline's bins; columns that it does not know are left out."""
        return {name: self.columns[name].like(values) for name, values in columns.items() if name in self.columns}


def is_prediction(column: str) -> bool:
    """Whether a column holds predictions, not inputs."""
    return column == PREDICTION or column.startswith(f"{PREDICTION}.")


class Tally:
    """Rows that come in batches, counted in the bins of a baseline: what is kept does not grow with them."""

    def __init__(self, baseline: Baseline) -> None:
        self._known = baseline.columns
        self._counted: dict[str, Distribution] = {}
        self.names: dict[str, None] = {}
        self.rows = 0

    def add(self, columns: Mapping[str, Sequence[Any]], rows: int) -> None:
        """Count the columns of so many more rows."""
        self.names.update(dict.fromkeys(columns))
        for name in {**self._counted, **columns}:
            known = self._known.get(name)
            if known is not None:
                more = known.like(columns[name]) if name in columns else _all_missing(known, rows)
                before = self._counted.get(name) or _all_missing(known, self.rows)
                self._counted[name] = before.plus(more)
        self.rows += rows

    @property
    def columns(self) -> dict[str, Distribution]:
        """The columns of the baseline that the rows have; what a row lacks is missing."""
        return {name: self._counted[name] for name in self._known if name in self._counted}


def _all_missing(known: Distribution, rows: int) -> Distribution:
    return replace(known.like(()), missing=rows)


def make_baseline(columns: Mapping[str, Sequence[Any]], source: str = "") -> Baseline:
    """Describe the columns of a sample."""
    rows = max((len(values) for values in columns.values()), default=0)
    return Baseline(rows, {name: describe(values) for name, values in columns.items()}, source)


def grouped(
    inputs: Mapping[str, Sequence[Any]],
    distributions: Mapping[str, Distribution],
    predictions: Sequence[Any],
    labels: Sequence[Any],
) -> dict[str, dict[str, Outcome]]:
    """Return, for each column that has groups, what these were answered."""
    answers = [answer_of(prediction) for prediction in predictions]
    possible = {name: Grouping(distributions[name]) for name in inputs if name in distributions}
    found = [name for name, grouping in possible.items() if grouping.is_possible][:MOST_GROUPED]
    return {name: possible[name].split(inputs[name], answers, labels) for name in found}


def columns_of(
    instances: Iterable[Any], predictions: Iterable[Any] = (), names: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Return the values of each column; a row that lacks one has None there."""
    found: dict[str, list[Any]] = {}
    _collect(found, instances, "", names)
    _collect(found, predictions, PREDICTION, ())
    return found


def _collect(found: dict[str, list[Any]], rows: Iterable[Any], prefix: str, names: Sequence[str]) -> None:
    rows = rows if isinstance(rows, list) else list(rows)
    alike = _alike(rows, prefix, names)
    if alike is not None:
        found.update(alike)
        return
    columns: dict[str, list[Any]] = {}
    for count, row in enumerate(rows):
        for name, value in _parts(row, prefix, names):
            column = columns.get(name)
            if column is None:
                columns[name] = column = [None] * count
            column.append(value)
        for column in columns.values():
            if len(column) <= count:
                column.append(None)
    found.update(columns)


def _alike(rows: list[Any], prefix: str, names: Sequence[str]) -> dict[str, list[Any]] | None:
    """Return the columns of rows that are all built alike, in a tenth of the time; None when they are not."""
    kinds = set(map(type, rows))
    if len(kinds) != 1 or len(set(map(len, rows)) if kinds <= {dict, list} else ()) > 1:
        return None
    first = rows[0]
    if kinds == {dict}:
        dot = f"{prefix}." if prefix else ""
        keys = list(first)
        try:
            values = [list(map(itemgetter(key), rows)) for key in keys]
        except KeyError:
            return None
        whole = [f"{dot}{key}" for key in keys]
    elif kinds == {list}:
        if len(first) > MOST_PARTS:
            return {}
        values = [list(column) for column in zip(*rows, strict=True)]
        parts = [names[place] if place < len(names) else str(place) for place in range(len(first))]
        whole = [f"{prefix}.{name}" if prefix else name for name in parts]
    else:
        return {prefix or (names[0] if names else "0"): rows}
    found: dict[str, list[Any]] = {}
    for name, column in zip(whole, values, strict=True):
        inner = set(map(type, column))
        if not inner & {dict, list}:
            found[name] = column
            continue
        below = _alike(column, name, ())
        if below is None:
            return None
        found.update(below)
    return found


def _parts(row: Any, prefix: str, names: Sequence[str]) -> Iterable[tuple[str, Any]]:
    if isinstance(row, dict):
        dot = f"{prefix}." if prefix else ""
        for name, value in row.items():
            if isinstance(value, dict | list):
                yield from _parts(value, f"{dot}{name}", ())
            else:
                yield f"{dot}{name}", value
    elif isinstance(row, list):
        if len(row) <= MOST_PARTS:
            for place, value in enumerate(row):
                name = names[place] if place < len(names) else str(place)
                whole = f"{prefix}.{name}" if prefix else name
                yield from _parts(value, whole, ()) if isinstance(value, dict | list) else [(whole, value)]
    else:
        yield prefix or (names[0] if names else "0"), row
