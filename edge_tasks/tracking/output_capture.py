"""What a training prints, to its terminal as ever and into a file: its own output and that of programs it starts.

Sacred has the same, but it loses what a failing training said last, and takes output that is not UTF-8 for an error of
the training. As there, `tee` does the work, outside this process: a thread could not read a pipe that C code, holding
the interpreter's lock, waits to write to.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

# Seconds for `tee` to read the rest, longer when a program that the training started still prints; and for its end,
# longer when such a program only holds its pipe open. Seconds between two looks.
_LAST_WORDS, _LEFT_BEHIND, _LOOK = 2.0, 0.5, 0.01


@contextlib.contextmanager
def output_into(file: Path) -> Iterator[None]:
    """Append what is printed inside the block to `file`. Raises OSError, at once, where there is no `tee`."""
    file.touch()
    _flush()
    tees: list[_Tee] = []
    try:
        tees.extend(_Tee(descriptor, file) for descriptor in (1, 2))
        yield
    finally:
        _flush()
        for tee in tees:
            tee.let_go()
        read = time.monotonic() + _LAST_WORDS
        for tee in tees:
            tee.wait_until_read(read)
        ended = time.monotonic() + _LEFT_BEHIND
        for tee in tees:
            tee.wait_for_end(ended)


class _Tee:
    """`tee`, which takes what is written to a descriptor until that is let go; afterwards everything is as before."""

    def __init__(self, descriptor: int, file: Path):
        # Its own session: Ctrl-C is meant for the training, whose last words are still to be written.
        self._process = subprocess.Popen(
            ["tee", "-a", str(file)], stdin=subprocess.PIPE, stdout=descriptor, start_new_session=True
        )
        assert self._process.stdin is not None
        self._descriptor = descriptor
        self._before = os.dup(descriptor)
        os.dup2(self._process.stdin.fileno(), descriptor)
        self._process.stdin.close()
        self._pipe = -1

    def let_go(self) -> None:
        """Let the descriptor be what it was."""
        self._pipe = os.dup(self._descriptor)
        os.dup2(self._before, self._descriptor)
        os.close(self._before)

    def wait_until_read(self, deadline: float) -> None:
        """Wait until `tee` has read all, or does not come to an end since a program still prints."""
        while time.monotonic() < deadline and self._process.poll() is None and _unread(self._pipe):
            time.sleep(_LOOK)
        os.close(self._pipe)

    def wait_for_end(self, deadline: float) -> None:
        """Wait for its end, which a program that the training left behind keeps from coming."""
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            self._process.returncode = 0  # it ends with that program; a Popen that thinks so does not complain


def _unread(pipe: int) -> int:
    """Return the number of bytes in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
