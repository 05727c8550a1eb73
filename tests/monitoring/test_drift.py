"""A changed column is found, and one that has not changed raises no alarm."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tasks.domain.baseline import Baseline, columns_of, make_baseline
from edge_tasks.domain.distributions import CATEGORY, NUMBER, OTHERS, Distribution, describe
from edge_tasks.domain.drift import CHANGED, SAME, TOO_FEW, chance, compare, jensen_shannon, l_infinity
from edge_tasks.domain.groups import Grouping
from edge_tasks.errors import EdgeError
from tests import seeds

WINDOWS = 150 if seeds.is_fixed() else 1000
Draw = Callable[[random.Random], Any]
# What columns look like: smooth, skewed, counted, in categories, with a long tail, with gaps, rare, mostly zero.
KINDS: tuple[Draw, ...] = (
    lambda chance: chance.gauss(0, 1),
    lambda chance: chance.expovariate(1),
    lambda chance: min(9, int(chance.expovariate(0.5))),
    lambda chance: chance.choices("abcdefgh", [50, 20, 10, 8, 6, 3, 2, 1])[0],
    lambda chance: f"c{int(chance.paretovariate(1.1))}",
    lambda chance: None if chance.random() < 0.02 else chance.random(),
    lambda chance: chance.random() < 0.005,
    lambda chance: 0 if chance.random() < 0.97 else chance.gauss(5, 1),
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))


def drawn(kind: int, rows: int, chance: random.Random) -> list[Any]:
    return [KINDS[kind % len(KINDS)](chance) for _ in range(rows)]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "now", "columns"), [(10_000, 500, 30), (2_000, 200, 30), (500, 500, 8)])
def test_of_a_hundred_windows_of_unchanged_data_one_raises_an_alarm_at_most(
    before: int, now: int, columns: int
) -> None:
    """And a shift of half a standard deviation in one of the columns is found in 95 of 100, with 500 requests."""
    chance = random.Random(f"{seeds.first()}-{before}")
    known = {str(kind): describe(drawn(kind, before, chance)) for kind in range(columns)}
    alarms = found = 0
    for _ in range(WINDOWS):
        window = {name: known[name].like(drawn(int(name), now, chance)) for name in known}
        alarms += any(one.verdict == CHANGED for one in compare(known, window))
        shifted = {**window, "0": known["0"].like([value + 0.5 for value in drawn(0, now, chance)])}
        found += any(one.verdict == CHANGED and one.column == "0" for one in compare(known, shifted))
    # Three standard deviations above one in a hundred.
    assert alarms <= 0.01 * WINDOWS + 3 * math.sqrt(0.01 * WINDOWS)
    assert found >= (0.95 if now >= 500 else 0.85) * WINDOWS


def test_a_category_that_becomes_more_frequent_is_found() -> None:
    before = describe(["west"] * 500 + ["east"] * 500)
    now = before.like(["west"] * 300 + ["east"] * 100 + ["north"] * 100)
    assert l_infinity(before, now) == pytest.approx(0.3)
    (one,) = compare({"region": before}, {"region": now})
    assert (one.verdict, one.measure, one.now.categories[OTHERS]) == (CHANGED, "l_infinity", 100)


def test_the_distances_are_those_of_the_textbook() -> None:
    before, now = Distribution(NUMBER, (0.0,), (50, 50)), Distribution(NUMBER, (0.0,), (90, 10))
    shares = [(0.5, 0.9), (0.5, 0.1)]
    expected = sum(share * math.log2(share / ((p + q) / 2)) for p, q in shares for share in (p, q)) / 2
    assert jensen_shannon(before, now) == pytest.approx(expected)
    assert jensen_shannon(before, Distribution(NUMBER, (0.0,), (100, 0))) < 1
    apart = Distribution(NUMBER, (0.0,), (100, 0)), Distribution(NUMBER, (0.0,), (0, 100))
    assert jensen_shannon(*apart) == pytest.approx(1.0)


def test_the_same_dates_are_the_same_however_they_are_written() -> None:
    days = [datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(days=number % 700) for number in range(2000)]
    known = describe([day.strftime("%Y-%m-%dT%H:%M:%S") for day in days])
    for text in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S.000000", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%S+00:00"):
        assert known.like([day.strftime(text) for day in days]) == known
    (later,) = compare({"since": known}, {"since": known.like([f"{day.year + 1}-06-01" for day in days])})
    assert (later.verdict, known.like(["01/02/2024", None, "2024-13-01"]).missing) == (CHANGED, 3)
    assert Distribution.from_dict(known.to_dict()) == known
    groups = Grouping(known)
    assert groups.of("2024-01-02") == groups.of("2024-01-03T10:00:00") == "below 2024-05-13"
    assert describe(["2024-01-01", "soon"]).kind == CATEGORY


def test_missing_values_that_appear_are_a_change() -> None:
    before = describe([float(number % 100) for number in range(2000)])
    now = before.like([None if number % 4 == 0 else float(number % 100) for number in range(1000)])
    assert [one.verdict for one in compare({"age": before}, {"age": now})] == [CHANGED]


def test_few_requests_have_no_verdict() -> None:
    before = describe([0.0] * 1000)
    now = before.like([5.0] * 100)
    assert [one.verdict for one in compare({"x": before}, {"x": now})] == [TOO_FEW]
    assert [one.verdict for one in compare({"x": before}, {"x": now}, fewest=100)] == [CHANGED]


@pytest.mark.parametrize(("known", "new"), [([0.0], [5.0]), ([0, 1], [2]), ([1, 3], [2]), ([1.5], [-1e300])])
def test_a_number_that_the_training_never_met_is_a_change(known: list[float], new: list[float]) -> None:
    before = describe(known * 500)
    assert [one.verdict for one in compare({"x": before}, {"x": before.like((known + new) * 200)})] == [CHANGED]


def test_a_threshold_of_ones_own_is_kept_to() -> None:
    before = describe(["a"] * 900 + ["b"] * 100)
    now = before.like(["a"] * 700 + ["b"] * 300)
    assert [one.verdict for one in compare({"x": before}, {"x": now}, {"x": 0.3})] == [SAME]
    assert [one.verdict for one in compare({"x": before}, {"x": now}, {"x": 0.1})] == [CHANGED]


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, max_size=60), st.lists(VALUES, max_size=60))
def test_whatever_the_values_are_they_are_all_counted(first: list[Any], second: list[Any]) -> None:
    before = describe(first)
    now = before.like(second)
    assert (before.total, now.total) == (len(first), len(second))
    measure = l_infinity if before.kind == CATEGORY else jensen_shannon
    assert 0 <= measure(before, now) <= 1
    assert measure(before, before) == 0
    assert chance(before, now, 3) > 0
    assert Distribution.from_dict(before.to_dict()) == before


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(VALUES, st.lists(VALUES, max_size=3), st.dictionaries(st.text(max_size=2), VALUES)), max_size=20)
)
def test_every_column_has_a_value_of_every_row(rows: list[Any]) -> None:
    columns = columns_of(rows, rows)
    assert {len(values) for values in columns.values()} <= {len(rows)}
    baseline = make_baseline(columns, "a test")
    assert Baseline.from_json(baseline.to_json()) == baseline


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "rows": "x", "columns": {}}'),
        '{"format_version": 1, "rows": 1, "columns": {"a": {"kind": "number", "edges": [2, 1], "counts": [1, 1, 1]}}}',
    ],
)
def test_what_is_not_a_baseline_is_refused(text: str) -> None:
    with pytest.raises(EdgeError, match="not a baseline"):
        Baseline.from_json(text)


def test_a_baseline_of_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(EdgeError, match="format 9") as refused:
        Baseline.from_json('{"format_version": 9, "rows": 1, "columns": {}}')
    assert refused.value.hint == "git pull, then pip install -r requirements.txt"
