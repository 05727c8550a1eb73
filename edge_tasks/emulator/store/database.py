"""One SQLite file: resources, operations, sequences and the processes we started.

WAL with synchronous=FULL: what a client was told is on disk before the answer leaves, even when the
machine stops. A write costs about a millisecond; writes are rare here (predictions write nothing).
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_tasks.emulator.data_folder import check_new
from edge_tasks.emulator.errors import ApiError, Code, StartError
from edge_tasks.emulator.projects import numbered, numbered_filter, project_id, project_number, use_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge_tasks.emulator.schema.surface import Message, Surface

SCHEMA_VERSION = 2

TABLES = """
CREATE TABLE resources (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent TEXT NOT NULL,
    body BLOB NOT NULL,
    private TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX resources_by_parent ON resources (kind, parent);
CREATE TABLE sequences (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE processes (pid INTEGER PRIMARY KEY, started REAL NOT NULL, role TEXT NOT NULL);
"""
# The ids of the projects that have resources: resources are named by the number, which does not tell the id.
PROJECTS = "CREATE TABLE projects (id TEXT PRIMARY KEY);"


class Row(NamedTuple):
    """A stored resource: its place in the order of creation, its message, and what clients never see."""

    seq: int
    message: Message
    private: dict[str, Any]


class Database:
    """The emulator's store. Used from the event loop's thread only."""

    def __init__(self, path: Path, surface: Surface) -> None:
        self._surface = surface
        # Counts the writes of resources: who has read one knows by it whether to read it again.
        self.writes = 0
        self._listeners: list[Callable[[str], None]] = []
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._create_or_check(path)
        except sqlite3.Error as error:
            raise StartError(
                f"the emulator's store cannot be opened: {path}: {error}",
                "move the data folder away, or start with another one: --data DIR",
            ) from error

    def _create_or_check(self, path: Path) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found == 0:
            check_new(path, "the emulator's store", path.parent / "models", path.parent / "jobs")
            self._connection.executescript(f"BEGIN;{TABLES}{PROJECTS}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif found > SCHEMA_VERSION:
            raise StartError(
                f"the store {path} was written by a newer version (format {found}, this one reads {SCHEMA_VERSION})",
                "update vertex-edge, or start with another --data DIR",
            )
        elif found == 1:
            self._use_numbers()
        self._projects = {str(row[0]) for row in self._connection.execute("SELECT id FROM projects")}
        for project in self._projects:
            # So that `project_id` knows the id of the number again.
            project_number(project)

    def _use_numbers(self) -> None:
        """Name what format 1 has stored, with the project's id in its names, by the project's number."""
        with self.transaction():
            self._connection.execute(PROJECTS)
            rows = self._connection.execute("SELECT seq, name, kind, parent, body, private FROM resources").fetchall()
            for seq, name, kind, parent, body, private in rows:
                message = self._row(kind, (seq, body, "{}")).message
                use_numbers(message)
                if kind == "google.longrunning.Operation":
                    # Those are stored under their location.
                    name = "/".join([*name.split("/")[:4], "operations", name.rpartition("/")[2]])
                self._connection.execute(
                    "UPDATE resources SET name = ?, parent = ?, body = ?, private = ? WHERE seq = ?",
                    (numbered(name), numbered(parent), message.SerializeToString(), numbered_filter(private), seq),
                )
                self._connection.execute("INSERT OR IGNORE INTO projects VALUES (?)", (name.split("/")[1],))
            for (name,) in self._connection.execute("SELECT name FROM sequences").fetchall():
                self._connection.execute("UPDATE sequences SET name = ? WHERE name = ?", (numbered(name), name))
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file; what was confirmed is in it already."""
        self._connection.close()

    def when_written(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the name of each resource that is written, at once."""
        self._listeners.append(listener)

    def _note_write(self, name: str) -> None:
        self.writes += 1
        for listener in self._listeners:
            listener(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several writes one: all of them, or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def insert(self, kind: str, name: str, parent: str, message: Message, **private: Any) -> None:
        """Add a resource; a name that is taken is ALREADY_EXISTS."""
        self._note_write(name)
        try:
            self._connection.execute(
                "INSERT INTO resources (name, kind, parent, body, private) VALUES (?, ?, ?, ?, ?)",
                (name, kind, parent, message.SerializeToString(), json.dumps(private)),
            )
        except sqlite3.IntegrityError:
            raise ApiError(Code.ALREADY_EXISTS, f"{kind} `{name}` already exists.") from None
        self._remember_project(name)

    def _remember_project(self, name: str) -> None:
        project = project_id(name.split("/")[1])
        if project not in self._projects:
            self._projects.add(project)
            self._connection.execute("INSERT OR IGNORE INTO projects VALUES (?)", (project,))

    def update(self, name: str, message: Message, **private: Any) -> None:
        """Replace a resource's message; private values that are not given stay as they are."""
        self._note_write(name)
        self._connection.execute(
            "UPDATE resources SET body = ?, private = json_patch(private, ?) WHERE name = ?",
            (message.SerializeToString(), json.dumps(private), name),
        )

    def find(self, kind: str, name: str) -> Row | None:
        """Return a resource, or None."""
        found = self._connection.execute(
            "SELECT seq, body, private FROM resources WHERE name = ? AND kind = ?", (name, kind)
        ).fetchone()
        return self._row(kind, found) if found else None

    def get(self, kind: str, name: str) -> Message:
        """Return a resource's message; a missing one is NOT_FOUND."""
        row = self.find(kind, name)
        if row is None:
            raise ApiError(Code.NOT_FOUND, f"{kind} `{name}` not found.")
        return row.message

    def children(self, kind: str, parent: str) -> list[Row]:
        """Return the resources of one parent, newest first."""
        rows = self._connection.execute(
            "SELECT seq, body, private FROM resources WHERE kind = ? AND parent = ? ORDER BY seq DESC",
            (kind, parent),
        )
        return [self._row(kind, row) for row in rows]

    def every(self, kind: str) -> list[Row]:
        """Return the resources of one kind in all projects and locations, newest first."""
        rows = self._connection.execute(
            "SELECT seq, body, private FROM resources WHERE kind = ? ORDER BY seq DESC", (kind,)
        )
        return [self._row(kind, row) for row in rows]

    def latest_name(self) -> str:
        """Return the name of the resource that was made last, with its project's id; empty when there is none."""
        found = self._connection.execute("SELECT name FROM resources ORDER BY seq DESC LIMIT 1").fetchone()
        if not found:
            return ""
        collection, project, rest = str(found[0]).split("/", 2)
        return f"{collection}/{project_id(project)}/{rest}"

    def delete(self, name: str) -> None:
        """Forget a resource."""
        self._note_write(name)
        self._connection.execute("DELETE FROM resources WHERE name = ?", (name,))

    def _row(self, kind: str, columns: tuple[int, bytes, str]) -> Row:
        seq, body, private = columns
        full_name = kind if "." in kind else f"google.cloud.aiplatform.v1.{kind}"
        return Row(seq, self._surface.message_class(full_name).FromString(body), json.loads(private))

    def next_in(self, sequence: str) -> int:
        """Return the next number of a sequence, starting at 1; numbers are never given twice."""
        (number,) = self._connection.execute(
            "INSERT INTO sequences VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
            (sequence,),
        ).fetchone()
        return int(number)

    def end_sequence(self, sequence: str) -> None:
        """Forget a sequence: what it numbered is gone."""
        self._connection.execute("DELETE FROM sequences WHERE name = ?", (sequence,))

    def remember_process(self, pid: int, started: float, role: str) -> None:
        """Note a process of ours, so that a later start can end it if we cannot."""
        self._connection.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?)", (pid, started, role))

    def forget_process(self, pid: int) -> None:
        """Drop the note about a process that has ended."""
        self._connection.execute("DELETE FROM processes WHERE pid = ?", (pid,))

    def processes(self) -> list[tuple[int, float, str]]:
        """Return (pid, start time, role) of every process that was noted."""
        return self._connection.execute("SELECT pid, started, role FROM processes").fetchall()
