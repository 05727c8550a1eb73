"""The emulator's clock. It can be moved forward, so that what is scheduled happens at once.

    POST /_emulator/clock {"forward": 7200}

Schedules, those of monitoring jobs, too, the times of request logs, and scaling to zero go by it, until the emulator is
started again.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.http.exchange import json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_tasks.emulator.http.exchange import Reply, Request

# Seconds: a hundred years.
FARTHEST = 100 * 365 * 86400
# Seconds between two looks at the clock, at most: a laptop sleeps, too.
LONGEST_SLEEP = 30.0


class Clock:
    """The time, and how far it was moved."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._listeners: list[Callable[[], None]] = []

    def when_moved(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each move, before that is answered."""
        self._listeners.append(listener)

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(timezone.utc) + self._ahead

    def seconds(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + self._ahead.total_seconds()

    async def show(self, _: Request) -> Reply:
        """Answer with the time, and the seconds by which it is ahead."""
        return json_reply({"now": self.now().isoformat(), "ahead": self._ahead.total_seconds()})

    async def move(self, request: Request) -> Reply:
        """Move the clock forward by some seconds."""
        seconds = request.json().get("forward")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= FARTHEST:
            raise invalid('The body must be {"forward": SECONDS}; the clock does not go back.')
        self._ahead = min(self._ahead + timedelta(seconds=seconds), timedelta(seconds=FARTHEST))
        for listener in self._listeners:
            listener()
        return await self.show(request)


class Watch:
    """Lets somebody look at what is due: in time, after each change, and before a move of the clock is answered."""

    def __init__(self, clock: Clock, look: Callable[[], None], pause: Callable[[], float | None]) -> None:
        """`look` does what is due, `pause` says in how many seconds something will be; None: nothing."""
        self._look = look
        self._pause = pause
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        clock.when_moved(self._moved)

    def look_again(self) -> None:
        """Look soon, since something has changed; from the first time on also by the clock."""
        self._changed.set()
        if self._task is None:
            self._task = asyncio.ensure_future(self._keep_time())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _moved(self) -> None:
        self._look()
        self._changed.set()

    async def _keep_time(self) -> None:
        while True:
            self._changed.clear()
            self._look()
            seconds = self._pause()
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait([changed], timeout=LONGEST_SLEEP if seconds is None else min(seconds, LONGEST_SLEEP))
            finally:
                changed.cancel()
