"""What is said on stderr while something is waited for."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.console import Console, print_table


def test_a_wait_without_a_terminal_is_told_after_a_silence_and_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("edge_tasks.console.time.monotonic", lambda: now)
    with Console() as console:
        for second in range(100):
            now = 1000.0 + second
            if second == 50:
                console.step("something happened")
            console.waiting("the job", float(second))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["  the job (30 s)", "> something happened", "  the job (1 min 20 s)"]


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))


RUNS = [["20261123-054020-3849239d", "hello-world", "2026-11-23 05:40 UTC", ""], ["20261123-0", "m", "not yet", ""]]


def test_a_table_is_whole_where_a_program_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["run", "model", "started", "fix"], RUNS)
    assert capsys.readouterr().out.splitlines()[1] == "20261123-054020-3849239d\thello-world\t2026-11-23 05:40 UTC\t"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            80,
            [
                "run                       model        started",
                "20261123-054020-3849239d  hello-world  2026-11-23 05:40 UTC",
                "20261123-0                m            not yet",
            ],
        ),
        (
            56,
            [
                "run                       model        started",
                "20261123-054020-3849239d  hello-world  2026-11-23 05:40",
                "                                       UTC",
                "20261123-0                m            not yet",
            ],
        ),
    ],
)
def test_a_table_is_no_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, lines: list[str]
) -> None:
    on_terminal(monkeypatch, columns)
    print_table(["run", "model", "started", "fix"], RUNS)
    assert capsys.readouterr().out.splitlines() == lines


@given(st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=4), st.integers(82, 200))
def test_a_table_of_anything_loses_no_letter_where_its_columns_have_room(rows: list[list[str]], columns: int) -> None:
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setenv("COLUMNS", str(columns))
        print_table(["a", "b", "c"], rows)
    shown = Counter("".join(out.getvalue().split()))
    assert shown >= Counter("".join("".join(cell.split()) for row in rows for cell in row))


def test_a_table_too_wide_for_the_terminal_leaves_columns_out_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch, 40)
    print_table(["run", "user", "accuracy", "recall"], [["20261123-054020-3849239d", "ada", "0.99", "0.98"]], ["user"])
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "run                       accuracy",
        "20261123-054020-3849239d  0.99",
    ]
    assert said.err == "note: left out for want of room (--json shows all): user, recall\n"
