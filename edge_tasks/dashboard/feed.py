"""The runs as they were last read, and which of them changed since a page last asked."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from edge_tasks.dashboard.records import Records, Row, row_document
from edge_tasks.errors import EdgeError

# Seconds between two readings of the bucket. A reading that takes long is followed by a longer pause.
INTERVAL = 2.0
_PAUSE_FACTOR = 3.0


@dataclass(frozen=True)
class Update:
    """What a page is told. `runs` are JSON already: each is made once, for all pages."""

    head: dict[str, Any]
    runs: tuple[str, ...]

    def json(self) -> str:
        """Return the whole as JSON."""
        return f'{to_json(self.head)[:-1]},"runs":[{",".join(self.runs)}]}}'


class Feed:
    """Answers pages at once from memory, and reads the records again in the background while pages ask.

    When no page asks, nothing is read: a dashboard that nobody looks at costs nothing.
    """

    def __init__(self, records: Records, interval: float = INTERVAL, waits: float = 0.0):
        """Have a page wait for a reading that it has caused, for `waits` seconds at most."""
        self._records = records
        self._interval = interval
        self._waits = waits
        # Revisions count from the start of this process; a page that knew another process is told everything.
        self._name = secrets.token_hex(4)
        self._revision = 0
        self._rows: dict[str, Row] = {}
        self._runs: dict[str, str] = {}
        self._changed: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._checked: datetime | None = None
        self._problem: EdgeError | None = None
        self._guard = threading.Lock()
        self._reading: threading.Thread | None = None
        self._next_reading = 0.0

    def update(self, since: str) -> Update:
        """Return what changed since the revision `since` (that of an earlier update; anything else asks for all)."""
        self._read_if_old()
        with self._guard:
            revision = re.fullmatch(rf"{self._name}-([0-9]{{1,18}})", since)
            known = int(revision[1]) if revision else None
            removed = [key for key, revision in self._removed.items() if known is not None and revision > known]
            head = _head(self._records, self._checked) | {
                "revision": f"{self._name}-{self._revision}",
                "whole": known is None,
                "problem": {"problem": self._problem.problem, "hint": self._problem.hint} if self._problem else None,
                "removed": removed,
            }
            changed = (key for key, revision in self._changed.items() if known is None or revision > known)
            return Update(head, tuple(self._runs[key] for key in changed))

    def read(self) -> None:
        """Read the records now. A problem is kept for the pages, which continue with what was read before."""
        begin = time.monotonic()
        try:
            rows = {row.key: row for row in self._records.rows()}
        except EdgeError as error:
            with self._guard:
                self._problem = error
        else:
            self._take(rows)
        self._next_reading = time.monotonic() + max(self._interval, _PAUSE_FACTOR * (time.monotonic() - begin))

    def _take(self, rows: dict[str, Row]) -> None:
        changed = {key: to_json(row_document(row)) for key, row in rows.items() if self._rows.get(key) != row}
        removed = self._rows.keys() - rows.keys()
        with self._guard:
            if changed or removed:
                self._revision += 1
            for key in changed:
                self._changed[key] = self._revision
                self._removed.pop(key, None)
            for key in removed:
                self._removed[key] = self._revision
                del self._changed[key], self._runs[key]
            self._runs |= changed
            self._rows = rows
            self._checked = datetime.now(timezone.utc)
            self._problem = None

    def _read_if_old(self) -> None:
        with self._guard:
            busy = self._reading is not None and self._reading.is_alive()
            if busy or time.monotonic() < self._next_reading:
                return
            self._reading = reading = threading.Thread(target=self.read, name="dashboard-feed", daemon=True)
            reading.start()
        if self._waits:
            reading.join(self._waits)


def snapshot(records: Records, rows: Iterable[Row]) -> Update:
    """Return what a page that is never told more is told: `rows`, as of now."""
    return Update(_head(records, datetime.now(timezone.utc)), tuple(to_json(row_document(row)) for row in rows))


def _head(records: Records, checked: datetime | None) -> dict[str, Any]:
    return {
        "now": _time(datetime.now(timezone.utc)),
        "checked": _time(checked) if checked else None,
        "place": records.place(),
        "whole": True,
        "problem": None,
        "removed": [],
    }


def to_json(document: Any) -> str:
    """Return `document` as the shortest JSON."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
