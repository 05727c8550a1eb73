"""Answers that one process gives and another one counts: numbers in memory that both of them have."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Where is what: whether answers are still wanted, whether one is being written, the sum of the milliseconds and that of
# their squares, how many are in each bucket.
_SIZE = mmap.PAGESIZE
_OPEN, _WRITING = 0, 1
_SUMS = struct.Struct("@dd")
_SUMS_AT = 8
_BUCKET = struct.Struct("@Q")
_BUCKETS_AT = _SUMS_AT + _SUMS.size
MOST_EDGES = (_SIZE - _BUCKETS_AT) // _BUCKET.size - 1


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
        self._edges = edges
        self._all = struct.Struct(f"@{len(edges) + 1}Q")

    @staticmethod
    def make_file() -> int:
        """Return the descriptor of a new file for a tally, which is open for answers; nothing else knows the file."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("tally")
        else:
            descriptor, path = tempfile.mkstemp()
            Path(path).unlink()
        os.ftruncate(descriptor, _SIZE)
        os.pwrite(descriptor, b"\x01", _OPEN)
        return descriptor

    @property
    def is_open(self) -> bool:
        """Whether answers are still wanted."""
        return self._memory[_OPEN] == 1

    def end(self) -> None:
        """Want no more answers."""
        self._memory[_OPEN] = 0

    @property
    def is_writing(self) -> bool:
        """Whether a request was taken whose answer is not written to its end."""
        return self._memory[_WRITING] == 1

    @is_writing.setter
    def is_writing(self, whether: bool) -> None:
        self._memory[_WRITING] = whether

    def add(self, milliseconds: float) -> None:
        """Count one answer."""
        total, squares = _SUMS.unpack_from(self._memory, _SUMS_AT)
        _SUMS.pack_into(self._memory, _SUMS_AT, total + milliseconds, squares + milliseconds * milliseconds)
        place = _BUCKETS_AT + _BUCKET.size * bisect_right(self._edges, milliseconds)
        _BUCKET.pack_into(self._memory, place, _BUCKET.unpack_from(self._memory, place)[0] + 1)

    def read(self) -> Counts:
        """Return what was counted so far."""
        total, squares = _SUMS.unpack_from(self._memory, _SUMS_AT)
        return Counts(total, squares, self._all.unpack_from(self._memory, _BUCKETS_AT))

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
