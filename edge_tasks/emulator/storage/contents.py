"""The bytes of objects: large ones as files that never change, small ones in the index.

A file has its own name, which nobody outside sees. An object's name never becomes a path, so every legal name is
possible on every file system. A file is written once, brought to the disk, and only then does the index tell of it; two
objects may share one. What no object needs is removed after the index has forgotten it; what a killed process has left
is swept up at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from edge_tasks.emulator.storage.checksums import Checksums

# The content of a smaller object lies in the index itself: one write to the disk instead of three.
INLINE_LIMIT = 64 * 1024
PIECE = 1 << 20
THREADS = 8
T = TypeVar("T")


class Content(NamedTuple):
    """A content that is safe on the disk, or (`data`) small enough to go into the index."""

    size: int
    md5: str | None
    crc32c: str
    file: str | None
    data: bytes | None


class Contents:
    """The folder of the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Files that are being written: the index does not know them yet.
        self._open: set[str] = set()
        # The event loop's own threads may all be waiting for an answer of Cloud Storage.
        self._threads = ThreadPoolExecutor(THREADS, "storage")

    async def work(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """End the threads; what they do now is finished."""
        self._threads.shutdown()

    def path(self, file: str) -> Path:
        """Return where a file lies; the folders keep each other small."""
        return self.folder / file[:2] / file

    def draft(self) -> Draft:
        """Begin a new content."""
        return Draft(self)

    def create(self) -> tuple[str, int]:
        """Make an empty file; return its name and a descriptor for writing."""
        file = uuid.uuid4().hex
        self._open.add(file)
        path = self.path(file)
        try:
            return file, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            _make_folder(path.parent)
            return file, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def sync(self, file: str, descriptor: int) -> None:
        """Bring a file and its name to the disk."""
        os.fsync(descriptor)
        _sync_folder(self.path(file).parent)

    def settle(self, file: str) -> None:
        """Say that the index knows a file now, or that nobody wants it any more."""
        self._open.discard(file)

    def remove(self, files: Iterable[str]) -> None:
        """Remove files that nothing refers to any more."""
        for file in files:
            self.settle(file)
            # One that stays is swept up at the next start.
            with contextlib.suppress(OSError):
                self.path(file).unlink()

    def sweep(self, unknown: Callable[[Collection[str]], Collection[str]]) -> int:
        """Remove what a killed process has left: of the files that are here, those `unknown` to the index."""
        found = [path.name for path in self.folder.glob("*/*")]
        left = set(unknown(found)) - self._open
        self.remove(left)
        return len(left)


class Draft:
    """A content that is being written. Its methods block; each draft belongs to one thread at a time."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._checksums = Checksums()
        self._small = bytearray()
        self._file: tuple[str, int] | None = None

    @property
    def size(self) -> int:
        """How many bytes there are so far."""
        return self._checksums.size

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._checksums.update(data)
        if self._file is None:
            self._small += data
            if len(self._small) <= INLINE_LIMIT:
                return
            self._file = self._contents.create()
            data = bytes(self._small)
            self._small.clear()
        write_all(self._file[1], data)

    def finish(self, *, has_md5: bool = True) -> Content:
        """Bring everything to the disk, and return what the index needs to know."""
        sums = self._checksums
        md5 = sums.md5 if has_md5 else None
        if self._file is None:
            return Content(sums.size, md5, sums.crc32c, None, bytes(self._small))
        file, descriptor = self._file
        self._contents.sync(file, descriptor)
        os.close(descriptor)
        self._file = None
        return Content(sums.size, md5, sums.crc32c, file, None)

    def discard(self) -> None:
        """Leave nothing behind; after `finish` this does nothing."""
        if self._file is not None:
            file, descriptor = self._file
            self._file = None
            os.close(descriptor)
            self._contents.remove([file])


class Source:
    """A content that is being read: opened once, it stays as it was, whatever happens to the object."""

    def __init__(self, contents: Contents, size: int, file: str | None, data: bytes | None) -> None:
        self.size = size
        self._data = data
        self._descriptor = None if file is None else os.open(contents.path(file), os.O_RDONLY | os.O_CLOEXEC)

    @property
    def in_memory(self) -> bool:
        """Whether reading does not touch the disk."""
        return self._descriptor is None

    def read(self, start: int, length: int) -> bytes:
        """Return bytes from a place on: all of them, or OSError when the file has lost some."""
        if self._descriptor is None:
            return (self._data or b"")[start : start + length]
        data = os.pread(self._descriptor, length, start)
        while len(data) < length:
            more = os.pread(self._descriptor, length - len(data), start + len(data))
            if not more:
                raise OSError("a file of the emulator's Cloud Storage was cut")
            data += more
        return data

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a range, piece by piece."""
        end = self.size if end is None else end
        while start < end:
            piece = self.read(start, min(PIECE, end - start))
            yield piece
            start += len(piece)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes; the system may take them in several steps."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
