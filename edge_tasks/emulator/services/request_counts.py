"""What each deployed model has answered, minute by minute: how often, with which class of status, how fast.

They lie in a small database of the data folder, a row for each minute in which somebody was answered, and are written
by one thread: neither a prediction nor the event loop waits for the disk. What was counted in the last minute
is lost when the emulator is killed; a restart keeps all.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from edge_tasks.emulator.clock import Clock

T = TypeVar("T")

FILE = "request_counts.sqlite3"
# As long as Cloud Monitoring keeps them: https://cloud.google.com/monitoring/quotas#data_retention_policy.
MINUTES_TO_KEEP = 42 * 24 * 60
# Seconds between two writings.
SECONDS_TO_SAVE = 60.0

# Buckets of latencies in milliseconds: under SCALE, then each GROWTH times as wide as the one before, up to 160 s.
SCALE, GROWTH, BUCKETS = 0.1, 1.25, 64
# Where one bucket ends and the next begins.
EDGES = tuple(SCALE * GROWTH**number for number in range(BUCKETS + 1))

_TABLES = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, endpoint TEXT, deployed TEXT, code TEXT, UNIQUE (endpoint, deployed, code)
);
CREATE TABLE IF NOT EXISTS minutes (
    series INTEGER, minute INTEGER, count INTEGER, total REAL, squares REAL, buckets TEXT, PRIMARY KEY (series, minute)
) WITHOUT ROWID;
"""


class Series(NamedTuple):
    """Whose answers are counted together; `code` is the class of the status, such as `2xx`."""

    endpoint: str
    deployed: str
    code: str


@dataclass
class Answers:
    """Some answers: how many, the sum of their milliseconds and of their squares, and how many in each bucket."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, milliseconds: float) -> None:
        """Add one answer."""
        self.count += 1
        self.total += milliseconds
        self.squares += milliseconds * milliseconds
        bucket = bucket_of(milliseconds)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def take(self, other: Answers) -> None:
        """Add others."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count


class Counted(NamedTuple):
    """What was answered in one minute, counted from 1970."""

    series: Series
    minute: int
    answers: Answers


def bucket_of(milliseconds: float) -> int:
    """Return the bucket of a latency: 0 is what is faster than all, BUCKETS + 1 what is slower."""
    return bisect_right(EDGES, milliseconds)


