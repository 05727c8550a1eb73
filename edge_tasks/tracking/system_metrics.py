"""What a training takes of its machine, looked at from the process that records it: processors, memory, and a GPU's.

Linux tells of processes in /proc (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), NVIDIA's driver of a GPU
by `nvidia-smi`. Where there is neither, nothing is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edge_tasks.domain.runs import Series, utc_now

CPU, MEMORY, GPU, GPU_MEMORY = "CPU (%)", "memory (MB)", "GPU (%)", "GPU memory (MB)"

# Seconds between two looks at first. When there are MOST points, every second one goes, and looks are half as often.
_INTERVAL, _MOST = 1.0, 600
_GPU_LIMIT = 5.0
_GPU_QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")


class SystemMetrics:
    """Looks at the process `pid` and those that it started, but this one; 100 % is one processor."""

    def __init__(self, pid: int, processes: Path = Path("/proc"), nvidia_smi: str | None = None):
        self._pid = pid
        self._processes = processes
        self._nvidia_smi = nvidia_smi or shutil.which("nvidia-smi")
        self._series: dict[str, Series] = {}
        self._lock = threading.Lock()
        self._begin = self._before = time.monotonic()
        self._ticks: float | None = None
        self._interval = _INTERVAL

    def start(self) -> None:
        """Look again and again, in the background, until this process ends."""
        threading.Thread(target=self._run, name="system-metrics", daemon=True).start()

    def series(self) -> dict[str, Series]:
        """Return what was measured so far: steps are seconds since the start."""
        with self._lock:
            return {name: one.model_copy(deep=True) for name, one in self._series.items()}

    def look(self) -> None:
        """Measure once."""
        now = time.monotonic()
        found = self._of_processes(now) | self._of_gpu()
        moment = utc_now().isoformat()
        with self._lock:
            for name, value in found.items():
                one = self._series.setdefault(name, Series())
                one.steps.append(round(now - self._begin, 1))
                one.values.append(value)
                one.timestamps.append(moment)
            if max((len(one.steps) for one in self._series.values()), default=0) > _MOST:
                self._thin()

    def _thin(self) -> None:
        self._interval *= 2
        for name, one in self._series.items():
            self._series[name] = Series(steps=one.steps[::2], values=one.values[::2], timestamps=one.timestamps[::2])

    def _run(self) -> None:
        while (self._processes / str(self._pid)).exists():
            self.look()
            time.sleep(self._interval)

    def _of_processes(self, now: float) -> dict[str, float]:
        ticks, pages = 0.0, 0
        for fields in self._family():
            # utime and stime are the 14th and 15th field, rss the 24th; the first two are cut off.
            ticks += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
        if not pages:
            return {}
        found = {MEMORY: round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)}
        if self._ticks is not None and now > self._before:
            seconds = (ticks - self._ticks) / os.sysconf("SC_CLK_TCK")
            found[CPU] = round(max(0.0, 100 * seconds / (now - self._before)), 1)
        self._ticks, self._before = ticks, now
        return found

    def _family(self) -> Iterator[list[str]]:
        """Yield the fields of /proc/PID/stat after the name, of the process and all that it started."""
        fields: dict[int, list[str]] = {}
        for folder in self._processes.glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):  # a process may end meanwhile
                fields[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
        children: dict[int, list[int]] = {}
        for pid, values in fields.items():
            children.setdefault(int(values[1]), []).append(pid)
        waiting = [self._pid]
        while waiting:
            pid = waiting.pop()
            if pid in fields and pid != os.getpid():
                yield fields[pid]
                waiting += children.get(pid, [])

    def _of_gpu(self) -> dict[str, float]:
        if self._nvidia_smi is None:
            return {}
        try:
            done = subprocess.run(
                [self._nvidia_smi, *_GPU_QUERY], capture_output=True, text=True, timeout=_GPU_LIMIT, check=True
            )
            rows = [[float(cell) for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
            return {GPU: sum(row[0] for row in rows) / len(rows), GPU_MEMORY: sum(row[1] for row in rows)}
        except (OSError, subprocess.SubprocessError, ValueError, IndexError, ZeroDivisionError):
            self._nvidia_smi = None  # there is no GPU, or it does not say
            return {}
