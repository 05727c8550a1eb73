"""The programs that come first on a job's PATH: its Python, and the `pip` that installs for this job alone."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from edge_tasks.emulator.runtime.watchers import ROOT

PYTHONS = ("python", "python3")
PIPS = ("pip", "pip3")


def write(folder: Path, site: Path, isolation: Path | None) -> None:
    """Write the programs of a job whose packages are unpacked into `site`.

    Its Python is the emulator's own, until `use` says otherwise; `isolation` is told to pip (see `pip_shim`).
    """
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from edge_tasks.emulator.runtime.pip_shim import main; "
        f"sys.exit(main({str(site)!r}, {str(isolation or '')!r}, sys.argv[1:]))"
    )
    # A script, not a link: Python finds a virtual environment by the path it was called by.
    python = f"exec {shlex.quote(sys.executable)}"
    for name in PYTHONS:
        _program(folder / name, f'{python} "$@"')
    for name in PIPS:
        _program(folder / name, f'{python} -I -c {shlex.quote(code)} "$@"')


def use(folder: Path, environment: Path) -> None:
    """Let the job's Python be that of an environment, from the next start on; its other programs come with it."""
    for path in (environment / "bin").iterdir():
        name = path.name
        if name.startswith("python"):
            _program(folder / name, f'exec {shlex.quote(str(environment / "bin" / "python"))} "$@"')
        elif not name.startswith(("activate", "deactivate", "pydoc")) and name not in PIPS:
            new = folder / f".{name}.new"
            new.symlink_to(path)
            new.replace(folder / name)


def _program(path: Path, line: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(f"#!/bin/sh\n{line}\n")
    new.chmod(0o755)
    os.replace(new, path)  # noqa: PTH105  a program that runs keeps what it was started from
