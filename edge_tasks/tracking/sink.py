"""Showing a run elsewhere, too, from a thread of its own: what is slow or wrong there is no trouble of its record."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from edge_tasks.domain.runs import RunRecord
from edge_tasks.errors import EdgeError
from edge_tasks.tracking.waiting import wait_for


class BackgroundSink:
    """Passes a run's record on whenever its status has changed.

    `show` may take its time and raise; when it has failed once, it is left at that. `who` is where the run is shown,
    `tell` gets a sentence about what went wrong.
    """

    def __init__(self, show: Callable[[RunRecord], None], who: str, run_id: str, tell: Callable[[str], None]):
        self._show = show
        self._who = who
        self._run_id = run_id
        self._tell = tell
        self._status = ""
        self._records: queue.SimpleQueue[RunRecord | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="run-mirror", daemon=True)
        self._thread.start()

    def offer(self, record: RunRecord) -> None:
        """Take what the record is now; waits for nothing."""
        if record.status != self._status:
            self._status = record.status
            self._records.put(record)

    def end(self, limit: float) -> None:
        """Wait until everything is shown, for at most `limit` seconds."""
        self._records.put(None)
        if why := wait_for(self._thread, limit, self._who, self._tell):
            self._lost(why)

    def _work(self) -> None:
        try:
            while (record := self._records.get()) is not None:
                self._show(record)
        except EdgeError as error:
            self._lost(str(error))
        except Exception as error:
            self._lost(f"{type(error).__name__}: {error}")

    def _lost(self, why: str) -> None:
        self._tell(f"the run {self._run_id} is not shown in {self._who}, or in part only: {why}")
