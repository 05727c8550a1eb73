"""What must not be cut in half is done before Ctrl-C is heard."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from edge_tasks.tools.signals import TerminatedError, defer_signals, take_sigterm_like_ctrl_c


@pytest.fixture(autouse=True)
def _handlers() -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, TerminatedError)])
def test_a_signal_comes_after_the_block(number: signal.Signals, raised: type[BaseException]) -> None:
    take_sigterm_like_ctrl_c()
    done = []
    with pytest.raises(raised), defer_signals():
        signal.raise_signal(number)
        done.append("the rest of the block")
    assert done


def test_a_second_signal_does_not_wait() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
    assert not done


def test_a_signal_comes_although_the_block_failed() -> None:
    with pytest.raises(KeyboardInterrupt), defer_signals():
        signal.raise_signal(signal.SIGINT)
        raise ValueError


def test_without_a_signal_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with defer_signals(), defer_signals():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_block_in_a_block_is_ended_by_the_outer_one() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_signals():
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
        done.append("the rest of the outer block")
    assert done


def test_a_thread_may_ask_for_it_too() -> None:
    done = []

    def work() -> None:
        with defer_signals():
            done.append("the block")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


# Python forgets a signal that comes while it forks, so one of many pools would wait for ever for a worker.
POOLS = """
import multiprocessing
from edge_tasks.tools.signals import take_sigterm_like_ctrl_c
take_sigterm_like_ctrl_c()
for _ in range(40):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
"""


@pytest.mark.slow
@pytest.mark.unmeasured
def test_a_process_that_was_forked_ends_by_sigterm_at_once_and_without_a_word() -> None:
    done = subprocess.run([sys.executable, "-c", POOLS], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
