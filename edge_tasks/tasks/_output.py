"""Where a task writes what it was asked to write: looked at before any work is done for it."""

from __future__ import annotations

import shlex
from pathlib import Path

from edge_tasks.errors import UsageError


def output_file(name: str, flag: str = "--output") -> Path:
    """Return the file that `flag` names. Raises UsageError when no file of that name can be there."""
    path = output_file_in_any_folder(name, flag)
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder `{path.parent}`", f"mkdir -p {shlex.quote(str(path.parent))}")
    return path


def output_file_in_any_folder(name: str, flag: str = "--output") -> Path:
    """Return the file that `flag` names; its folder may have to be made. Raises UsageError when it cannot be there."""
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"`{name}` is a folder", f"{flag} names a file: {flag} {shlex.quote(f'{path}/FILE')}")
    output_folder(str(path.parent), flag)
    return path


def output_folder(name: str, flag: str = "--output") -> Path:
    """Return the folder that `flag` names, which may have to be made. Raises UsageError when a file is in its place."""
    path = Path(name)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"`{place}` is a file", f"choose another place for {flag}")
    return path
