"""The shell line by which a job in a plain Python image gets its packages, read so that no shell is needed.

    sh -c 'python3 -m pip install PACKAGE ... && exec python3 -m MODULE "$@"' NAME ARGUMENT ...

A forked process does both steps without an interpreter for each. Any other line, and one with anything that a shell
would expand, is left to the shell.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE = re.compile(r'python3? -m pip (install [^$`\\;&|<>(){}*?!~#\[\]\n]+) && exec python3? -m ([\w.]+)( "\$@")?')


class ShellLine(NamedTuple):
    """What the line does: the arguments of pip, and then a module with its own."""

    pip: list[str]
    module: str
    arguments: list[str]


def read(words: Sequence[str]) -> ShellLine | None:
    """Return what a command does, if it is such a line."""
    if len(words) < 3 or list(words[:2]) != ["sh", "-c"]:
        return None
    found = _LINE.fullmatch(words[2])
    try:
        # The word after the line is the shell's own name.
        arguments = list(words[4:]) if found and found.group(3) else []
        return ShellLine(shlex.split(found.group(1)), found.group(2), arguments) if found else None
    except ValueError:  # a quotation that does not end
        return None
