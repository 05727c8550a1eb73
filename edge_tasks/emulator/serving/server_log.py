"""What model servers print, as log entries.

A server writes into its file by itself, so nobody knows the time of a line: it is that at which the file was last
written when the line was first read here. Lines keep the times that they once had.
"""

from __future__ import annotations

import bisect
from pathlib import Path

from edge_tasks.emulator.runtime.job_log import LONGEST_LINE, Entry


class ServerLogs:
    """The logs of model servers, with what is known of the times of their lines."""

    def __init__(self) -> None:
        # Of each file, by its beginning: where each part that was read at once begins, and its time in microseconds.
        self._parts: dict[tuple[Path, int], list[tuple[int, int]]] = {}
        self._read: dict[tuple[Path, int], int] = {}

    def entries(self, path: Path, replica: str) -> list[Entry]:
        """Return the whole lines in the log of one server; `replica` is the deployed model's id."""
        try:
            with path.open("rb") as file:
                about = path.stat()
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        # A server that is started again begins its file again.
        file_key = (path, about.st_ino)
        parts, read = self._parts.setdefault(file_key, []), self._read.get(file_key, 0)
        if len(whole) < read:
            parts.clear()
            read = 0
        if len(whole) > read:
            earliest = parts[-1][1] + (read - parts[-1][0]) if parts else 0
            parts.append((read, max(about.st_mtime_ns // 1000, earliest + 1)))
            self._read[file_key] = len(whole)
        found, offset = [], 0
        for line in whole.splitlines(keepends=True):
            begin, time = parts[bisect.bisect_right(parts, (offset, 1 << 62)) - 1]
            text = line.rstrip(b"\r\n")[:LONGEST_LINE].decode("utf-8", "replace")
            found.append(Entry(offset, time + offset - begin, "INFO", text, replica))
            offset += len(line)
        return found