class RequestCounts:
    """The counts. All that touches the file runs in one thread, one thing after another."""

    def __init__(self, data: Path, clock: Clock) -> None:
        self._path = data / FILE
        self._clock = clock
        self._new: dict[tuple[str, str, int, int], Answers] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="request-counts")
        self._database: sqlite3.Connection | None = None
        self._saving: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ask: Callable[[], None] = lambda: None

    def when_asked(self, ask: Callable[[], None]) -> None:
        """Have `ask` called before the counts are read or written: it adds what is counted elsewhere."""
        self._ask = ask

    def add(self, endpoint: str, deployed_model_id: str, status: int, milliseconds: float) -> None:
        """Count one answer of a model, which took that long."""
        self._answers(endpoint, deployed_model_id, status, self._minute()).add(milliseconds)

    def take(self, endpoint: str, deployed_model_id: str, status: int, moment: float, answers: Answers) -> None:
        """Count several answers of a model, given at a moment, in seconds since 1970."""
        self._answers(endpoint, deployed_model_id, status, int(moment) // 60).take(answers)

    def _answers(self, endpoint: str, deployed_model_id: str, status: int, minute: int) -> Answers:
        """Return where answers are added, and have them written by and by."""
        key = (endpoint, deployed_model_id, status // 100, minute)
        answers = self._new.get(key)
        if answers is None:
            answers = self._new[key] = Answers()
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(SECONDS_TO_SAVE, self._begin_to_save)
        return answers

    async def read(self, endpoint_id: str, since: datetime | None, until: datetime) -> list[Counted]:
        """Return what an endpoint has answered in the minutes of which any part lies in an interval."""
        first = 0 if since is None else math.floor(since.timestamp() / 60)
        last = math.ceil(until.timestamp() / 60)
        # Of the same moment: what was counted is either among the new ones, or written before it is read.
        new = self._taken()
        return await self._in_thread(lambda: self._write_and_read(new, endpoint_id, first, last))

    async def save(self) -> None:
        """Write what was counted; what cannot be written is lost."""
        new = self._taken()
        await self._in_thread(lambda: self._write(new))

    async def close(self) -> None:
        """Write what was counted, and end."""
        await self.save()
        await self._in_thread(self._forget_database)
        self._thread.shutdown()

    def _begin_to_save(self) -> None:
        task = asyncio.ensure_future(self.save())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_thread(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    def _minute(self) -> int:
        return int(self._clock.seconds()) // 60

    def _taken(self) -> list[Counted]:
        self._ask()
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        new, self._new = self._new, {}
        return [
            Counted(Series(endpoint, deployed, f"{code}xx"), minute, answers)
            for (endpoint, deployed, code, minute), answers in new.items()
        ]

    # --- in the thread ---

    def _write_and_read(self, new: list[Counted], endpoint_id: str, first: int, last: int) -> list[Counted]:
        self._write(new)
        with contextlib.suppress(sqlite3.Error):
            rows = self._connection().execute(
                "SELECT endpoint, deployed, code, minute, count, total, squares, buckets"
                " FROM series JOIN minutes ON series.id = minutes.series"
                " WHERE endpoint LIKE '%/' || ? AND minute >= ? AND minute < ?"
                " ORDER BY endpoint, deployed, code, minute",
                (endpoint_id, first, last),
            )
            return [
                Counted(Series(*row[:3]), row[3], Answers(row[4], row[5], row[6], _unpacked(row[7]))) for row in rows
            ]
        return []

    def _write(self, new: Iterable[Counted]) -> None:
        """Add to what is there, and drop what is old. A file that is damaged, or another program's, is begun again."""
        rows = list(new)
        if not rows:
            return
        try:
            self._add(rows)
        except sqlite3.OperationalError:  # a full disk, or somebody else holds the file
            pass
        except sqlite3.DatabaseError:
            self._forget_database()
            with contextlib.suppress(OSError, sqlite3.Error):
                self._path.unlink()
                self._add(rows)

    def _add(self, rows: Iterable[Counted]) -> None:
        connection = self._connection()
        with connection:
            for series, minute, answers in rows:
                connection.execute("INSERT OR IGNORE INTO series (endpoint, deployed, code) VALUES (?, ?, ?)", series)
                ((key,),) = connection.execute(
                    "SELECT id FROM series WHERE endpoint = ? AND deployed = ? AND code = ?", series
                )
                there = connection.execute(
                    "SELECT count, total, squares, buckets FROM minutes WHERE series = ? AND minute = ?", (key, minute)
                ).fetchone()
                if there:
                    count, total, squares, buckets = there
                    answers.take(Answers(count, total, squares, _unpacked(buckets)))
                connection.execute(
                    "INSERT OR REPLACE INTO minutes VALUES (?, ?, ?, ?, ?, ?)",
                    (key, minute, answers.count, answers.total, answers.squares, _packed(answers.buckets)),
                )
            connection.execute("DELETE FROM minutes WHERE minute < ?", (self._minute() - MINUTES_TO_KEEP,))
            connection.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM minutes)")

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect(self._path, timeout=5.0)
            # Nobody waits for the disk because of a minute's counts.
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.executescript(_TABLES)
        return self._database

    def _forget_database(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _packed(buckets: dict[int, int]) -> str:
    return " ".join(f"{bucket}:{count}" for bucket, count in sorted(buckets.items()))


def _unpacked(text: str) -> dict[int, int]:
    pairs: Iterator[tuple[str, str, str]] = (part.partition(":") for part in text.split())
    return {int(bucket): int(count) for bucket, _, count in pairs}
