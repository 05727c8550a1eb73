"""What a training prints, to its terminal as ever and into a file: its own output and that of programs it starts.

Sacred has the same, but it loses what a failing training said last, and takes output that is not UTF-8 for an error of
the training. As there, `tee` does the work, outside this process: a thread could not read a pipe that C code, holding
the interpreter's lock, waits to write to.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Seconds for `tee` to write the rest; longer when a program that the training started still prints.
_LAST_WORDS = 2.0


@contextlib.contextmanager
def output_into(file: Path) -> Iterator[None]:
    """Append what is printed inside the block to `file`. Raises OSError, at once, where there is no `tee`."""
    file.touch()
    _flush()
    with contextlib.ExitStack() as stack:
        tees = [stack.enter_context(_teed(descriptor, file)) for descriptor in (1, 2)]
        try:
            yield
        finally:
            _flush()
            stack.close()
            for tee in tees:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    tee.wait(_LAST_WORDS)


@contextlib.contextmanager
def _teed(descriptor: int, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let `tee` take what is written to `descriptor`; afterwards everything is as before."""
    # Its own session: Ctrl-C is meant for the training, whose last words are still to be written.
    tee = subprocess.Popen(["tee", "-a", str(file)], stdin=subprocess.PIPE, stdout=descriptor, start_new_session=True)
    assert tee.stdin is not None
    before = os.dup(descriptor)
    os.dup2(tee.stdin.fileno(), descriptor)
    tee.stdin.close()
    try:
        yield tee
    finally:
        os.dup2(before, descriptor)
        os.close(before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
