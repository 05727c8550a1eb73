"""A process that tests start: forked where a fork can do the same, as commands are."""

from __future__ import annotations

import contextlib
import inspect
import os
import select
import socket
import subprocess
from typing import Any

import psutil

from tests.forking import command, commands

_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and what it has started, also by forks, which are children of what they were forked from."""
    found = [process, *process.children(recursive=True)]
    for child in found[1:]:
        with contextlib.suppress(psutil.NoSuchProcess):
            stand_in, _, pid = child.name().partition("-")
            if stand_in == "fork":
                found += family(psutil.Process(int(pid)))
    return found


class Process(subprocess.Popen[str]):
    """What `subprocess.Popen` is to its caller. Who forked a process is its parent, and tells us of its end."""

    _connection: socket.socket | None = None

    def _execute_child(self, *given: Any) -> None:
        ask = inspect.signature(super()._execute_child).bind(*given).arguments  # type: ignore[misc]
        facts = commands.facts_for(ask["args"], ask["env"])
        order = facts and command.order_of(facts, list(map(str, ask["args"][1:])), ask["env"])
        standard = [(0, ask["p2cread"]), (1, ask["c2pwrite"]), (2, ask["errwrite"])]
        files = [pipe if pipe >= 0 else number for number, pipe in standard]
        forked = facts and order and command.ask(facts["folder"], order, (files[0], files[1], files[2]))
        if not forked:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid, self._connection = forked
        self._child_created = True
        self._close_pipe_fds(*(ask[name] for name in _PIPES))  # type: ignore[attr-defined]

    def _internal_poll(self, *given: Any, **options: Any) -> int | None:
        if self._connection is None:
            return super()._internal_poll(*given, **options)  # type: ignore[misc, no-any-return]
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, options: int) -> tuple[int, int]:
        if self._connection is None:
            return super()._try_wait(options)  # type: ignore[misc, no-any-return]
        if options & os.WNOHANG and not select.select([self._connection], [], [], 0)[0]:
            return 0, 0
        status = command.status_from(self._connection)
        self._connection.close()
        return self.pid, status << 8 if status >= 0 else -status
