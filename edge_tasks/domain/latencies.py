"""How long answers took, as counts in buckets, from which middle and slow ones are read off.

https://cloud.google.com/monitoring/api/ref_v3/rest/v3/TypedValue#Distribution
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# A distribution may have buckets whose bounds nobody could use.
_MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Latencies:
    """Answers in buckets, in milliseconds.

    Bucket 0 is below `bounds[0]`, the last one from `bounds[-1]` on, and there is one more than bounds.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    mean: float

    @classmethod
    def from_distribution(cls, value: Mapping[str, Any]) -> Latencies | None:
        """Read what Cloud Monitoring answers; None when it counts nothing. Raises ValueError for something else."""
        if int(value.get("count", 0)) == 0:
            return None
        bounds = _bounds(value["bucketOptions"])
        counts = [int(count) for count in value.get("bucketCounts", ())]
        if len(counts) > len(bounds) + 1:
            raise ValueError("a distribution has more counts than buckets")
        return cls(bounds, counts + [0] * (len(bounds) + 1 - len(counts)), float(value.get("mean", 0.0)))

    @property
    def count(self) -> int:
        """How many answers there are."""
        return sum(self.counts)

    def plus(self, other: Latencies) -> Latencies:
        """Return both together. Raises ValueError when their buckets differ."""
        if list(self.bounds) != list(other.bounds):
            raise ValueError("distributions of other buckets cannot be added")
        counts = [one + another for one, another in zip(self.counts, other.counts, strict=True)]
        every = sum(counts) or 1
        return replace(self, counts=counts, mean=(self.mean * self.count + other.mean * other.count) / every)

    def quantile(self, share: float) -> float:
        """Return the milliseconds in which this share of the answers came, about: within a bucket they are even."""
        wanted, before = share * self.count, 0
        for place, count in enumerate(self.counts):
            if count and before + count >= wanted:
                low = self.bounds[place - 1] if place else 0.0
                high = self.bounds[place] if place < len(self.bounds) else low
                return low + (high - low) * max(0.0, wanted - before) / count
            before += count
        return self.bounds[-1] if self.bounds else self.mean


def _bounds(options: Mapping[str, Any]) -> list[float]:
    """Return the bounds between buckets, in any of the three ways in which they are told."""
    if explicit := options.get("explicitBuckets"):
        return [float(bound) for bound in explicit["bounds"]]
    kind = options.get("linearBuckets") or options.get("exponentialBuckets")
    if not kind:
        raise ValueError("a distribution has no buckets")
    number = int(kind["numFiniteBuckets"])
    if not 0 < number <= _MOST_BUCKETS:
        raise ValueError(f"a distribution has {number} buckets")
    if "linearBuckets" in options:
        width, offset = float(kind["width"]), float(kind.get("offset", 0))
        return [offset + width * place for place in range(number + 1)]
    scale, growth = float(kind["scale"]), float(kind["growthFactor"])
    return [scale * growth**place for place in range(number + 1)]
