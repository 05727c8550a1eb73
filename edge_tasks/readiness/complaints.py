"""What is wrong, where, and the line that fixes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_tasks.errors import TrainingError

# Lines that an error shows; the rest is counted.
_SHOWN = 12


@dataclass(frozen=True)
class Complaint:
    """One thing that would fail. `where` is a file and a line, `fix` completes the sentence after a colon."""

    where: str
    problem: str
    fix: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.where} {self.problem}: {self.fix}"


def refuse(complaints: Sequence[Complaint], what: str, without: str) -> None:
    """Raise TrainingError when there are complaints. `what` would fail; `without` tells how to skip the check."""
    if complaints:
        lines = [f"\n  {complaint}" for complaint in complaints[:_SHOWN]]
        more = f"\n  and {len(complaints) - _SHOWN} more" if len(complaints) > _SHOWN else ""
        raise TrainingError(
            f"{what} would fail:{''.join(lines)}{more}", f"fix that; to continue without checks: {without}"
        )
