"""What people type, and scripts, keep to what Linux and macOS both have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repositories import ROOT
from tests.test_docs import PAGES, blocks

TEMPLATE = ROOT / "template" / "<<cookiecutter.project_slug>>"

# Of GNU's tools alone, of bash 4 or newer, or of newer versions than people have.
GNU_ONLY = re.compile(
    r"""sed\s+(?:-[a-zA-Z]*\s+)*-i(?=\s)|readlink\s+-f|realpath\s|\bdate\s+(?:-d|--)|grep\s+-\w*P|xargs\s+-\w*r|"""
    r"""\bsort\s+-\w*V|\bstat\s+-c|base64\s+-w|\bcp\s+(?:-\w+\s+)*--|\bmktemp\s+--|\bfind\s+-|\bhead\s+-n\s*-|"""
    r"""(?<![\w-])timeout\s+\d|\bmapfile\b|\bdeclare\s+-A|\$\{\w+,,|\$\{\w+\^\^|--fail-with-body|\bnproc\b|\bmd5sum\b|\bsha256sum\b""",
    re.VERBOSE,
)

SCRIPTS = [TEMPLATE / "test_endpoint.sh", ROOT / "Makefile"]
TEMPLATE_PAGES = list(TEMPLATE.rglob("*.md"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_use_nothing_of_gnu_s_alone(script: Path) -> None:
    code = [line for line in script.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in code if GNU_ONLY.search(line)] == []


@pytest.mark.parametrize("page", [*PAGES, *TEMPLATE_PAGES], ids=lambda path: path.parent.name + "/" + path.name)
def test_pages_use_nothing_of_gnu_s_alone(page: Path) -> None:
    text = page.read_text()
    typed = [block.commands for block in blocks(text)] + re.findall(r"`[^`\n]+`", text)
    typed += re.findall(r"^    \S.*$", text, flags=re.MULTILINE)
    assert [line for line in typed if GNU_ONLY.search(line)] == []


@pytest.mark.parametrize(
    "line",
    ["sed -i 's/a/b/' f", "readlink -f x", "date -d yesterday", "curl --fail-with-body u", "cp -r --parents a b"],
)
def test_such_a_line_is_found(line: str) -> None:
    assert GNU_ONLY.search(line)


def test_what_is_said_of_platforms_is_the_same_everywhere() -> None:
    readme, team = (ROOT / "README.md").read_text(), (ROOT / "docs" / "team.md").read_text()
    classifiers = re.findall(r"Operating System :: (.+?)\"", (ROOT / "pyproject.toml").read_text())
    assert classifiers == ["MacOS", "POSIX :: Linux"]
    for text in (readme, team):
        assert "Linux" in text
        assert "macOS" in text
        assert "WSL 2" in text
    assert "WSL 2" in (TEMPLATE / "README.md").read_text()
