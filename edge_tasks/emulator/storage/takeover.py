"""The folder of fake-gcs-server, which versions before 0.2 used: its buckets and objects are taken over at the start.

An object was a file there, `storage/BUCKET/NAME`, with its metadata as JSON in the extended attribute `user.metadata`.
The new folder is made next to it, as a whole or not at all, and the old one is removed when the new one is there. The
files are linked where that is possible, so that it takes a moment and no room.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks.emulator.errors import StartError
from edge_tasks.emulator.storage import access, resources
from edge_tasks.emulator.storage.checksums import Checksums
from edge_tasks.emulator.storage.contents import INLINE_LIMIT, PIECE, Content, Contents
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.tables import Bucket, Tables

OLD = "storage"
ATTRIBUTE = "user.metadata"
SUFFIX = ".bucketMetadata"
# It had one project only, and called it so.
PROJECT = "test-project"
TEXTS = {
    "ContentType": "contentType",
    "ContentEncoding": "contentEncoding",
    "ContentDisposition": "contentDisposition",
    "ContentLanguage": "contentLanguage",
    "CacheControl": "cacheControl",
}


def take_over(data: Path, new: Path) -> None:
    """Bring what is in an old folder into a new one, if there is an old one; StartError when that is not possible."""
    old = data / OLD
    if not old.is_dir():
        return
    if not new.exists():
        if not hasattr(os, "getxattr"):
            raise StartError(
                f"{old} was written by a version before 0.2, and cannot be taken over on this system",
                f"move it away, and upload again what is needed: mv {old} {old}.before-0.2",
            )
        try:
            _make(old, new)
        except OSError as error:
            raise StartError(
                f"{old} was written by a version before 0.2, and cannot be taken over: {error}",
                f"make room and start again, or move it away: mv {old} {old}.before-0.2",
            ) from error
    shutil.rmtree(old)


def _make(old: Path, new: Path) -> None:
    unfinished = new.with_name(f"{new.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "contents").mkdir(parents=True)
    contents = Contents(unfinished / "contents")
    index = Index(unfinished / "index.sqlite3", contents)

    def work(tables: Tables) -> None:
        for folder in sorted(path for path in old.iterdir() if path.is_dir()):
            _take_bucket(folder, tables)
            for path in _files(folder):
                _take_object(path, folder, contents, tables)

    try:
        index.submit(work).result()
    finally:
        index.close()
        contents.close()
    unfinished.rename(new)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _take_bucket(folder: Path, tables: Tables) -> None:
    made = resources.moment(datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc))
    known: dict[str, Any] = {}
    settings = folder.with_name(folder.name + SUFFIX)
    if settings.is_file() and settings.stat().st_size:
        try:
            known = json.loads(settings.read_text())
        except ValueError:
            known = {}
    properties = {
        "location": "US-CENTRAL1",
        "locationType": "region",
        "storageClass": "STANDARD",
        "timeCreated": made,
        "updated": made,
        "iamConfiguration": {
            "publicAccessPrevention": "inherited",
            "uniformBucketLevelAccess": {"enabled": False},
            "bucketPolicyOnly": {"enabled": False},
        },
        "softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": made},
        "versioning": {"enabled": bool(known.get("VersioningEnabled"))},
        "acl": access.predefined("bucket", "projectPrivate", PROJECT, owner=False),
        "defaultObjectAcl": access.predefined("object", "projectPrivate", PROJECT, owner=False),
        "generation": str(tables.next_generation()),
    }
    tables.put_bucket(Bucket(folder.name, PROJECT, 1, properties))


def _take_object(path: Path, folder: Path, contents: Contents, tables: Tables) -> None:
    name = path.relative_to(folder).as_posix()
    try:
        known = json.loads(os.getxattr(path, ATTRIBUTE))
    except (OSError, ValueError):
        # A file that somebody has put there by hand is an object, too.
        known = {}
    content = _content(path, contents)
    status = path.stat()
    made = known.get("Created") or resources.moment(datetime.fromtimestamp(status.st_mtime, timezone.utc))
    properties = {
        "storageClass": known.get("StorageClass") or "STANDARD",
        "crc32c": content.crc32c,
        "md5Hash": content.md5,
        "timeCreated": made,
        "updated": known.get("Updated") or made,
        "timeStorageClassUpdated": made,
        "timeFinalized": made,
        **{field: known[old] for old, field in TEXTS.items() if known.get(old)},
        **({"metadata": known["Metadata"]} if known.get("Metadata") else {}),
        "acl": access.predefined("object", "projectPrivate", PROJECT),
    }
    if not str(known.get("CustomTime", "0001")).startswith("0001"):
        properties["customTime"] = known["CustomTime"]
    tables.take_over(folder.name, name, int(known.get("Generation") or status.st_mtime_ns // 1000), content, properties)


def _content(path: Path, contents: Contents) -> Content:
    sums = Checksums()
    size = path.stat().st_size
    with path.open("rb") as source:
        if size <= INLINE_LIMIT:
            data = source.read()
            sums.update(data)
            return Content(sums.size, sums.md5, sums.crc32c, None, data)
        while piece := source.read(PIECE):
            sums.update(piece)
    file, descriptor = contents.create()
    target = contents.path(file)
    target.unlink()
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    with target.open("rb") as written:
        contents.sync(file, written.fileno())
    os.close(descriptor)
    contents.settle(file)
    return Content(sums.size, sums.md5, sums.crc32c, file, None)
