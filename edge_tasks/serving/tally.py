"""Answers that one process gives and another one counts: numbers in memory that both of them have."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Where is what, in units of eight bytes: whether answers are still wanted, whether one is being written, the sum of the
# milliseconds and that of their squares, how many are in each bucket.
_SIZE = mmap.PAGESIZE
_OPEN, _WRITING, _TOTAL, _SQUARES, _BUCKETS = range(5)
MOST_EDGES = _SIZE // 8 - _BUCKETS - 1


class Counts(NamedTuple):
    """What was counted: the sum of the milliseconds, that of their squares, and how many answers each bucket has."""

    total: float
    squares: float
    buckets: tuple[int, ...]


class Tally:
    """A page of memory: one process adds answers, another reads them and says when they are not wanted any more."""

    def __init__(self, descriptor: int, edges: Sequence[float]) -> None:
        """Map the file behind a descriptor, which stays the caller's.

        `edges` are the milliseconds at which one bucket ends and the next begins, MOST_EDGES at most.
        """
        self._memory = mmap.mmap(descriptor, _SIZE)
        # A number is written in one piece; `struct` would make it zero first, which the other process may see.
        self._numbers = memoryview(self._memory).cast("Q")
        self._sums = memoryview(self._memory).cast("d")
        self._edges = edges

    @staticmethod
    def make_file() -> int:
        """Return the descriptor of a new file for a tally, which is open for answers; nothing else knows the file."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("tally")
        else:
            descriptor, path = tempfile.mkstemp()
            Path(path).unlink()
        os.ftruncate(descriptor, _SIZE)
        os.pwrite(descriptor, (1).to_bytes(8, sys.byteorder), 8 * _OPEN)
        return descriptor

    @property
    def is_open(self) -> bool:
        """Whether answers are still wanted."""
        return self._numbers[_OPEN] == 1

    def end(self) -> None:
        """Want no more answers."""
        self._numbers[_OPEN] = 0

    @property
    def is_writing(self) -> bool:
        """Whether a request was taken whose answer is not written to its end."""
        return self._numbers[_WRITING] == 1

    @is_writing.setter
    def is_writing(self, whether: bool) -> None:
        self._numbers[_WRITING] = whether

    def add(self, milliseconds: float) -> None:
        """Count one answer."""
        self._sums[_TOTAL] += milliseconds
        self._sums[_SQUARES] += milliseconds * milliseconds
        self._numbers[_BUCKETS + bisect_right(self._edges, milliseconds)] += 1

    def read(self) -> Counts:
        """Return what was counted so far."""
        buckets = tuple(self._numbers[_BUCKETS : _BUCKETS + len(self._edges) + 1])
        return Counts(self._sums[_TOTAL], self._sums[_SQUARES], buckets)

    def close(self) -> None:
        """Give the memory back."""
        self._numbers.release()
        self._sums.release()
        self._memory.close()
