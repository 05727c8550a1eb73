"""Cron expressions of schedules: zones, clock changes, and what is refused."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.schedules.cron import Cron


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 9 * * 1-5", "2026-11-27T09:00", "2026-11-30T09:00"),  # from a Friday to Monday, in UTC
        ("TZ=Europe/Berlin 0 9 * * 1-5", "2026-11-27T09:00", "2026-11-30T08:00"),
        ("CRON_TZ=America/New_York 1 * * * *", "2026-11-27T09:00:30", "2026-11-27T09:01"),
        ("*/15 * * * *", "2026-11-27T09:15", "2026-11-27T09:30"),
        ("0 0 29 2 *", "2026-11-27T09:00", "2028-02-29T00:00"),
        ("0 12 1 jan *", "2026-11-27T09:00", "2027-01-01T12:00"),
        ("TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00", "2026-03-29T01:00"),  # there is no 2:30 on that day
        ("TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:30", "2026-10-26T01:30"),  # 2:30 came twice, and ran once
    ],
)
def test_the_next_moment(expression: str, after: str, expected: str) -> None:
    assert Cron.parse(expression).next(at(after)) == at(expected)


def test_the_first_moment_may_be_the_start_itself() -> None:
    assert Cron.parse("0 9 * * *").first(at("2026-11-27T09:00")) == at("2026-11-27T09:00")
    assert Cron.parse("0 9 * * *").first(at("2026-11-27T09:00:01")) == at("2026-11-28T09:00")


def test_the_last_moments_end_with_the_given_one() -> None:
    assert Cron.parse("0 * * * *").last(3, at("2026-11-27T09:00")) == at("2026-11-27T07:00")
    assert Cron.parse("0 * * * *").last(1, at("2026-11-27T09:59")) == at("2026-11-27T09:00")


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "five fields"),
        ("0 9 * *", "five fields"),
        ("0 0 9 * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("TZ=Mars/Base 0 0 * * *", "not a time zone"),
        ("TZ=../../etc/passwd 0 0 * * *", "not a time zone"),
        ("TZ=Europe 0 0 * * *", "not a time zone"),
    ],
)
def test_what_is_not_an_expression_is_refused(expression: str, told: str) -> None:
    with pytest.raises(ApiError, match=told):
        Cron.parse(expression)
