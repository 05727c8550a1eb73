"""The emulator's clock. It can be moved forward, so that what is scheduled happens at once.

    POST /_emulator/clock {"forward": 7200}

Schedules, those of monitoring jobs, too, and the times of request logs go by it, until the emulator is started again.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.http.exchange import json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_tasks.emulator.http.exchange import Reply, Request

# Seconds: a hundred years.
FARTHEST = 100 * 365 * 86400


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
