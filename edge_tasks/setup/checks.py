"""Checks: what must be so for a repository to work, each looked at by itself, and what would fix it.

`invoke init` carries the repairs out, `invoke doctor` only tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from edge_tasks.errors import EdgeError, disk_refusal


@dataclass(frozen=True)
class Repair:
    """Something that can be done about what a check found. `text` completes the sentence "it would ..."."""

    text: str
    do: Callable[[], None]
    # Whether it changes more than this repository, its bucket's state and its DVC settings: then the user is asked.
    asks: bool = False


@dataclass(frozen=True)
class Finding:
    """What a check found: a fact, the repairs it needs, and, for a lesser trouble, the command that helps."""

    fact: str
    repairs: tuple[Repair, ...] = ()
    advice: str | None = None


@dataclass(frozen=True)
class Check:
    """One thing to look at. `look` raises EdgeError when it is broken and cannot be repaired from here.

    `after` names the checks without which there is nothing to look at.
    """

    name: str
    look: Callable[[], Finding]
    after: tuple[str, ...] = ()


class State(str, Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    """A check as `invoke doctor` shows it."""

    check: str
    state: State
    fact: str
    fix: str = ""


def examine(checks: Sequence[Check]) -> list[Result]:
    """Look at everything, also behind what is broken, as far as there is something to look at."""
    results = []
    lost: set[str] = set()
    for check in checks:
        missing = next((name for name in check.after if name in lost), None)
        if missing:
            result = Result(check.name, State.UNKNOWN, f"not looked at: it takes {missing}")
            lost.add(check.name)
        else:
            try:
                result = _result(check, _look(check))
            except EdgeError as error:
                result = Result(check.name, State.BROKEN, error.problem, error.hint or "")
                lost.add(check.name)
        results.append(result)
    return results


def _look(check: Check) -> Finding:
    """Look; a file that may not be read is one thing that is broken, and the rest is looked at all the same."""
    try:
        return check.look()
    except OSError as error:
        if problem := disk_refusal(error):
            raise problem from None
        raise


def _result(check: Check, finding: Finding) -> Result:
    if finding.repairs:
        return Result(check.name, State.BROKEN, finding.fact, "invoke init")
    if finding.advice:
        return Result(check.name, State.WARNING, finding.fact, finding.advice)
    return Result(check.name, State.OK, finding.fact)
