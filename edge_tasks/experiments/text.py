"""Recorded runs as text: rows of a table, one run in full, and several side by side. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from edge_tasks.domain.progress import duration
from edge_tasks.domain.run_filter import flattened
from edge_tasks.domain.runs import RunRecord, RunSummary, Series

_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 40
_LAST_LINES = 20

# Those of a summary that are one value each.
_CSV_FIELDS = (
    *("run_id", "model_name", "status", "created", "started", "heartbeat", "ended", "user", "host", "target", "job"),
    *("commit", "dirty", "data_version", "error", "model_version", "tags", "name"),
)

# The first columns of a table, whatever the runs.
_HEAD = ("run", "model", "status", "started", "took", "user", "commit")
# Parameters that say nothing in a table: its own column, where it ran, and what Sacred drew.
_LEFT_OUT = ("model_name", "is_vertex", "seed")


def table(runs: Sequence[RunSummary], now: datetime) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows: what a run is, its metrics, and the parameters that are not the same everywhere.

    Runs of several models have few names in common, so theirs stand in two columns.
    """
    if len({run.model_name for run in runs}) > 1:
        return _table_of_several_models(runs, now)
    metrics = _names(flattened(run.metrics) for run in runs)
    parameters = [name for name in differing([run.parameters for run in runs]) if name not in _LEFT_OUT]
    columns = [*_HEAD, *metrics, *parameters, "tags"]
    rows = []
    for run in runs:
        measured, chosen = flattened(run.metrics), flattened(run.parameters)
        rows.append(
            [
                *_head(run, now),
                *(short(measured.get(name, "")) for name in metrics),
                *(short(chosen.get(name, "")) for name in parameters),
                ",".join(run.tags),
            ]
        )
    return _without_empty_tags(runs, columns, rows)


def _table_of_several_models(runs: Sequence[RunSummary], now: datetime) -> tuple[list[str], list[list[str]]]:
    differing_in = {
        name: differing([run.parameters for run in runs if run.model_name == name])
        for name in {run.model_name for run in runs}
    }
    rows = []
    for run in runs:
        chosen = flattened(run.parameters)
        shown = [name for name in differing_in[run.model_name] if name not in _LEFT_OUT and name in chosen]
        rows.append(
            [
                *_head(run, now),
                " ".join(f"{name}={short(value)}" for name, value in flattened(run.metrics).items()),
                " ".join(f"{name}={short(chosen[name])}" for name in shown),
                ",".join(run.tags),
            ]
        )
    columns = [*_HEAD, "metrics", "parameters", "tags"]
    return _without_empty_tags(runs, columns, rows)


def _head(run: RunSummary, now: datetime) -> list[str]:
    """Return the values of the columns `_HEAD`."""
    return [
        run.run_id,
        run.model_name,
        run.status_at(now).lower(),
        short_time(run.started or run.created),
        _took(run, now),
        run.user or "",
        short_commit(run),
    ]


