"""The lines of a requirements.txt that name packages: https://pip.pypa.io/en/stable/reference/requirements-file-format/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge_tasks.repo.text_files import read_text

_COMMENT = re.compile(r"(^|\s)#.*")


def requirement_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, without its comment; none without the file, and no options of pip.

    Raises ConfigError when the file is not text in UTF-8, which may begin with a mark.
    """
    if not path.is_file():
        return
    for number, line in enumerate(read_text(path, path.name).removeprefix("\ufeff").splitlines(), start=1):
        text = _COMMENT.sub("", line).strip()
        if text and not text.startswith("-"):
            yield number, text
