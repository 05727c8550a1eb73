"""The index as rows: buckets, objects, uploads under way.

A row's properties are what the API tells of it besides the columns, in the API's words.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from edge_tasks.emulator.storage.contents import Content

SELECT = "SELECT id, bucket, name, generation, metageneration, live, size, file, properties, private FROM objects"
# What of an object's properties is not told with its resource.
PRIVATE = frozenset({"acl", "holdReleased"})
# So many buckets, and objects, are remembered; contents are not.
REMEMBERED = 4096

SCHEMA = """
CREATE TABLE buckets (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, metageneration INTEGER NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    bucket TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL,
    live INTEGER NOT NULL,
    size INTEGER NOT NULL,
    file TEXT,
    properties TEXT NOT NULL,
    private TEXT NOT NULL,
    data BLOB
);
CREATE UNIQUE INDEX objects_live ON objects (bucket, name) WHERE live;
CREATE UNIQUE INDEX objects_versions ON objects (bucket, name, generation);
CREATE INDEX objects_file ON objects (file) WHERE file IS NOT NULL;
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL, file TEXT, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, md5 TEXT NOT NULL, file TEXT, data BLOB,
    PRIMARY KEY (upload, number)
);
CREATE TABLE generations (last INTEGER NOT NULL);
INSERT INTO generations VALUES (0);
"""


@dataclass
class Bucket:
    """A bucket: `properties` are its settings, in the API's words."""

    name: str
    project: str
    metageneration: int
    properties: dict[str, Any]


class Object:
    """One version of an object."""

    def __init__(
        self,
        id: int,  # noqa: A002  (it is a column's name)
        bucket: str,
        name: str,
        generation: int,
        metageneration: int,
        live: int,
        size: int,
        file: str | None,
        text: str,
        private: str,
    ) -> None:
        self.id = id
        self.bucket = bucket
        self.name = name
        self.generation = generation
        self.metageneration = metageneration
        self.live = bool(live)
        self.size = size
        self.file = file
        # What its resource tells besides the columns, as JSON: a list passes it on without reading it.
        self.text = text
        self._private = private

    @functools.cached_property
    def properties(self) -> dict[str, Any]:
        """What its resource tells besides the columns, and what is not told."""
        return {**orjson.loads(self.text), **orjson.loads(self._private)}


@dataclass
class Upload:
    """An upload in several requests: what it is to become, and where its bytes are."""

    id: str
    bucket: str
    name: str
    created: float
    file: str | None
    state: dict[str, Any] = field(default_factory=dict)


