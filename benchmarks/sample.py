"""Times that were measured: taking them, and what is said of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Sample:
    """The seconds that the repetitions of one thing took."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.seconds)

    def percentile(self, percent: int) -> float:
        """Return the time that `percent` of the repetitions did not exceed."""
        return quantiles(self.seconds, n=100, method="inclusive")[percent - 1]

    def __str__(self) -> str:
        low, high = duration(self.percentile(25)), duration(self.percentile(75))
        return f"{duration(self.median)} ({low} - {high})"


def duration(seconds: float) -> str:
    """Return seconds as people read them."""
    return f"{seconds * 1000:.2f} ms" if abs(seconds) < 0.1 else f"{seconds:.2f} s"


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compared(
    works: Sequence[Callable[[], object]], repetitions: int, warm_ups: int = 1, at_once: int = 1
) -> list[Sample]:
    """Return the times of each of `works`, taken by turns, so that a busy moment of the machine meets all of them.

    A turn is `at_once` repetitions: more than one where the processor's caches matter.
    """
    for _ in range(warm_ups):
        for work in works:
            work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repetitions // at_once):
        for work, taken in zip(works, times, strict=True):
            taken += [timed(work) for _ in range(at_once)]
    return [Sample(tuple(taken)) for taken in times]
