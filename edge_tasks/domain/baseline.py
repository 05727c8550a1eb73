"""A baseline: how the columns of a sample are distributed, without its rows. Pure values.

Instances are objects with a value for each column, lists of numbers, or single values; the columns of the last two are
named `0`, `1`, ... unless names are given. Predictions are one column, `prediction`; of an object or a list each part
is one, such as `prediction.probability`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.domain.distributions import Distribution, describe
from edge_tasks.errors import EdgeError

FILE_NAME = "baseline.json"
FORMAT_VERSION = 1
PREDICTION = "prediction"
# Of a longer list, such as an image's pixels, nobody looks at the parts.
MOST_PARTS = 200


@dataclass(frozen=True)
class Baseline:
    """The columns of a sample of `rows` rows, and where it comes from, in words."""

    rows: int
    columns: Mapping[str, Distribution] = field(default_factory=dict)
    source: str = ""

    def to_json(self) -> str:
        """Return the content of baseline.json."""
        columns = {name: column.to_dict() for name, column in self.columns.items()}
        values = {"format_version": FORMAT_VERSION, "rows": self.rows, "source": self.source, "columns": columns}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Baseline:
        """Read baseline.json. Raises EdgeError that says what is wrong with it."""
        try:
            values = json.loads(text)
            version = values["format_version"]
            columns = {str(name): Distribution.from_dict(value) for name, value in values["columns"].items()}
            found = cls(int(values["rows"]), columns, str(values.get("source", "")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EdgeError(f"it is not a baseline: {error}") from None
        if version != FORMAT_VERSION:
            hint = "git pull, then pip install -r requirements.txt"
            raise EdgeError(f"it has format {version}, this version of vertex-edge knows {FORMAT_VERSION}", hint)
        return found

    def like(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Distribution]:
        """Count other values in this baseline's bins; columns that it does not know are left out."""
        return {name: self.columns[name].like(values) for name, values in columns.items() if name in self.columns}


def make_baseline(columns: Mapping[str, Sequence[Any]], source: str = "") -> Baseline:
    """Describe the columns of a sample."""
    rows = max((len(values) for values in columns.values()), default=0)
    return Baseline(rows, {name: describe(values) for name, values in columns.items()}, source)


def columns_of(
    instances: Iterable[Any], predictions: Iterable[Any] = (), names: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Return the values of each column; a row that lacks one has None there."""
    found: dict[str, list[Any]] = {}
    _collect(found, instances, "", names)
    _collect(found, predictions, PREDICTION, ())
    return found


def _collect(found: dict[str, list[Any]], rows: Iterable[Any], prefix: str, names: Sequence[str]) -> None:
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