class Tables:
    """Reads, and inside a change writes, over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Files that a change has made superfluous, if nothing else needs them.
        self.released: list[str] = []

    # Buckets

    def bucket(self, name: str) -> Bucket | None:
        """Return a bucket."""
        row = self._connection.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        return row and Bucket(row[0], row[1], row[2], orjson.loads(row[3]))

    def buckets(self, project: str, prefix: str, start: str, limit: int) -> list[Bucket]:
        """Return buckets of a project (of all, when it is empty) in the order of their names, after `start`."""
        rows = self._connection.execute(
            "SELECT * FROM buckets WHERE (project = ? OR ? = '') AND name > ? AND substr(name, 1, ?) = ? "
            "ORDER BY name LIMIT ?",
            (project, project, start, len(prefix), prefix, limit),
        )
        return [Bucket(name, owner, number, orjson.loads(text)) for name, owner, number, text in rows]

    def put_bucket(self, bucket: Bucket) -> None:
        """Add a bucket, or replace it."""
        values = (bucket.name, bucket.project, bucket.metageneration, _dumps(bucket.properties))
        self._connection.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?)", values)

    def delete_bucket(self, name: str) -> None:
        """Forget a bucket, and the uploads into it that continue."""
        for upload in self.uploads_into(name):
            self.delete_upload(upload.id)
        self._connection.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def is_empty(self, bucket: str) -> bool:
        """Whether a bucket has no object, of any version."""
        return not self._connection.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (bucket,)).fetchone()

    # Objects

    def live(self, bucket: str, name: str) -> Object | None:
        """Return the live version of an object."""
        return self._one(f"{SELECT} WHERE bucket = ? AND name = ? AND live", bucket, name)

    def version(self, bucket: str, name: str, generation: int) -> Object | None:
        """Return one version of an object, live or not."""
        return self._one(f"{SELECT} WHERE bucket = ? AND name = ? AND generation = ?", bucket, name, generation)

    def objects(self, bucket: str, start: str, end: str | None, limit: int, *, versions: bool) -> list[Object]:
        """Return objects from the name `start` up to `end` (exclusive), by name and generation."""
        condition = "bucket = ? AND name >= ?" + ("" if end is None else " AND name < ?")
        condition += "" if versions else " AND live"
        order = "name, generation" if versions else "name"
        values = (bucket, start) if end is None else (bucket, start, end)
        rows = self._connection.execute(f"{SELECT} WHERE {condition} ORDER BY {order} LIMIT ?", (*values, limit))
        return [Object(*row) for row in rows]

    def data(self, row: Object) -> bytes:
        """Return the content of an object that has no file. Raises FileNotFoundError when that version is gone."""
        # The number of a row that is deleted is given again: the generation is not.
        query = "SELECT data FROM objects WHERE id = ? AND generation = ?"
        found = self._connection.execute(query, (row.id, row.generation)).fetchone()
        if found is None:
            raise FileNotFoundError(row.name)
        return bytes(found[0] or b"")

    def forget(self) -> None:
        """Remember nothing of what was read."""

    def next_generation(self) -> int:
        """Return a generation: microseconds since 1970, but always a larger one than before."""
        now = time.time_ns() // 1000
        (last,) = self._connection.execute(
            "UPDATE generations SET last = max(last + 1, ?) RETURNING last", (now,)
        ).fetchone()
        return int(last)

    def add_object(self, bucket: str, name: str, content: Content, properties: Mapping[str, Any]) -> Object:
        """Add a live version; the one before must have been archived or deleted."""
        generation = self.next_generation()
        return self._insert(bucket, name, generation, content, properties)

    def take_over(
        self, bucket: str, name: str, generation: int, content: Content, properties: Mapping[str, Any]
    ) -> None:
        """Add a live version that has its generation already."""
        self._insert(bucket, name, generation, content, properties)
        self._connection.execute("UPDATE generations SET last = max(last, ?)", (generation,))

    def _insert(
        self, bucket: str, name: str, generation: int, content: Content, properties: Mapping[str, Any]
    ) -> Object:
        text, private = _texts(properties)
        cursor = self._connection.execute(
            "INSERT INTO objects "
            "(bucket, name, generation, metageneration, live, size, file, properties, private, data) "
            "VALUES (?, ?, ?, 1, 1, ?, ?, ?, ?, ?)",
            (bucket, name, generation, content.size, content.file, text, private, content.data),
        )
        made = int(cursor.lastrowid or 0)
        return Object(made, bucket, name, generation, 1, 1, content.size, content.file, text, private)

    def change_object(self, row: Object) -> None:
        """Write the metageneration, the liveness and the properties of a version."""
        self._connection.execute(
            "UPDATE objects SET metageneration = ?, live = ?, properties = ?, private = ? WHERE id = ?",
            (row.metageneration, int(row.live), *_texts(row.properties), row.id),
        )

    def delete_object(self, row: Object) -> None:
        """Forget a version."""
        self._connection.execute("DELETE FROM objects WHERE id = ?", (row.id,))
        if row.file is not None:
            self.released.append(row.file)

    # Uploads

    def upload(self, upload: str) -> Upload | None:
        """Return an upload that continues, or has ended not long ago."""
        row = self._connection.execute("SELECT * FROM uploads WHERE id = ?", (upload,)).fetchone()
        return row and _upload(row)

    def uploads_into(self, bucket: str) -> list[Upload]:
        """Return the uploads into a bucket."""
        rows = self._connection.execute("SELECT * FROM uploads WHERE bucket = ?", (bucket,))
        return [_upload(row) for row in rows.fetchall()]

    def uploads_before(self, moment: float) -> list[Upload]:
        """Return the uploads that were started before a moment."""
        rows = self._connection.execute("SELECT * FROM uploads WHERE created < ?", (moment,))
        return [_upload(row) for row in rows.fetchall()]

    def put_upload(self, upload: Upload) -> None:
        """Add an upload, or replace it."""
        values = (upload.id, upload.bucket, upload.name, upload.created, upload.file, _dumps(upload.state))
        self._connection.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)", values)

    def delete_upload(self, upload: str) -> None:
        """Forget an upload, its bytes and its parts."""
        rows = (
            self._connection.execute("DELETE FROM parts WHERE upload = ? RETURNING file", (upload,)).fetchall()
            + self._connection.execute("DELETE FROM uploads WHERE id = ? RETURNING file", (upload,)).fetchall()
        )
        self.released += [file for (file,) in rows if file is not None]

    def put_part(self, upload: str, number: int, content: Content) -> None:
        """Add a part, or replace it."""
        old = self._connection.execute(
            "SELECT file FROM parts WHERE upload = ? AND number = ? AND file IS NOT NULL", (upload, number)
        ).fetchall()
        self.released += [file for (file,) in old]
        values = (upload, number, content.size, content.md5, content.file, content.data)
        self._connection.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)", values)

    def parts(self, upload: str) -> list[tuple[int, int, str, str | None, bytes | None]]:
        """Return number, size, MD5, file and data of each part, in order."""
        return self._connection.execute(
            "SELECT number, size, md5, file, data FROM parts WHERE upload = ? ORDER BY number", (upload,)
        ).fetchall()

    # Files

    def unused(self, files: Iterable[str]) -> set[str]:
        """Return those of the files that nothing refers to."""
        wanted = ("objects", "uploads", "parts")
        return {
            file
            for file in set(files)
            if not any(
                self._connection.execute(f"SELECT 1 FROM {table} WHERE file = ? LIMIT 1", (file,)).fetchone()  # noqa: S608
                for table in wanted
            )
        }

    def _one(self, query: str, *values: Any) -> Object | None:
        row = self._connection.execute(query, values).fetchone()
        return row and Object(*row)


class RecentTables(Tables):
    """Tables for reading. A row that was read is remembered until something changes; nobody may change it.

    `changes` counts the changes so far. It is asked before a row is read: what is read while a change is made counts as
    read before it.
    """

    def __init__(self, connection: sqlite3.Connection, changes: Callable[[], int]) -> None:
        super().__init__(connection)
        self._changes = changes
        self._seen = changes()
        self._buckets = functools.lru_cache(REMEMBERED)(super().bucket)
        self._live = functools.lru_cache(REMEMBERED)(super().live)

    def bucket(self, name: str) -> Bucket | None:
        """Return a bucket."""
        self._forget_what_changed()
        return self._buckets(name)

    def live(self, bucket: str, name: str) -> Object | None:
        """Return the live version of an object."""
        self._forget_what_changed()
        return self._live(bucket, name)

    def forget(self) -> None:
        """Remember nothing of what was read."""
        self._buckets.cache_clear()
        self._live.cache_clear()

    def _forget_what_changed(self) -> None:
        changes = self._changes()
        if changes != self._seen:
            self._seen = changes
            self.forget()


def _dumps(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _texts(properties: Mapping[str, Any]) -> tuple[str, str]:
    told = {name: value for name, value in properties.items() if name not in PRIVATE}
    private = {name: value for name, value in properties.items() if name in PRIVATE}
    return _dumps(told), _dumps(private)


def _upload(row: tuple[Any, ...]) -> Upload:
    return Upload(row[0], row[1], row[2], row[3], row[4], orjson.loads(row[5]))
