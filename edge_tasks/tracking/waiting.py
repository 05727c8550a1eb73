"""Waiting, at the end of a training, for what is still being told of it elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable

# Seconds of waiting that need no word: as long as a slow machine takes to load Google's client.
_UNNOTICED = 5.0


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
