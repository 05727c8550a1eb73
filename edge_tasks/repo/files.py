"""Files and folders that are either whole or not there: written next to their place, then renamed into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one and nothing between."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def replace_folder(source: Path, destination: Path) -> None:
    """Put the folder `source` where `destination` is. Both must lie on one file system.

    A folder cannot be exchanged in one step everywhere, so the old one is first moved aside; it is removed only when
    the new one stands in its place.
    """
    aside = destination.with_name(f".{destination.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if destination.exists():
        destination.rename(aside)
    try:
        source.rename(destination)
    except BaseException:
        if aside.exists():
            aside.rename(destination)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def folder_sha256(folder: Path) -> str:
    """Return one SHA-256 (hex) over the relative names and contents of all files in `folder`, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix().encode()
        content = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
        digest.update(len(name).to_bytes(4, "big") + name + content.digest())
    return digest.hexdigest()
