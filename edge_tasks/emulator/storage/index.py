"""All that there is, in one SQLite file.

Reads happen where they are asked, on the event loop's connection. Changes go through one thread, one after another, so
that a change sees what its preconditions were checked against. What waits while the disk works is written together:
one write to the disk for all of them. A change is confirmed when it is on the disk, even if the machine stops.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from edge_tasks.emulator.data_folder import check_new
from edge_tasks.emulator.errors import StartError
from edge_tasks.emulator.storage.contents import Contents
from edge_tasks.emulator.storage.errors import full_disk, is_full_disk
from edge_tasks.emulator.storage.tables import SCHEMA, RecentTables, Tables

T = TypeVar("T")
SCHEMA_VERSION = 1
# So many changes are written together at most.
LARGEST_GROUP = 256


class Index:
    """The file, the connection for reading, and the thread that writes."""

    def __init__(self, path: Path, contents: Contents) -> None:
        self._path = path
        self._contents = contents
        try:
            # A sweep reads in its own thread, one at a time.
            self._reading = _open(path)
            self._writing = _open(path)
            _create_or_check(self._writing, path)
        except sqlite3.Error as error:
            raise StartError(
                f"the emulator's Cloud Storage cannot be opened: {path}: {error}",
                "move the data folder away, or start with another one: --data DIR",
            ) from error
        self._changes = 0
        self.tables: Tables = RecentTables(self._reading, lambda: self._changes)
        self._waiting: queue.SimpleQueue[tuple[Callable[[Tables], Any], concurrent.futures.Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._writer = threading.Thread(target=self._write_all, name="storage-writer", daemon=True)
        self._writer.start()

    async def change(self, work: Callable[[Tables], T]) -> T:
        """Make a change, all of it or nothing, and return when it is on the disk."""
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Tables], T]) -> concurrent.futures.Future[T]:
        """Hand in a change."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._waiting.put((work, done))
        return done

    def close(self) -> None:
        """Make the changes that wait, and close the file."""
        self._waiting.put(None)
        self._writer.join()
        self._reading.close()
        self._writing.close()

    def _write_all(self) -> None:
        for group in self._groups():
            tables = Tables(self._writing)
            results: list[tuple[concurrent.futures.Future[Any], Any, BaseException | None]] = []
            try:
                self._writing.execute("BEGIN IMMEDIATE")
                for work, done in group:
                    results.append((done, *self._attempt(work, tables)))
                self._writing.execute("COMMIT")
                self._changes += 1
            except Exception as error:
                if self._writing.in_transaction:
                    self._writing.execute("ROLLBACK")
                reason = full_disk() if is_full_disk(error) else error
                for _, done in group:
                    done.set_exception(reason)
                continue
            self._contents.remove(tables.unused(tables.released))
            for done, result, problem in results:
                if problem is None:
                    done.set_result(result)
                else:
                    done.set_exception(problem)

    def _attempt(self, work: Callable[[Tables], Any], tables: Tables) -> tuple[Any, BaseException | None]:
        """Make one change inside the group's transaction; one that is refused leaves nothing of itself."""
        self._writing.execute("SAVEPOINT change")
        released = len(tables.released)
        try:
            result = work(tables)
        except Exception as error:
            if not self._writing.in_transaction:
                # The disk is full: SQLite has taken back the whole group.
                raise
            self._writing.execute("ROLLBACK TO change")
            del tables.released[released:]
            return None, full_disk() if is_full_disk(error) else error
        finally:
            if self._writing.in_transaction:
                self._writing.execute("RELEASE change")
        return result, None

    def _groups(self) -> Iterator[list[tuple[Callable[[Tables], Any], concurrent.futures.Future[Any]]]]:
        """Yield the changes that wait, until the end is asked for."""
        ending = False
        while not ending:
            group = []
            first = self._waiting.get()
            while first is not None:
                group.append(first)
                if len(group) == LARGEST_GROUP or self._waiting.empty():
                    break
                first = self._waiting.get()
            ending = first is None
            if group:
                yield group

    def unused_files(self, files: Collection[str]) -> Collection[str]:
        """Return those of the files that nothing refers to, in a thread of any kind."""
        return self.submit(lambda tables: tables.unused(files)).result()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _create_or_check(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        check_new(path, "the emulator's Cloud Storage", path.parent / "contents")
        connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
    elif found > SCHEMA_VERSION:
        raise StartError(
            f"{path} was written by a newer version (format {found}, this one reads {SCHEMA_VERSION})",
            "update vertex-edge, or start with another --data DIR",
        )
