"""Being asked to end: SIGTERM, which CI and supervisors send, is taken like Ctrl-C, so that work is tidied up.

A job outlives the command that waits for it, so Ctrl-C has two meanings there: leave it running, or cancel it. What
must not be cut in half (a change at Google and its note in the shared state) is done first, and Ctrl-C comes after it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import NoReturn

from edge_tasks.errors import ConfigError

ON_INTERRUPT_VARIABLE = "EDGE_ON_INTERRUPT"
ASK, CANCEL, LEAVE = "ask", "cancel", "leave"


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, but nobody sits there to be asked."""


class LeftRunningError(KeyboardInterrupt):
    """Ctrl-C, after which a job is still running."""


def take_sigterm_like_ctrl_c() -> None:
    """Let SIGTERM raise KeyboardInterrupt. Python allows it in the main thread only; elsewhere nothing changes.

    Processes that this one forks, such as those of a multiprocessing.Pool, still end by it at once.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
        _let_forked_processes_end()


@functools.cache
def _let_forked_processes_end() -> None:
    """Give SIGTERM its own meaning back in each process that is forked from now on.

    Python forgets a signal that comes while a process is forked, and who sent it then waits for ever; it is held back
    so long.
    """
    this_thread = threading.local()

    def before() -> None:
        this_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, this_thread.mask)

    def in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is _terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, this_thread.mask)

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TerminatedError


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Let Ctrl-C or SIGTERM come after the block, not amid it. A second one does not wait.

    In other threads than the main one, which never get a signal, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if came:
            take_back()
            signal.raise_signal(number)
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}

    def take_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    try:
        yield
    finally:
        take_back()
        if len(came) == 1:
            signal.raise_signal(came[0])


def on_interrupt(wish: object = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return what Ctrl-C does to a job: ASK, CANCEL or LEAVE.

    `wish` decides, else the variable EDGE_ON_INTERRUPT, else it is ASK. Raises ConfigError for anything else.
    """
    value = wish or environ.get(ON_INTERRUPT_VARIABLE) or ASK
    if value not in (ASK, CANCEL, LEAVE):
        name = "on_interrupt" if wish else f"the variable {ON_INTERRUPT_VARIABLE}"
        raise ConfigError(f"{name} is `{value}`", f"use `{ASK}`, `{CANCEL}` or `{LEAVE}`")
    return str(value)
