"""One request and its answer, as a line of a recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_tasks.emulator.errors import StartError


@dataclass
class Exchange:
    """A request and its answer; bodies are JSON, or None. Headers are not kept: one of them lets people in."""

    method: str
    path: str
    query: str
    request: Any
    status: int
    response: Any

    def line(self) -> str:
        """Return the exchange as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read(path: Path) -> Iterator[Exchange]:
    """Yield the exchanges of a recording; StartError where a line is not one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"{path} cannot be read: {reason}", "record a session first: invoke local.record") from None
    for number, line in enumerate(lines, 1):
        yield _parse(line, f"{path}, line {number}")


def _parse(line: str, place: str) -> Exchange:
    try:
        return Exchange(**json.loads(line))
    except (ValueError, TypeError):
        raise StartError(f"{place}: not an exchange", "take a file of `invoke local.record`") from None
