"""Source distributions that have to be built: pip does it, from what is on this machine.

Most archives of jobs only list their packages, and need no build: `packages` takes those apart itself, in milliseconds
instead of seconds. A build may do anything else: read where packages lie, write a version, compile.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from edge_tasks.emulator.runtime.watchers import clean_environment

# Seconds; a build of C code takes its time.
LIMIT = 600
LAST_LINES = 15
# What a setup.py may tell with no need to run it: all of it stands in the archive, too.
TOLD = frozenset(
    {"name", "version", "packages", "package_data", "include_package_data", "install_requires", "py_modules"}
    | {"python_requires", "description", "long_description", "author", "author_email", "url", "license"}
)


class BuildError(Exception):
    """pip could not build an archive; the message ends with what it printed."""


def is_needed(top: Path) -> bool:
    """Whether an unpacked source distribution says more of itself than which packages it has."""
    project, setup = top / "pyproject.toml", top / "setup.py"
    if project.is_file() and re.search(r"^\s*\[", project.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        return True
    return setup.is_file() and not _only_lists(setup.read_text(encoding="utf-8", errors="replace"))


def build(archive: Path, folder: Path) -> None:
    """Install an archive into an empty folder, without what it requires; BuildError tells what pip had to say."""
    if importlib.util.find_spec("pip") is None:
        raise BuildError(
            "it has to be built, for which this environment has no pip: install it with `uv pip install pip`"
        )
    command = [sys.executable, "-I", "-m", "pip", "--isolated", "install", "--disable-pip-version-check", "--no-input"]
    command += [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--no-compile",
        "--no-warn-script-location",
    ]
    try:
        done = subprocess.run(
            [*command, "--target", str(folder), str(archive)],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"pip did not build it within {LIMIT} s") from None
    if done.returncode:
        lines = "\n".join(done.stdout.strip().splitlines()[-LAST_LINES:])
        raise BuildError(f"pip could not build it (what builds it must be installed here):\n{lines}")


def _only_lists(text: str) -> bool:
    """Whether a setup.py does nothing but call `setup` with plain values, or with `find_packages()`."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return False
    lines = [line for line in body if not _is_text(line)]
    imports, call = lines[:-1], lines[-1] if lines else None
    if not all(isinstance(line, ast.ImportFrom) and line.module == "setuptools" for line in imports):
        return False
    if not isinstance(call, ast.Expr) or not isinstance(call.value, ast.Call):
        return False
    function, keywords = call.value.func, call.value.keywords
    return (
        isinstance(function, ast.Name)
        and function.id == "setup"
        and not call.value.args
        and all(keyword.arg in TOLD and _is_plain(keyword.value) for keyword in keywords)
    )


def _is_plain(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        found = isinstance(value.func, ast.Name) and value.func.id == "find_packages"
        return found and not value.args and not value.keywords
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
