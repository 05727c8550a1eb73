"""What a job printed: one file, a line for each log entry, in the order it was read.

Times strictly increase within a file, and an entry's place is its byte offset. So a page continues at an offset,
and a start time is found by bisection: reading the news costs the same however long the log is.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import orjson

# The limit of Cloud Logging for one entry; a longer line continues in the next entry.
LONGEST_LINE = 256 * 1024
# Bytes: what keeps the places of entries of several logs apart.
LARGEST_LOG = 10**9
# How many lines are kept at hand for the error of a failed job.
LAST_LINES = 20
SEVERITIES = frozenset({"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"})


class Entry(NamedTuple):
    """One log entry; `payload` is text, or an object when the line was structured."""

    offset: int
    microseconds: int
    severity: str
    payload: str | dict[str, Any]
    replica: str


class JobLog:
    """Writes the log of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._last = 0

    def write(self, *entries: tuple[str, str | dict[str, Any], str]) -> None:
        """Append entries, each a severity, a payload and the replica's name, with one write."""
        lines = []
        now = time.time_ns() // 1000
        for entry in entries:
            self._last = max(now, self._last + 1)
            lines.append(orjson.dumps([self._last, *entry]))
        self._file.write(b"\n".join([*lines, b""]))

    def close(self) -> None:
        """End the log."""
        self._file.close()


class LineReader:
    """Cuts a stream of bytes into log entries; a line of JSON with a message becomes a structured one."""

    def __init__(self, log: JobLog, severity: str, replica: str) -> None:
        self._log = log
        self._replica = replica
        self._severity = severity
        self._rest = b""
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def feed(self, chunk: bytes) -> None:
        """Take what the process has written."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) >= LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        self._write(lines)

    def end(self) -> None:
        """Write the last line, if it was not ended."""
        if self._rest:
            self._write([self._rest])
            self._rest = b""

    def _write(self, lines: list[bytes]) -> None:
        entries = []
        for line in lines:
            for start in range(0, max(len(line), 1), LONGEST_LINE):
                text = line[start : start + LONGEST_LINE].rstrip(b"\r").decode("utf-8", "replace")
                severity, payload = _structured(text) or (self._severity, text)
                entries.append((severity or self._severity, payload, self._replica))
                self.last_lines.append(text)
        if entries:
            self._log.write(*entries)


def read(path: Path, *, offset: int = 0, since: int = 0, limit: int = 1000) -> tuple[list[Entry], int | None]:
    """Return entries from an offset, or from a time on, and the offset of the next page if there is more."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return [], None
    with file:
        size = file.seek(0, 2)
        if since and not offset:
            offset = _bisect(file, size, since)
        file.seek(offset)
        entries: list[Entry] = []
        for line in file:
            if not line.endswith(b"\n"):
                break
            if len(entries) == limit:
                return entries, offset
            microseconds, severity, payload, *replica = orjson.loads(line)
            if microseconds >= since:
                # Logs of an earlier version name no replica: there was one.
                entries.append(Entry(offset, microseconds, severity, payload, *(replica or ["workerpool0-0"])))
            offset += len(line)
    return entries, None


def read_all(paths: Iterable[Path], since: int = 0) -> list[Entry]:
    """Return all entries of several logs from a time on; their offsets are apart, as if the files were one."""
    return [
        entry._replace(offset=index * LARGEST_LOG + entry.offset)
        for index, path in enumerate(paths)
        for entry in read(path, since=since, limit=sys.maxsize)[0]
    ]


def _bisect(file: Any, size: int, since: int) -> int:
    """Return the offset of a line from which on no entry before `since` is left out of reach."""
    low, high = 0, size
    while high - low > 1024:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n") or orjson.loads(line)[0] >= since:
            high = middle
        else:
            low = start
    return low


def _structured(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return (severity, payload) of a line that is a JSON object with a message."""
    if not text.startswith("{"):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not ("message" in value or "severity" in value):
        return None
    severity = str(value.pop("severity", "")).upper()
    return (severity if severity in SEVERITIES else ""), value
