"""How work tells what it is doing, without knowing whether anybody looks."""

from __future__ import annotations

from typing import Protocol


def duration(seconds: float) -> str:
    """Return `seconds` as people say it: 42 s, 3 min 05 s, 2 h 07 min."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Progress(Protocol):
    """What the tasks and the training hand down to the work."""

    def step(self, text: str) -> None:
        """Say that something begins or was done: one line that stays."""

    def log(self, text: str) -> None:
        """Pass on one line that another program printed."""

    def waiting(self, text: str, elapsed: float) -> None:
        """Say what is being waited for, and the seconds so far; called again and again."""


class Silence:
    """Progress that nobody sees."""

    def step(self, text: str) -> None:
        """Say nothing."""

    def log(self, text: str) -> None:
        """Say nothing."""

    def waiting(self, text: str, elapsed: float) -> None:
        """Say nothing."""
