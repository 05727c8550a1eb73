"""The page that says what is emulated is true."""

from __future__ import annotations

from pathlib import Path

from edge_tasks.emulator.parity import ABSENT, LIMITS, PARTIAL, markdown, rows
from tests.emulator.harness import PARENT, Emulator

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


def test_the_page_is_what_the_emulator_says_of_itself() -> None:
    assert PAGE.read_text() == markdown(rows()), "make parity"


def test_what_is_missing_is_told_only_of_what_is_there() -> None:
    partial = {f"{row.service}.{row.rpc}" for row in rows() if row.status == PARTIAL}
    assert partial == set(LIMITS)


def test_an_absent_rpc_is_answered_with_its_name(emulator: Emulator) -> None:
    absent = {f"{row.service}.{row.rpc}" for row in rows() if row.status == ABSENT}
    assert "FeaturestoreService.ListFeaturestores" in absent
    answer = emulator.get(f"{PARENT}/featurestores")
    assert answer.error == (501, "UNIMPLEMENTED")
    assert "FeaturestoreService.ListFeaturestores" in answer.message
