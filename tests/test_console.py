"""What is said on stderr while something is waited for."""

from __future__ import annotations

import pytest

from edge_tasks.console import Console


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
