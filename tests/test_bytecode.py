"""A new environment gets bytecode of the same sources only, and Python takes it."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
from pathlib import Path

import pytest

from tests import bytecode


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A compiled module, and a copy of its source with another time."""
    older, newer = tmp_path / "older" / "package", tmp_path / "newer" / "package"
    older.mkdir(parents=True)
    (older / "module.py").write_text("number = 1\n")
    py_compile.compile(str(older / "module.py"))
    shutil.copytree(older, newer, ignore=shutil.ignore_patterns("__pycache__"))
    os.utime(newer / "module.py", (1, 1))
    return older, newer


def compiled(folder: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(folder / "module.py")))


def test_the_bytecode_of_the_same_source_is_what_python_would_write(folders: tuple[Path, Path]) -> None:
    older, newer = folders
    bytecode.share(older.parent, newer.parent)
    given = compiled(newer).read_bytes()
    assert given[16:] == compiled(older).read_bytes()[16:]
    py_compile.compile(str(newer / "module.py"))
    assert given[:16] == compiled(newer).read_bytes()[:16]


@pytest.mark.parametrize("changed", ["the new source", "the old source, after it was compiled"])
def test_a_source_that_differs_gets_none(folders: tuple[Path, Path], changed: str) -> None:
    older, newer = folders
    (newer / "module.py").write_text("number = 2\n")
    if changed != "the new source":
        (older / "module.py").write_text("number = 2\n")
        os.utime(older / "module.py", (2, 2))
    bytecode.share(older.parent, newer.parent)
    assert not compiled(newer).exists()
