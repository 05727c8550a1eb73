"""The end of a training waits for others with a limit, with a word, and only as long as one likes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_tasks.tracking.sinks.background import wait_for


@contextmanager
def thread_for(seconds: float) -> Iterator[threading.Thread]:
    """A thread that ends after `seconds`, or with the block."""
    released = threading.Event()
    thread = threading.Thread(target=released.wait, args=(seconds,))
    thread.start()
    try:
        yield thread
    finally:
        released.set()
        thread.join()


def test_what_is_soon_done_needs_no_word() -> None:
    told: list[str] = []
    with thread_for(0.1) as thread:
        assert wait_for(thread, 60, "the bucket", told.append) is None
    assert told == []


@pytest.mark.slow
def test_a_longer_waiting_is_told_with_its_limit() -> None:
    told: list[str] = []
    with thread_for(7) as thread:
        assert wait_for(thread, 60, "the bucket", told.append) is None
    (line,) = told
    assert line.startswith("the bucket is slow to take the rest of the run: waiting for at most 55 s")


def test_a_waiting_ends_at_its_limit() -> None:
    with thread_for(60) as thread:
        assert wait_for(thread, 1, "the bucket", print) == "the bucket did not take the rest within 1 s"


def test_ctrl_c_ends_the_waiting_and_nothing_else() -> None:
    main = threading.main_thread().ident
    assert main
    ctrl_c = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with thread_for(120) as thread:
            ctrl_c.start()
            assert wait_for(thread, 60, "the bucket", print) == "the bucket was not waited for any longer"
    finally:
        ctrl_c.join()
        signal.signal(signal.SIGINT, before)
