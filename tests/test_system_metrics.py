"""What a training takes of its machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_tasks.tracking import system_metrics
from edge_tasks.tracking.system_metrics import CPU, GPU, GPU_MEMORY, MEMORY, SystemMetrics

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells of processes in /proc")

# Its child, not the process itself, is busy and has the memory.
BUSY = """
import os
if os.fork() == 0:
    kept = bytearray(60_000_000)
    while True: pass
os.wait()
"""


def test_processors_and_memory_of_a_process_and_its_children() -> None:
    process = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
    try:
        metrics = SystemMetrics(process.pid)
        deadline = time.monotonic() + 30
        while not (metrics.series().get(CPU) and metrics.series()[MEMORY].values[-1] > 60):  # type: ignore[operator]
            assert time.monotonic() < deadline
            metrics.look()
            time.sleep(0.2)
        (share,) = metrics.series()[CPU].values[-1:]
        assert share is not None
        assert 5 < share <= 130
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_a_gpu_tells_by_nvidia_smi(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '40, 1000'\necho '60, 500'\n")
    tool.chmod(0o755)
    metrics = SystemMetrics(os.getpid(), nvidia_smi=str(tool))
    metrics.look()
    assert (metrics.series()[GPU].values, metrics.series()[GPU_MEMORY].values) == ([50.0], [1500.0])
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    metrics.look()
    metrics.look()
    assert len(metrics.series()[GPU].values) == 1


def test_a_long_training_has_no_more_points_than_a_short_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system_metrics, "_MOST", 8)
    stat = tmp_path / "77" / "stat"
    stat.parent.mkdir()
    fields = ["S", "1", *["0"] * 9, "10", "5", *["0"] * 8, "2500", "0"]
    stat.write_text(f"77 (a ) b) {' '.join(fields)}")
    metrics = SystemMetrics(77, tmp_path, nvidia_smi="/nowhere")
    for _ in range(50):
        metrics.look()
    series = metrics.series()[MEMORY]
    assert 4 <= len(series.values) <= 8
    assert len(series.steps) == len(series.timestamps) == len(series.values)
    assert series.values[0] == round(2500 * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
