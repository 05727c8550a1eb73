"""Child processes that never outlive the emulator.

Each child leads its own session, so that its whole tree can be signalled. A shell watches a pipe that
the emulator holds: when the emulator is killed, the pipe ends and the shell kills the group. (PR_SET_PDEATHSIG
would follow the thread that made the child, and exists on Linux only.) Should even the watcher be lost, pid
and start time are in the store, and the next start ends what is left.

A daemon leaves its session and its parents. But it keeps the variables that it was started with, so each child has
one of its own, by which what it has left behind is found when it ends. A child that was forked has the variables of
what it was forked from, and a piece of memory with that name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from edge_tasks.emulator.runtime import watchers
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edge_tasks.emulator.store.database import Database

# A daemon may start another one while it is looked for.
MOST_SEARCHES = 10
PROC = Path("/proc")


class Process(Protocol):
    """The leader of a child's session, as asyncio has it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""

    async def wait(self) -> int:
        """Wait for its end."""


class Child:
    """One running child and its tree."""

    def __init__(self, process: Process, watch_pipe: int, database: Database, mark: str = "") -> None:
        self.process = process
        self._mark = mark
        self._start = _start_of(process.pid) if mark else 0
        self._watch_pipe = watch_pipe
        self._database = database
        self._ended = False

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.returncode is None

    async def wait(self) -> int:
        """Wait for the end and return the exit status as a container would: 128 + N for signal N."""
        status = await self.process.wait()
        self.kill_tree()
        await self._kill_daemons()
        return 128 - status if status < 0 else status

    async def stop(self, grace: float) -> None:
        """End the tree: SIGTERM, and SIGKILL for what is left after `grace` seconds."""
        strays = self._descendants()
        if self.running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                async with time_limit(grace):
                    await self.process.wait()
        self.kill_tree()
        for stray in strays:
            # psutil compares start times before it signals: a pid that was given again is safe.
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()
        await self.process.wait()
        await self._kill_daemons()

    def kill_tree(self) -> None:
        """Kill whatever is left of the group and forget it."""
        if self._ended:
            # The pid is free for somebody else by now.
            return
        self._ended = True
        self._signal(signal.SIGKILL)
        os.close(self._watch_pipe)
        self._database.forget_process(self.process.pid)

    async def _kill_daemons(self) -> None:
        """Kill what has left the group and its parents."""
        if self._mark:
            await asyncio.to_thread(_kill_marked, self._mark, self._start)
            self._mark = ""

    def _descendants(self) -> list[psutil.Process]:
        """Return the tree by parentage: a descendant may have made its own group."""
        if not self.running:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def _signal(self, number: signal.Signals) -> None:
        # Once the leader is reaped its pid names the group for as long as a member lives, and is not given
        # to another process meanwhile; an empty group is an error that says so.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


async def start(
    arguments: Sequence[str],
    *,
    role: str,
    environment: Mapping[str, str],
    folder: Path,
    database: Database,
    stdout: int,
    stderr: int,
    make: Callable[..., Child] = Child,
    command_line: str = watchers.SUPERVISED_COMMAND,
) -> Child:
    """Start a program in its own session and note it. `make` is the child's class, `command_line` the shell's.

    The pipes are ours, not asyncio's: from Python 3.11 on its `wait` returns only once all of its pipes are
    closed, which a grandchild may put off for ever.
    """
    read_end, watch_pipe = os.pipe()
    mark = secrets.token_hex(8)
    try:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command_line,
            "sh",
            *arguments,
            env={**environment, watchers.MARK: mark},
            cwd=folder,
            stdin=read_end,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except BaseException:
        os.close(watch_pipe)
        raise
    finally:
        os.close(read_end)
    child = make(process, watch_pipe, database, mark)
    _note(child, role, database)
    return child


def adopt(process: Process, watch_pipe: int, *, role: str, database: Database, mark: str) -> Child:
    """Make a child of a process that leads a session with a watcher in it, and has a mark, and note it."""
    child = Child(process, watch_pipe, database, mark)
    _note(child, role, database)
    return child


def _note(child: Child, role: str, database: Database) -> None:
    pid = child.process.pid
    with contextlib.suppress(psutil.NoSuchProcess):
        database.remember_process(pid, psutil.Process(pid).create_time(), role)


def _kill_marked(mark: str, since: int) -> None:
    for _ in range(MOST_SEARCHES):
        found = list(_marked(mark, since))
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not found:
            return
        psutil.wait_procs(found, timeout=1)


def _marked(mark: str, since: int) -> Iterator[psutil.Process]:
    """Yield the processes that have a mark; this is done at the end of every job, so on Linux it is done quickly.

    What is older than the child that was given the mark cannot have it, and is not looked through.
    """
    if not PROC.is_dir():
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(watchers.MARK) == mark:
                    yield process
        return
    words = f"{watchers.MARK}={mark}".encode()
    for path in PROC.glob("[0-9]*"):
        # Processes of others cannot be read, and others end meanwhile.
        with contextlib.suppress(psutil.Error, OSError):
            if _start_of(path.name) < since:
                continue
            if words in (path / "environ").read_bytes() or words in (path / "maps").read_bytes():
                yield psutil.Process(int(path.name))


def _start_of(pid: int | str) -> int:
    """Return when a process was started, in ticks of the kernel's clock; 0 when it is gone, or there is no /proc."""
    try:
        return int((PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def end_left_overs(database: Database) -> None:
    """End the processes that an emulator which was killed has left behind."""
    killed = []
    for pid, started, _ in database.processes():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            process = psutil.Process(pid)
            # The pid may belong to somebody else by now: the start time tells.
            if abs(process.create_time() - started) < 0.01:
                os.killpg(pid, signal.SIGKILL)
                killed.append(process)
        database.forget_process(pid)
    # Their ports are free once they are gone.
    psutil.wait_procs(killed, timeout=2)
