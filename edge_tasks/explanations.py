"""What docs/troubleshooting.md says of an error: the code by which it is asked for, and the section about it.

The page is the only place where codes stand. Its headings are `### CODE: MESSAGE`, where `...` is what differs from
time to time; an error whose message is like that has that code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SECTION = re.compile(r"^### (E\d{3}): (.+)\n\n((?:(?!^##).*\n?)*)", re.MULTILINE)


@dataclass(frozen=True)
class Explanation:
    """One section: its code, the message that it is about, and what it says, as Markdown."""

    code: str
    message: str
    text: str

    def is_about(self, problem: str) -> bool:
        """Say whether `problem` is such a message."""
        parts = (re.escape(part) for part in self.message.split("..."))
        return re.search(".*?".join(parts), problem) is not None


@cache
def explanations() -> tuple[Explanation, ...]:
    """Return all sections, in the order of the page; none where the page was not installed."""
    try:
        page = _page().read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    return tuple(Explanation(code, message, text.strip()) for code, message, text in _SECTION.findall(page))


def code_of(problem: str) -> str | None:
    """Return the code of an error by its message, or None when the page has no section about it."""
    return next((one.code for one in explanations() if one.is_about(problem)), None)


def with_code(problem: str) -> str:
    """Return a message as it is shown: with its code behind its first line, if it has one."""
    code = code_of(problem)
    if code is None:
        return problem
    first, newline, rest = problem.partition("\n")
    return f"{first} [{code}]{newline}{rest}"


def _page() -> Path:
    """Return the page: package data of the wheel, or that of the checkout."""
    package = Path(__file__).parent
    installed = package / "_docs" / "troubleshooting.md"
    return installed if installed.is_file() else package.parent / "docs" / "troubleshooting.md"
