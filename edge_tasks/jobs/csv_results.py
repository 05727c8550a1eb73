"""The results of a batch prediction as a table that pandas and spreadsheets read: a column for each value."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PREDICTION = "prediction"


def as_csv(results: Sequence[Mapping[str, Any]], header: Sequence[str] = ()) -> str:
    """Return results as CSV: the columns of the instances, then those of the predictions; an empty cell is null.

    What is in an object or a list of a prediction has a column each, such as `probabilities_yes` and `prediction_0`.
    Instances that are lists have the names of `header`, where it has one for each value, else x1, x2, ...
    """
    instances = [_named(result.get("instance"), header) for result in results]
    predictions = [dict(_flat(result[PREDICTION])) for result in results]
    known = _names(instances)
    given = _names(predictions) or [PREDICTION]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*known, *(_free(name, known) for name in given)])
    for instance, prediction in zip(instances, predictions, strict=True):
        cells = [*map(instance.get, known), *map(prediction.get, given)]
        writer.writerow([_cell(value) for value in cells])
    return stream.getvalue()


def _named(instance: Any, header: Sequence[str]) -> dict[str, Any]:
    if isinstance(instance, dict):
        return instance
    values = instance if isinstance(instance, list) else [instance]
    if len(header) == len(values):
        return dict(zip(header, values, strict=True))
    return {f"x{number}": value for number, value in enumerate(values, 1)}


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the plain values in a prediction by the names of their columns; a list of lists stays one."""
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        parts = list(enumerate(value))
        name = name or PREDICTION
    if not parts:
        yield name or PREDICTION, value
    for key, part in parts:
        yield from _flat(part, f"{name}_{key}" if name else str(key))


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names in rows, each once; not every row has all of them."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that no column of the instances has."""
    while name in taken:
        name = f"{PREDICTION}_{name}"
    return name


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
