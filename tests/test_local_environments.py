"""`local.environments` in edge.yaml reaches the servers, also those that run already."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tasks.errors import ServerError
from edge_tasks.tools import emulator_process


@pytest.mark.needs("uv")
def test_servers_that_run_use_the_environments_that_are_asked_for_from_then_on(tmp_path: Path) -> None:
    try:
        first = emulator_process.ensure_running(tmp_path, "isolated")
        assert first.environments == "isolated"
        assert emulator_process.running(tmp_path) == first
        second = emulator_process.ensure_running(tmp_path, "shared")
        assert (second.pid, second.environments) == (first.pid, "shared")
        assert emulator_process.running(tmp_path) == second
    finally:
        emulator_process.stop(tmp_path)


def test_without_uv_nothing_is_started_and_the_hint_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uv" else found(name))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerError, match="takes uv, and it is not installed") as caught:
        emulator_process.ensure_running(tmp_path, "isolated")
    assert caught.value.hint == "pip install uv"
    assert emulator_process.running(tmp_path) is None
