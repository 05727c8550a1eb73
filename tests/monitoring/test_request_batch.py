"""Rows of a request log, read by thousands: whatever stands between them, the good ones are read."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.cloud.request_batch import Batch, of_lines, of_rows
from edge_tasks.domain.baseline import MOST_PARTS, Tally, columns_of, make_baseline
from edge_tasks.domain.distributions import MANY, Distribution, describe
from edge_tasks.monitoring import watch

ENDPOINT = "/endpoints/77"
SINCE, UNTIL = "2026-11-27T00:00:00.000000+00:00", "2026-11-28T00:00:00.000000+00:00"
TIME = "2026-11-27T12:00:00.000000+00:00"


def row(number: int, **changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "endpoint": f"projects/1/locations/here{ENDPOINT}",
        "deployed_model_id": "1",
        "logging_time": TIME,
    }
    values |= {"request_id": str(number), "request_payload": [json.dumps({"age": number})]}
    return {**values, "response_payload": [json.dumps(number / 2)], **changed}


def lines(*rows: Any) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in rows) + b"\n"


def read(*rows: Any) -> Batch:
    return of_lines(lines(*rows), ENDPOINT, SINCE, UNTIL)


@pytest.mark.parametrize(
    "damaged",
    [
        lines(row(5))[:100],
        lines(row(5))[100:],
        b"\x00\xff\x80 garbage",
        b"",
        b"[]",
        b"null",
        b"1,2",
        b'{"a":1},{"b":2}',
        lines(row(5, logging_time="yesterday")),
        lines(row(5, logging_time="2026-11-27T1x:00:00.000000+00:00")),
        lines(row(5, logging_time="9" * 400)),
        lines(row(5, logging_time=5)),
        lines(row(5, request_payload=None)),
        lines(row(5, request_payload=[{"age": 5}])),
        lines(row(5, endpoint="projects/1/locations/here/endpoints/8")),
        lines(row(5, endpoint=None)),
        lines({"endpoint": f"projects/1/locations/here{ENDPOINT}"}),
        lines(row(5, logging_time="2026-11-28T00:00:00.000000+00:00")),
        lines(row(5, logging_time="2026-11-26T23:59:59.999999+00:00")),
    ],
)
def test_what_is_damaged_or_another_s_is_left_out_and_the_rest_is_read(damaged: bytes) -> None:
    found = read(row(1), damaged.rstrip(b"\n"), row(2))
    assert list(found.request_ids) == ["1", "2"]
    assert list(found.asked) == [[{"age": 1}], [{"age": 2}]]
    assert list(found.answered) == [[0.5], [1]]
    assert len(read(damaged.rstrip(b"\n"))) == 0


def test_times_of_other_forms_and_ids_that_are_missing_are_read() -> None:
    without = row(3)
    del without["request_id"]
    microseconds = row(2, logging_time="1795780800000000")
    found = read(row(1, logging_time="2026-11-27T13:00:00Z"), microseconds, without)
    assert list(found.times) == ["2026-11-27T13:00:00.000000+00:00", TIME, TIME]
    assert list(found.request_ids) == ["1", "2", ""]


def test_payloads_that_are_no_json_are_texts_and_batches_keep_their_borders() -> None:
    texts = row(1, request_payload=["a, b", "[1", "2]", "NaN", "7"], response_payload=["a text"])
    found = read(texts, row(2, request_payload=[], response_payload=[]), row(3))
    assert [str(value) for value in found.asked[0]] == ["a, b", "[1", "2]", "nan", "7"]
    assert [len(asked) for asked in found.asked] == [5, 0, 1]
    assert list(found.answered) == [["a text"], [], [1.5]]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.lists(VALUES, max_size=3), max_size=5), st.booleans())
def test_at_once_or_one_by_one_the_same_is_read(payloads: list[list[Any]], damaged: bool) -> None:
    """A damaged row makes the reader look at each row by itself."""
    rows = [row(place, request_payload=list(map(json.dumps, values))) for place, values in enumerate(payloads)]
    found = of_rows([*rows, *([{}] if damaged else [])], ENDPOINT, SINCE, UNTIL)
    assert list(found.asked) == payloads


@given(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_counted_in_batches_is_what_is_counted_at_once(batches: list[list[Any]]) -> None:
    everything = columns_of([value for batch in batches for value in batch])
    baseline = make_baseline(everything)
    tally = Tally(baseline)
    for batch in batches:
        tally.add(columns_of(batch), len(batch))
    if any(everything.values()):
        assert tally.columns == {name: baseline.columns[name].like(values) for name, values in everything.items()}


def test_rows_that_are_alike_have_the_columns_that_they_have_one_by_one() -> None:
    alike: list[Any] = [
        {"a": number, "b": {"c": [number, 2]}, "d": [0] * (MOST_PARTS + 1), "e": None} for number in range(3)
    ]
    columns: dict[str, list[Any]] = {"a": [0, 1, 2], "b.c.0": [0, 1, 2], "b.c.1": [2, 2, 2], "e": [None] * 3}
    assert columns_of(alike) == columns
    mixed = {name: [*values, None] for name, values in columns.items()} | {"z": [None, None, None, 1]}
    assert columns_of([*alike, {"z": 1}]) == mixed
    assert columns_of([[1, "x"], [2, "y"]], [0.5, None], ["age"]) == {
        "age": [1, 2], "1": ["x", "y"], "prediction": [0.5, None],
    }  # fmt: skip


@pytest.mark.parametrize("odd", [None, float("nan"), float("-inf"), True, "text", 10**400, -3, 2.0])
def test_many_numbers_are_counted_as_few_are(odd: Any) -> None:
    known = describe([float(number % 50) for number in range(500)])
    values = [number % 60 - 5 for number in range(MANY)] + [odd] * 7
    whole: Distribution = known.like(values)
    parts = [known.like(values[start : start + 500]) for start in range(0, len(values), 500)]
    added = parts[0]
    for part in parts[1:]:
        added = added.plus(part)
    assert whole == added


@pytest.mark.parametrize("batches", [1, 4])
def test_of_many_requests_the_first_make_the_bins_in_which_all_are_counted(batches: int) -> None:
    chance = random.Random(batches)
    amount = watch.SAMPLE // 2 + 1
    asked = [[[{"age": chance.gauss(40 + place, 5)}] for _ in range(amount)] for place in range(batches)]
    ids = [""] * amount
    found = [Batch(ids, [TIME] * amount, ids, ages, [[1]] * amount) for ages in asked]
    baseline = watch.counted_baseline(lambda: found, "the time before")
    assert baseline.rows == baseline.columns["age"].total == batches * amount
    assert baseline.columns["prediction"].total == batches * amount
    first = describe([one["age"] for ages in asked[:2] for (one,) in ages])
    assert baseline.columns["age"].edges == first.edges
