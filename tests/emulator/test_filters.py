"""The filter language of lists."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.schema import surface
from edge_tasks.emulator.store.filters import compile_filter

SURFACE = surface.load()
JOB = SURFACE.new("CustomJob", display_name="my job", labels={"team": "x", "env.kind": "prod"}, state=4)
JOB.create_time.FromJsonString("2026-01-02T03:04:05.500Z")


def passes(text: str) -> bool:
    return compile_filter(text, JOB.DESCRIPTOR)(JOB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'display_name="my job"',
        'displayName="my job"',
        "display_name='my job'",
        'display_name:"my*"',
        'display_name="*job"',
        'display_name!="other"',
        "state=JOB_STATE_SUCCEEDED",
        'state="JOB_STATE_SUCCEEDED"',
        "state!=JOB_STATE_FAILED",
        "labels.team=x",
        "labels.team:*",
        'labels."env.kind"="prod"',
        "NOT labels.other:*",
        "NOT (labels.team=y OR labels.team=z)",
        "labels.team=x AND state=4",
        "labels.team=x state=4",
        "labels.team=y OR labels.team=x AND state=4",
        'create_time>="2026-01-02T03:04:05.500Z"',
        "create_time<2026-01-02T03:04:06Z",
        'create_time>"2026-01-01"',
        "NOT end_time:*",
        "labels:team",
        'labels:"env.kind"',
        "-labels:other",
        "-state=5",
        "labels.team=x -display_name=other",
    ],
)
def test_a_filter_that_fits(text: str) -> None:
    assert passes(text)


@pytest.mark.parametrize(
    "text",
    [
        'display_name="my"',
        "labels.team=y",
        "labels.other:*",
        "NOT labels.team=x",
        'create_time>"2026-01-02T03:04:05.500Z"',
        'end_time>"2000-01-01T00:00:00Z"',
        "labels.team=x AND NOT state=4",
        "labels:other",
        "-labels:team",
        "(labels.team=x OR state=5) AND state=5",
    ],
)
def test_a_filter_that_does_not_fit(text: str) -> None:
    assert not passes(text)


@pytest.mark.parametrize(
    "text",
    [
        "nope=1",
        "display_name",
        "display_name=",
        "(state=4",
        "state=4)",
        "state=NOPE",
        'create_time>"yesterday"',
        '"x"="y"',
        "labels=x",
        "-",
        "state:team:x",
        "error.nope=1",
        "=",
        "AND",
        "job_spec=1",
        "(" * 500,
        "NOT " * 500 + "state=4",
        "x" * 10_001,
    ],
)
def test_a_wrong_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid filter"):
        passes(text)


PARTS = [*"ab=:<>!()\"'*. ", "NOT ", "AND ", "OR ", "labels.a", "state", "create_time"]


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    with contextlib.suppress(ApiError):
        passes(text)
