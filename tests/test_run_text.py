"""Choosing, ordering and showing runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from edge_tasks.domain.run_filter import Filter, check_names
from edge_tasks.domain.run_query import Query, checked_status, ordered
from edge_tasks.domain.runs import COMPLETED, RUNNING, RunRecord, Series
from edge_tasks.errors import EdgeError
from edge_tasks.experiments.text import comparison, csv_table, curve, described, differing, document, last_lines, table
from tests.run_filter_cases import CHOSEN, FILTERED, NOW, REFUSED


def run(run_id: str, **values: Any) -> RunRecord:
    known = {"model_name": "wine", "status": COMPLETED, "created": NOW, "started": NOW, "ended": NOW}
    return RunRecord(**{"run_id": run_id, **known, **values})


RUNS = [
    run("a", parameters={"rate": 0.1, "kernel": "rbf", "deep": {"layers": 3}, "seed": 1}, metrics={"score": 0.9}),
    run("b", parameters={"rate": 0.2, "kernel": "rbf", "flag": True, "seed": 2}, metrics={"score": 0.95}, user="ada"),
    run("c", parameters={"rate": 1, "kernel": "linear", "seed": 3}, metrics={"score": "NaN"}, tags=("good",)),
]


@pytest.mark.parametrize(("text", "chosen"), CHOSEN)
def test_a_filter_chooses_runs(text: str, chosen: str) -> None:
    wanted = Filter.parse(text)
    wanted.check(FILTERED, NOW)
    assert "".join(one.run_id for one in Query(where=wanted).chosen(FILTERED, NOW)) == chosen


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_a_filter_that_makes_no_sense_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(EdgeError) as refused:
        Filter.parse(text).check(FILTERED, NOW)
    assert refused.value.problem == problem


def test_runs_are_chosen_by_what_they_are() -> None:
    runs = [*RUNS, run("d", model_name="cats", status=RUNNING, heartbeat=NOW - timedelta(hours=1), commit="abcdef")]

    def chosen(query: Query) -> str:
        return "".join(one.run_id for one in query.chosen(runs, NOW))

    assert chosen(Query(model_name="cats")) == "d"
    assert chosen(Query(status=checked_status("died"))) == "d"
    assert chosen(Query(status="RUNNING")) == ""
    assert chosen(Query(user="ada")) == "b"
    assert chosen(Query(commit="ABC")) == "d"
    assert chosen(Query(tag="good")) == "c"


def test_names_and_statuses_that_nobody_knows_are_refused() -> None:
    with pytest.raises(EdgeError, match="no run has `scoer`") as near:
        check_names(["scoer"], RUNS)
    assert near.value.hint == "did you mean `score`?"
    check_names(["score", "deep.layers"], RUNS)
    check_names(["anything"], [])
    with pytest.raises(EdgeError, match="`gone` is not a status"):
        checked_status("gone")


def test_runs_are_ordered_and_those_without_a_number_come_last() -> None:
    def order(name: str, *, descending: bool = False) -> str:
        return "".join(one.run_id for one in ordered(RUNS, name, descending=descending))

    assert order("score") == "abc"
    assert order("score", descending=True) == "bac"
    assert order("kernel") == "cab"
    assert order("run_id", descending=True) == "cba"


def test_a_table_shows_metrics_and_the_parameters_that_differ() -> None:
    columns, rows = table(RUNS, NOW)
    assert columns == [
        *("run", "model", "status", "started", "took", "user", "commit"),
        *("score", "rate", "kernel", "deep.layers", "flag", "tags"),
    ]
    assert rows[0][0] == "a"
    assert rows[0][-6:] == ["0.9", "0.1", "rbf", "3", "", ""]
    assert rows[1][-6:] == ["0.95", "0.2", "rbf", "", "true", ""]
    assert "tags" not in table(RUNS[:2], NOW)[0]


def test_csv_holds_everything() -> None:
    columns, rows = csv_table(RUNS, NOW)
    first = dict(zip(columns, rows[0], strict=True))
    assert first["run_id"] == "a"
    assert first["metrics.score"] == 0.9
    assert first["parameters.deep.layers"] == 3
    assert first["parameters.flag"] is None
    assert first["seconds"] == 0.0
    for name in RUNS[0].summary().model_dump(exclude={"cut"}):
        assert any(column == name or column.startswith(f"{name}.") for column in columns), name


def test_json_has_the_status_of_now() -> None:
    died = run("d", status=RUNNING, ended=None, heartbeat=NOW + timedelta(seconds=30))
    assert document(died, NOW + timedelta(hours=1))["status"] == "DIED"
    assert document(died, NOW + timedelta(hours=1))["seconds"] == 30


def test_only_what_differs_is_compared() -> None:
    assert differing([{"a": 1, "b": {"c": 1}}, {"a": 1, "b": {"c": 2}}, {"a": 1, "d": None}]) == ["b.c", "d"]
    series = {"loss": Series(steps=[0, 1], values=[1.0, 0.5])}
    columns, rows = comparison(RUNS[:2], [series, {}], NOW)
    assert columns == ["", "a", "b"]
    shown = {row[0]: row[1:] for row in rows}
    assert shown["parameters.rate"] == ["0.1", "0.2"]
    assert "parameters.kernel" not in shown
    assert shown["metrics.score"] == ["0.9", "0.95"]
    assert shown["curves.loss"] == ["█▁  1 to 0.5", ""]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█  0 to 7"),
        ([1.5, 1.5], "▁▁  1.5 to 1.5"),
        ([None, 2.0, None, 1.0], "█▁  2 to 1"),
        ([None], ""),
        ([], ""),
    ],
)
def test_a_curve_is_a_line_of_bars(values: list[float | None], line: str) -> None:
    assert curve(Series(steps=list(range(len(values))), values=values)) == line


def test_a_long_curve_keeps_its_end() -> None:
    line = curve(Series(steps=[], values=[*([0.0] * 999), 1.0]), width=10)
    assert line == "▁▁▁▁▁▁▁▁▁█  0 to 1"


def test_a_run_is_described_with_what_there_is_of_it() -> None:
    lines = described(run("a", error="ValueError: x", status="FAILED", trace="Traceback\n  x"), {}, NOW)
    assert "status     failed: ValueError: x" in lines
    assert lines[-2:] == ["  Traceback", "    x"]
    assert "metrics" not in lines


def test_the_end_of_an_output_is_shown() -> None:
    assert last_lines(b"") == []
    assert last_lines(b"one\ntwo \xff\n") == ["", "output", "  one", "  two �"]
    assert last_lines(b"x\n" * 30)[1] == "output (the last 20 of 30 lines; all: --output)"
