"""One line of the table: what was measured, compared with what, and the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.sample import Sample, duration


@dataclass(frozen=True)
class Peer:
    """What something is compared with, measured in the same run."""

    name: str
    sample: Sample


@dataclass(frozen=True)
class Row:
    """A measurement. `value` is what the limit is about; without a limit it is shown alone."""

    what: str
    sample: Sample
    peer: Peer | None = None
    limit: float | None = None

    @property
    def value(self) -> float:
        """The median in seconds."""
        return self.sample.median

    @property
    def holds(self) -> bool | None:
        """Whether the limit holds; None when there is none."""
        return None if self.limit is None else self.value <= self.limit

    def cells(self) -> list[str]:
        """Return the columns of the table: what, measured, compared with, comparison, limit, holds."""
        peer = f"{self.peer.name}: {self.peer.sample}" if self.peer else ""
        limit = "" if self.limit is None else f"at most {self.in_words(self.limit)}"
        verdict = {None: "", True: "yes", False: "NO"}[self.holds]
        return [self.what, str(self.sample), peer, self.comparison(), limit, verdict]

    def comparison(self) -> str:
        """Return how it compares with the peer."""
        return f"{duration(self.value - self.peer.sample.median)} more" if self.peer else ""

    def in_words(self, limit: float) -> str:
        """Return the limit with its unit."""
        return duration(limit) if limit < 0.1 else f"{limit:g} s"

    def numbers(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "what": self.what,
            "seconds": self.sample.seconds,
            "median": self.sample.median,
            "peer": {"name": self.peer.name, "seconds": self.peer.sample.seconds, "median": self.peer.sample.median}
            if self.peer
            else None,
            "value": self.value,
            "limit": self.limit,
            "holds": self.holds,
        }


@dataclass(frozen=True)
class RatioRow(Row):
    """A measurement whose limit is a multiple of the peer."""

    @property
    def value(self) -> float:
        """How many times the peer's median."""
        assert self.peer is not None
        return self.sample.median / self.peer.sample.median

    def comparison(self) -> str:
        """Return how it compares with the peer."""
        return f"{self.value:.2f} x"

    def in_words(self, limit: float) -> str:
        """Return the limit with its unit."""
        return f"{limit:g} x"


@dataclass(frozen=True)
class DifferenceRow(Row):
    """A measurement whose limit is so many seconds more than the peer."""

    @property
    def value(self) -> float:
        """The seconds beyond the peer's median."""
        assert self.peer is not None
        return self.sample.median - self.peer.sample.median

    def comparison(self) -> str:
        """Return how it compares with the peer."""
        return f"{duration(self.value)} more"

    def in_words(self, limit: float) -> str:
        """Return the limit with its unit."""
        return f"{limit:.2g} s more"


@dataclass(frozen=True)
class SlowestRow(Row):
    """A measurement that is about the 99th percentile."""

    @property
    def value(self) -> float:
        """The 99th percentile in seconds."""
        return self.sample.percentile(99)

    def cells(self) -> list[str]:
        """Return the columns of the table, with the percentile in the place of the median."""
        assert self.peer is not None
        slowest = duration(self.peer.sample.percentile(99))
        ratio = f"{duration(self.value - self.peer.sample.percentile(99))} more"
        return [self.what, duration(self.value), f"{self.peer.name}: {slowest}", ratio, "", ""]
