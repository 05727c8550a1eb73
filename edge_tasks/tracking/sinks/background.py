"""Telling a run elsewhere, too, from its own thread: what is slow or wrong there is no trouble of its record."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from edge_tasks.errors import EdgeError

_Item = TypeVar("_Item")

# Seconds of waiting that need no word: as long as a slow machine takes to load Google's client.
_UNNOTICED = 5.0


class BackgroundSink(Generic[_Item]):
    """Hands items on to a place, one after the other, as long as that goes well.

    `opened` opens the place; what it yields takes one item. Both may take their time, and raise: then that is all.
    `who` is the place's name, `lost` what is to be said when something was wrong with it, and `tell` says it.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Callable[[_Item], None]]],
        who: str,
        lost: str,
        tell: Callable[[str], None],
    ):
        self._opened = opened
        self._who = who
        self._lost = lost
        self._tell = tell
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="run-sink", daemon=True)
        self._thread.start()

    def put(self, item: _Item) -> None:
        """Take an item; waits for nothing."""
        if not self._ended:
            self._items.put(item)

    def end(self, limit: float) -> None:
        """Wait until everything is handed on, for at most `limit` seconds."""
        self._items.put(None)
        if why := wait_for(self._thread, limit, self._who, self._tell):
            self._tell(f"{self._lost}: {why}")

    def _work(self) -> None:
        try:
            with self._opened() as take:
                while (item := self._items.get()) is not None:
                    take(item)
        except EdgeError as error:
            self._tell(f"{self._lost}: {error}")
        except Exception as error:
            # pymongo's messages name the hosts of the address, and neither the user nor the password.
            words = str(error).partition(" (configured timeouts")[0]
            self._tell(f"{self._lost}: {type(error).__name__}: {words}")
        finally:
            self._ended = True


def wait_for(thread: threading.Thread, limit: float, who: str, tell: Callable[[str], None]) -> str | None:
    """Wait for at most `limit` seconds until `thread` has ended, and return None, or why it has not.

    `who` is what the thread waits for itself. Ctrl-C ends the waiting and nothing else: the training is over, and what
    it made is in its place.
    """
    try:
        thread.join(min(_UNNOTICED, limit))
        if thread.is_alive() and limit > _UNNOTICED:
            rest = limit - _UNNOTICED
            tell(f"{who} is slow to take the rest of the run: waiting for at most {rest:.0f} s (Ctrl-C ends only that)")
            thread.join(rest)
    except KeyboardInterrupt:
        return f"{who} was not waited for any longer"
    return f"{who} did not take the rest within {limit:.0f} s" if thread.is_alive() else None
