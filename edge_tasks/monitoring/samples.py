"""Rows in a file: CSV with a header line, or JSON lines, one instance each."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_tasks.domain.baseline import FILE_NAME, Baseline, columns_of, make_baseline
from edge_tasks.domain.distributions import number_of
from edge_tasks.errors import EdgeError

_SHIFT = re.compile(r"\s*([^=]+?)\s*=\s*([+*-])\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*")


def read_columns(path: Path, texts: Container[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of a file, those of `texts` as they stand there.

    Raises EdgeError that names the line which cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    if path.suffix == ".csv":
        return _csv_columns(text, path, texts)
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise EdgeError(
                    f"`{path}`, line {number} is not JSON: {error}", "write one instance per line, or a .csv file"
                ) from None
    return columns_of(rows)


_NAME_ONE = "name a .csv, .jsonl or baseline.json file"


def read_baseline(path: Path) -> Baseline:
    """Return the baseline in a file: a baseline.json, or the rows that one is made of."""
    if path.name == FILE_NAME or path.suffix == ".json":
        try:
            return Baseline.from_json(path.read_bytes())
        except OSError as error:
            raise _unreadable(path, error) from None
        except EdgeError as error:
            raise EdgeError(f"`{path}`: {error.problem}", error.hint or _NAME_ONE) from None
    return make_baseline(read_columns(path), str(path))


def _unreadable(path: Path, error: Exception) -> EdgeError:
    reason = getattr(error, "strerror", None) or error
    return EdgeError(f"`{path}` cannot be read: {reason}", _NAME_ONE)


def shifted(columns: Mapping[str, Sequence[Any]], shifts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns with some of them changed: `age=+2`, `age=-2`, `age=*1.5`."""
    found = {name: list(values) for name, values in columns.items()}
    for text in shifts:
        match = _SHIFT.fullmatch(text)
        if match is None:
            raise EdgeError(f"`{text}` is not a shift", "write COLUMN=+2, COLUMN=-2 or COLUMN=*1.5")
        name, sign, amount = match[1], match[2], float(match[3])
        if name not in found:
            raise EdgeError(f"there is no column `{name}`", f"there are {', '.join(f'`{one}`' for one in found)}")
        if not any(number_of(value) is not None for value in found[name]):
            raise EdgeError(f"`{name}` holds no numbers that could be shifted", "choose another column, such as age=+2")
        factor, term = (amount, 0.0) if sign == "*" else (1.0, amount if sign == "+" else -amount)
        found[name] = [
            value * factor + term if isinstance(value, int | float) and not isinstance(value, bool) else value
            for value in found[name]
        ]
    return found


def _csv_columns(text: str, path: Path, texts: Container[str]) -> dict[str, list[Any]]:
    rows = list(csv.reader(text.splitlines()))
    if not rows:
        raise EdgeError(f"`{path}` is empty", "its first line names the columns")
    names, *rest = rows
    for number, row in enumerate(rest, 2):
        if row and len(row) != len(names):
            raise EdgeError(f"`{path}`, line {number} has {len(row)} values; there are {len(names)} columns")
    columns = {name: [row[place] for row in rest if row] for place, name in enumerate(names)}
    return {
        name: [value or None for value in values] if name in texts else _typed(values)
        for name, values in columns.items()
    }


def _typed(values: Sequence[str]) -> list[Any]:
    """Return a column as numbers when all that is there are numbers; an empty value is missing."""
    try:
        return [float(value) if value.strip() else None for value in values]
    except ValueError:
        return [value or None for value in values]