def _without_empty_tags(
    runs: Sequence[RunSummary], columns: list[str], rows: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """Return a table without its last column, the tags, when no run has one."""
    if any(run.tags for run in runs):
        return columns, rows
    return columns[:-1], [row[:-1] for row in rows]


def csv_table(runs: Sequence[RunSummary], now: datetime) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows with everything that a listing knows, for other programs."""
    documents = [document(run, now) for run in runs]
    metrics = _names(flattened(one["metrics"]) for one in documents)
    parameters = _names(flattened(one["parameters"]) for one in documents)
    columns = [
        *_CSV_FIELDS,
        "seconds",
        *(f"metrics.{name}" for name in metrics),
        *(f"parameters.{name}" for name in parameters),
    ]
    rows = []
    for one in documents:
        measured, chosen = flattened(one["metrics"]), flattened(one["parameters"])
        values = [*(one[name] for name in _CSV_FIELDS), one["seconds"]]
        values += [measured.get(name) for name in metrics] + [chosen.get(name) for name in parameters]
        rows.append([json.dumps(value) if isinstance(value, list) else value for value in values])
    return columns, rows


def document(run: RunSummary, now: datetime) -> dict[str, Any]:
    """Return a run as plain JSON, with its status and duration as they are now."""
    values = run.model_dump(mode="json", exclude={"cut"})
    return {**values, "status": run.status_at(now), "seconds": run.seconds_at(now)}


def described(record: RunRecord, series: Mapping[str, Series], now: datetime) -> list[str]:
    """Return one run in full, line by line."""
    facts = {
        "run": record.run_id,
        "model": record.model_name,
        "status": record.status_at(now).lower() + (f": {record.error}" if record.error else ""),
        "name": record.name,
        "notes": record.notes,
        "tags": ", ".join(record.tags),
        "submitted": short_time(record.created) if record.job else "",
        "started": short_time(record.started) if record.started else "",
        "took": _took(record, now),
        "by": f"{record.user or 'unknown'} on {record.host or 'a machine not known yet'}, target {record.target}",
        "job": record.job,
        "commit": (record.commit or "none") + (" (files differed from it)" if record.dirty else ""),
        "version": record.model_version,
        "artifact": record.artifact_uri,
        "sha256": record.artifact_sha256,
        "repeats": record.reproduced_from,
        "result": "" if record.own_result is None else short(record.own_result),
    }
    width = max(len(name) for name in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts.items() if value]
    lines += _section("parameters", flattened(record.parameters))
    lines += _section("metrics", flattened(record.metrics))
    lines += _section("curves", {name: curve(one) for name, one in series.items() if len(one.values) > 1})
    lines += _section("data", record.data)
    lines += _section("environment", record.environment)
    lines += _section("files", {name: f"{size} bytes" for name, size in record.sources.items()})
    if record.trace:
        lines += ["", "trace", *(f"  {line}" for line in record.trace.rstrip().splitlines())]
    return lines


def last_lines(output: bytes) -> list[str]:
    """Return a section with the end of what a run has printed."""
    lines = output.decode(errors="replace").rstrip().splitlines()
    title = (
        f"output (the last {_LAST_LINES} of {len(lines)} lines; all: --output)"
        if len(lines) > _LAST_LINES
        else "output"
    )
    return ["", title, *(f"  {line}" for line in lines[-_LAST_LINES:])] if lines else []


def comparison(
    runs: Sequence[RunRecord], series: Sequence[Mapping[str, Series]], now: datetime
) -> tuple[list[str], list[list[str]]]:
    """Return a table with a column for each run: how they ended, and the parameters, metrics and curves that differ."""
    rows = [
        ["model", *(run.model_name for run in runs)],
        ["status", *(run.status_at(now).lower() for run in runs)],
        ["started", *(short_time(run.started or run.created) for run in runs)],
        ["took", *(_took(run, now) for run in runs)],
        ["commit", *(short_commit(run) for run in runs)],
    ]
    for title, values in (
        ("data", [run.data for run in runs]),
        ("parameters", [run.parameters for run in runs]),
        ("metrics", [run.metrics for run in runs]),
        ("environment", [run.environment for run in runs]),
    ):
        flats = [flattened(one) for one in values]
        rows += [[f"{title}.{name}", *(short(one.get(name, "")) for one in flats)] for name in differing(values)]
    curved = _names({name: None for name, one in each.items() if len(one.values) > 1} for each in series)
    rows += [[f"curves.{name}", *(curve(each[name], 20) if name in each else "" for each in series)] for name in curved]
    return ["", *(run.run_id for run in runs)], rows


def differences(runs: Sequence[RunRecord], series: Sequence[Mapping[str, Series]], now: datetime) -> dict[str, Any]:
    """Return the same as `comparison` as plain JSON, with whole values and curves."""
    return {
        "runs": [document(run, now) for run in runs],
        "differing": {
            title: {name: [flattened(one).get(name) for one in values] for name in differing(values)}
            for title, values in (
                ("data", [run.data for run in runs]),
                ("parameters", [run.parameters for run in runs]),
                ("metrics", [run.metrics for run in runs]),
                ("environment", [run.environment for run in runs]),
            )
        },
        "curves": [{name: one.model_dump(mode="json") for name, one in each.items()} for each in series],
    }


def differing(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names whose values are not the same everywhere, in the order in which they first appear."""
    flats = [flattened(one) for one in values]
    missing = object()
    return [
        name for name in _names(flats) if any(one.get(name, missing) != flats[0].get(name, missing) for one in flats)
    ]


def curve(series: Series, width: int = _CURVE_WIDTH) -> str:
    """Return a series as a line of bars between its least and its greatest value, with its ends as numbers."""
    values = [value for value in series.values if value is not None]
    if not values:
        return ""
    least, greatest = min(values), max(values)
    count = min(width, len(values))
    # The last value of each of `count` parts, so that the end is the end.
    points = [values[(part + 1) * len(values) // count - 1] for part in range(count)]
    scale = (len(_BARS) - 1) / (greatest - least) if greatest > least else 0.0
    bars = "".join(_BARS[round((value - least) * scale)] for value in points)
    return f"{bars}  {short(values[0])} to {short(values[-1])}"


def short(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short_time(moment: datetime) -> str:
    """Return a time of this machine's clock, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def short_commit(run: RunSummary) -> str:
    """Return the beginning of the commit, with a star when files differed from it."""
    return f"{run.commit[:8]}{'*' if run.dirty else ''}" if run.commit else ""


def _took(run: RunSummary, now: datetime) -> str:
    seconds = run.seconds_at(now)
    return "" if seconds is None else duration(seconds)


def _section(title: str, values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    width = max(len(name) for name in values)
    return ["", title, *(f"  {name:<{width}}  {short(value)}" for name, value in values.items())]


def _names(each: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for one in each for name in one))
