"""A thread that a test leaves behind is told with the test that started it."""

from __future__ import annotations

import threading

import pytest

from tests import threads


def test_a_thread_that_does_not_end_is_told_with_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE", 0.05)
    watch, end = threads.Watch(), threading.Event()
    left = threading.Thread(target=end.wait, name="left")
    left.start()
    watch.look("test_one")
    watch.look("test_two")
    assert watch.left() == ["left of test_one"]
    end.set()
    left.join()
    assert watch.left() == []


def test_threads_that_were_there_before_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE", 0.05)
    end = threading.Event()
    earlier = threading.Thread(target=end.wait)
    earlier.start()
    watch = threads.Watch()
    watch.look("test_one")
    assert watch.left() == []
    end.set()
    earlier.join()
