"""The folder in which a training puts its results together, under `.edge/training`, and tidying up after killed ones.

A folder is locked (flock) as long as its training lives: the system frees the lock with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Make `folder` for the block, and remove it after; folders next to it whose training was killed go, too."""
    place = folder.parent
    place.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        # While a folder is made nobody tidies up: it would still be without its lock.
        with _locked(place):
            for other in place.iterdir():
                if other.is_dir():
                    _remove_abandoned(other)
            folder.mkdir()
            held.enter_context(_locked(folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `folder` for the block. Raises BlockingIOError when it is taken and not to be waited for."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    # A training that ends just now removes its own.
    with contextlib.suppress(BlockingIOError, FileNotFoundError), _locked(folder, wait=False):
        shutil.rmtree(folder, ignore_errors=True)
