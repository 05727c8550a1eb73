"""One plain English in code, messages, docs and template: words that the field does not use are not ours either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repositories import ROOT

# What is not written, as a pattern, and what is written in its place.
WORDS = {
    r"\b[Mm]end(s|ed|ing)?\b(?!\()": "fix",
    r"\b[Aa]new\b": "again",
    r"\bw(as|ere) begun\b": "was started",
    r"(?<![Tt]here )(?<!here )\b(is|are) no (?!longer\b|more\b|one\b)[`a-zA-Z]": "is not a",
    r"\b[Bb]eside\b": "next to",
    r"\b([Gg]oes|[Gg]o|went|going|gone) on\b": "continues, is still running",
    r"\b[Aa]n? [\w-]+( [\w-]+)? of (its|their|our|your|one's) own\b": "its own",
    r"\b[Ww]hoever\b": "the person who, the client that",
}
SUFFIXES = {".py", ".md", ".yml", ".yaml", ".js", ".sh", ".txt", ".toml"}
# What others wrote, what was published, and what is written from the code.
LEFT_OUT = ("page/vendor/", "template/releases/", "docs/parity.md", "docs/reference.md", Path(__file__).name)


def texts() -> list[Path]:
    folders = ("edge_tasks", "docs", "hooks", "template", "tests", "scripts", "benchmarks")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    found += ROOT.glob("*.md")
    return [path for path in found if not any(part in path.as_posix() for part in (*LEFT_OUT, "__pycache__"))]


@pytest.mark.parametrize("pattern", WORDS)
def test_a_word_that_the_field_does_not_use_is_not_written(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, f"write {WORDS[pattern]!r}:\n" + "\n".join(found)
