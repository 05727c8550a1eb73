"""No test leaves a thread behind: it would work, ask for random numbers and warn in the midst of tests that follow."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterable

# Threads that libraries keep for the whole process and that wait: tqdm's, pymongo's, and the idle ones of Google's SDK.
_KEPT = ("tqdm_monitor", "pymongo_", "asyncio_", "fsspecIO")

# Seconds in which a thread that has been told to end does so.
_GRACE = 10.0


class Watch:
    """Which test each thread was first seen with. Fixtures of a module may keep some until its last test is over."""

    def __init__(self) -> None:
        self._seen_with: dict[threading.Thread, str] = dict.fromkeys(threading.enumerate(), "")

    def look(self, test: str) -> None:
        """Note the threads that `test` has started."""
        for thread in threading.enumerate():
            self._seen_with.setdefault(thread, test)
        self._seen_with = {thread: test for thread, test in self._seen_with.items() if thread.is_alive()}

    def left(self) -> list[str]:
        """Return the threads that still live, each with the test that it was first seen with."""
        started = [thread for thread, test in self._seen_with.items() if test and not _is_kept(thread)]
        left = wait_for_the_end_of(started)
        if left:
            gc.collect()  # a pool that nobody has any more ends its threads
            left = wait_for_the_end_of(left)
        return [f"{thread.name} of {self._seen_with[thread]}" for thread in left]


def wait_for_the_end_of(started: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Wait for threads that end; return those that do not."""
    deadline = time.monotonic() + _GRACE
    left = []
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            left.append(thread)
    return left


def _is_kept(thread: threading.Thread) -> bool:
    return thread.name.startswith(_KEPT) or thread in _pool_of_googles_sdk()


def _pool_of_googles_sdk() -> set[threading.Thread]:
    initializer = sys.modules.get("google.cloud.aiplatform.initializer")
    return set(getattr(initializer and initializer.global_pool, "_threads", ()))
