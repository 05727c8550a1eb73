"""What a model server prints, as entries with their times: https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from edge_tasks.emulator.runtime.job_log import JobLog, LineReader
from edge_tasks.emulator.time_limit import time_limit

# A server that prints for every prediction does so for years: an older log than this makes room for a new one.
LARGEST_FILE = 64 * 1024 * 1024
ONE_READ = 64 * 1024
SECONDS_TO_DRAIN = 0.5
LINES_SHOWN = 15


class ServerLog:
    """The log of one start of a model server: a pipe that its process writes into, and a file."""

    def __init__(self, path: Path, deployed_model_id: str, *, is_kept: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_kept or (path.exists() and path.stat().st_size > LARGEST_FILE):
            path.unlink(missing_ok=True)
        self._log = JobLog(path if is_kept else Path(os.devnull))
        self._lines = LineReader(self._log, "INFO", deployed_model_id)
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._read_end, self._read)

    def release(self) -> None:
        """Leave the pipe to the process that has it by now."""
        os.close(self.write_end)

    def _read(self) -> None:
        try:
            chunk = os.read(self._read_end, ONE_READ)
        except BlockingIOError:
            return
        # A full disk must not end a server: then its log has a gap.
        with contextlib.suppress(OSError):
            self._lines.feed(chunk) if chunk else self._lines.end()
        if not chunk:
            self.close()

    async def last_lines(self) -> str:
        """Return the end of what was printed, once the process has ended."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with time_limit(SECONDS_TO_DRAIN):
                await self._ended.wait()
        return "\n".join(list(self._lines.last_lines)[-LINES_SHOWN:])[-3000:]

    def close(self) -> None:
        """Read no more."""
        if not self._ended.is_set():
            self._ended.set()
            asyncio.get_running_loop().remove_reader(self._read_end)
            os.close(self._read_end)
            self._log.close()
