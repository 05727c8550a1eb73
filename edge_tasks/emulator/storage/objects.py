"""Objects and their versions: https://cloud.google.com/storage/docs/json_api/v1/objects."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edge_tasks.emulator.storage import access, conditions, encryption, metadata, resources
from edge_tasks.emulator.storage.buckets import find as find_bucket
from edge_tasks.emulator.storage.conditions import Conditions
from edge_tasks.emulator.storage.contents import Content, Contents, Source
from edge_tasks.emulator.storage.errors import (
    StorageError,
    invalid,
    no_object,
    required,
    unimplemented,
    wrong_parameter,
)
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.names import check_object
from edge_tasks.emulator.storage.request import Answer, Call, flag
from edge_tasks.emulator.storage.tables import Bucket, Object, Tables

MOST_SOURCES = 32
MIB = 1 << 20
T = TypeVar("T")
# A rewrite into another location or storage class moves the bytes; so many of them in one call.
BYTES_OF_A_REWRITE = 1 << 30


class Objects:
    """The methods of objects, but for uploads, downloads and lists."""

    def __init__(self, index: Index, contents: Contents) -> None:
        self._index = index
        self._contents = contents

    @property
    def tables(self) -> Tables:
        """The index, for reading."""
        return self._index.tables

    async def get(self, call: Call) -> Answer:
        """GET /b/BUCKET/o/OBJECT: the resource."""
        tables = self._index.tables
        bucket = find_bucket(tables, call.names[0])
        row = find(tables, bucket, call.names[1], conditions.number(call.query, "generation"))
        conditions.of_object(call.query, call.headers).check(row, reading=True)
        answer = told(row, bucket, call)
        key = encryption.key_of(call.headers)
        if key is not None:
            encryption.check(row, key)
        elif encryption.of(row) is not None:
            # A client without the key learns nothing of the content.
            for name in ("crc32c", "md5Hash"):
                answer.value.pop(name, None)
        return answer

    async def patch(self, call: Call) -> Answer:
        """PATCH /b/BUCKET/o/OBJECT: what is named is changed, what is null goes."""
        return await self._change(call, await call.json(), merging=True)

    async def update(self, call: Call) -> Answer:
        """PUT /b/BUCKET/o/OBJECT: what is not named goes."""
        return await self._change(call, await call.json(), merging=False)

    async def _change(self, call: Call, body: Mapping[str, Any], *, merging: bool) -> Answer:
        acl = call.query.get("predefinedAcl")
        override = flag(call.query, "overrideUnlockedRetention")

        def work(bucket: Bucket, row: Object) -> dict[str, Any]:
            return metadata.changed(row, body, bucket, acl=acl, merging=merging, override=override)

        return told(*await self._changed(call, work), call)

    async def _changed(self, call: Call, work: Callable[[Bucket, Object], dict[str, Any]]) -> tuple[Object, Bucket]:
        """Give a version other properties, and the next metageneration."""
        demanded = conditions.of_object(call.query, call.headers)
        generation = conditions.number(call.query, "generation")
        bucket_name, name = call.names[:2]

        def change(tables: Tables) -> tuple[Object, Bucket]:
            bucket = find_bucket(tables, bucket_name)
            row = find(tables, bucket, name, generation)
            demanded.check(row)
            row.properties = work(bucket, row)
            row.metageneration += 1
            tables.change_object(row)
            return row, bucket

        return await self._index.change(change)

    async def delete(self, call: Call) -> Answer:
        """DELETE /b/BUCKET/o/OBJECT: the live version, which versioning keeps, or one version for good."""
        demanded = conditions.of_object(call.query, call.headers)
        generation = conditions.number(call.query, "generation")
        bucket_name, name = call.names

        def work(tables: Tables) -> None:
            bucket = find_bucket(tables, bucket_name)
            row = find(tables, bucket, name, generation)
            demanded.check(row)
            if generation is None:
                displace(tables, bucket, row)
            else:
                metadata.check_removable(row, bucket)
                tables.delete_object(row)

        await self._index.change(work)
        return Answer(204)

    async def copy(self, call: Call) -> Answer:
        """POST /b/BUCKET/o/OBJECT/copyTo/b/BUCKET/o/OBJECT."""
        row, bucket = await self._copied(call, await call.json())
        return told(row, bucket, call)

    async def rewrite(self, call: Call) -> Answer:
        """POST /b/BUCKET/o/OBJECT/rewriteTo/b/BUCKET/o/OBJECT: as a copy, a large one in several calls."""
        body = await call.json()
        step = conditions.number(call.query, "maxBytesRewrittenPerCall")
        if step is not None and (step == 0 or step % MIB):
            raise wrong_parameter("maxBytesRewrittenPerCall", step)
        tables = self._index.tables
        bucket = find_bucket(tables, call.names[0])
        target = find_bucket(tables, call.names[2])
        source = find(tables, bucket, call.names[1], conditions.number(call.query, "sourceGeneration"))
        wanted = [*call.names, str(source.generation)]
        written = _progress(call.query.get("rewriteToken"), wanted)
        goes_elsewhere = (
            bucket.properties["location"] != target.properties["location"]
            or (body.get("storageClass") or target.properties["storageClass"]) != source.properties["storageClass"]
        )
        written = min(source.size, written + (step or BYTES_OF_A_REWRITE)) if goes_elsewhere else source.size
        answer: dict[str, Any] = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(written),
            "objectSize": str(source.size),
            "done": written == source.size,
        }
        if written < source.size:
            conditions.of_object(call.query, source=True).check(source)
            conditions.of_object(call.query).check(tables.live(target.name, call.names[3]))
            encryption.check(source, encryption.key_of(call.headers, encryption.SOURCE_HEADERS))
            token = base64.urlsafe_b64encode(json.dumps([*wanted, written]).encode()).decode()
            return Answer(value=answer | {"rewriteToken": token})
        row, target = await self._copied(call, body)
        full = resources.wants_all(call.query)
        return Answer(value=answer | {"resource": resources.object_resource(row, target, call.base, full=full)})

    async def _copied(self, call: Call, body: Mapping[str, Any]) -> tuple[Object, Bucket]:
        source_bucket, source_name, target_bucket, target_name = call.names
        check_object(target_name)
        demanded = conditions.of_object(call.query)
        of_source = conditions.of_object(call.query, source=True)
        generation = conditions.number(call.query, "sourceGeneration")
        acl = call.query.get("destinationPredefinedAcl")
        key = encryption.key_of(call.headers)
        source_key = encryption.key_of(call.headers, encryption.SOURCE_HEADERS)
        if "destinationKmsKeyName" in call.query:
            raise unimplemented("Encryption with keys of Cloud KMS (destinationKmsKeyName)")

        def work(tables: Tables) -> tuple[Object, Bucket]:
            bucket = find_bucket(tables, target_bucket)
            source = find(tables, find_bucket(tables, source_bucket), source_name, generation)
            of_source.check(source)
            encryption.check(source, source_key)
            given = _metadata_of_copy(source, body)
            content = _shared(tables, source)
            parts = source.properties.get("componentCount")
            properties = metadata.new(given, bucket, content, acl=acl, key=key, parts=parts)
            return put(tables, bucket, target_name, content, properties, demanded), bucket

        return await self._index.change(work)

    async def move(self, call: Call) -> Answer:
        """POST /b/BUCKET/o/OBJECT/moveTo/o/OBJECT: another name within the bucket, in one step."""
        bucket_name, source_name, target_name = call.names
        check_object(target_name)
        if source_name == target_name:
            raise invalid("Source and destination object names must be different.")
        demanded = conditions.of_object(call.query)
        of_source = conditions.of_object(call.query, source=True)

        def work(tables: Tables) -> tuple[Object, Bucket]:
            bucket = find_bucket(tables, bucket_name)
            source = find(tables, bucket, source_name, None)
            of_source.check(source)
            metadata.check_removable(source, bucket)
            properties = {**source.properties, "updated": resources.now()}
            content = _shared(tables, source)
            moved = put(tables, bucket, target_name, content, properties, demanded)
            displace(tables, bucket, source)
            return moved, bucket

        return told(*await self._index.change(work), call)

    async def compose(self, call: Call) -> Answer:
        """POST /b/BUCKET/o/OBJECT/compose: one object of the contents of up to 32."""
        body = await call.json()
        bucket_name, name = call.names
        check_object(name)
        demanded = conditions.of_object(call.query)
        acl = call.query.get("destinationPredefinedAcl")
        key = encryption.key_of(call.headers)
        tables = self._index.tables
        bucket = find_bucket(tables, bucket_name)
        rows, sources = self._open_sources(bucket, body.get("sourceObjects"), key)
        given = dict(body.get("destination") or {})
        given.setdefault("storageClass", rows[0].properties["storageClass"])
        parts = sum(int(row.properties.get("componentCount", 1)) for row in rows)
        delete_sources = bool(body.get("deleteSourceObjects"))

        def write() -> Content:
            draft = self._contents.draft()
            try:
                for source in sources:
                    for piece in source.pieces():
                        draft.write(piece)
                return draft.finish(has_md5=False)
            finally:
                draft.discard()
                for source in sources:
                    source.close()

        def work(tables: Tables) -> tuple[Object, Bucket]:
            bucket = find_bucket(tables, bucket_name)
            properties = metadata.new(given, bucket, content, acl=acl, key=key, parts=parts)
            made = put(tables, bucket, name, content, properties, demanded)
            for row in rows if delete_sources else []:
                left = tables.version(row.bucket, row.name, row.generation)
                if left is not None and left.id != made.id:
                    metadata.check_removable(left, bucket)
                    tables.delete_object(left)
            return made, bucket

        content = await self._contents.work(write)
        return told(*await keep(self._index, self._contents, content, work), call)

    def _open_sources(self, bucket: Bucket, wanted: Any, key: str | None) -> tuple[list[Object], list[Source]]:
        """Find and open what is composed; one that is replaced meanwhile is found again."""
        while True:
            rows = _sources(self._index.tables, bucket, wanted)
            for row in rows:
                encryption.check(row, key)
            sources: list[Source] = []
            try:
                for row in rows:
                    sources.append(self.open(row))  # noqa: PERF401  (what is open when one fails is closed)
            except FileNotFoundError:
                for source in sources:
                    source.close()
                self._index.tables.forget()
            else:
                return rows, sources

    def open(self, row: Object) -> Source:
        """Open the content of a version. Raises FileNotFoundError when it is gone."""
        data = None if row.file is not None else self._index.tables.data(row)
        return Source(self._contents, row.size, row.file, data)

    # Access control lists

    async def list_acl(self, call: Call) -> Answer:
        """GET /b/BUCKET/o/OBJECT/acl."""
        return Answer(value={"kind": "storage#objectAccessControls", "items": self._entries(call)})

    async def get_acl(self, call: Call) -> Answer:
        """GET /b/BUCKET/o/OBJECT/acl/ENTITY."""
        return Answer(value=_entry(self._entries(call), call.names[2]))

    async def put_acl(self, call: Call) -> Answer:
        """POST /b/BUCKET/o/OBJECT/acl, PUT and PATCH /b/BUCKET/o/OBJECT/acl/ENTITY: grant somebody a role."""
        entry = await call.json()
        if len(call.names) > 2:
            entry["entity"] = call.names[2]

        def work(bucket: Bucket, row: Object) -> dict[str, Any]:
            access.check_lists_count(bucket, "object")
            access.check_public(bucket, [str(entry.get("entity"))])
            return row.properties | {"acl": access.replaced(row.properties.get("acl", []), "object", entry)}

        row, bucket = await self._changed(call, work)
        return Answer(value=_entry(resources.object_acl(row, bucket), entry["entity"]))

    async def delete_acl(self, call: Call) -> Answer:
        """DELETE /b/BUCKET/o/OBJECT/acl/ENTITY."""
        entity = call.names[2]

        def work(bucket: Bucket, row: Object) -> dict[str, Any]:
            access.check_lists_count(bucket, "object")
            entries = row.properties.get("acl", [])
            _entry(entries, entity)
            return row.properties | {"acl": [entry for entry in entries if entry["entity"] != entity]}

        await self._changed(call, work)
        return Answer(204)

    def _entries(self, call: Call) -> list[dict[str, Any]]:
        tables = self._index.tables
        bucket = find_bucket(tables, call.names[0])
        row = find(tables, bucket, call.names[1], conditions.number(call.query, "generation"))
        access.check_lists_count(bucket, "object")
        return resources.object_acl(row, bucket)


def find(tables: Tables, bucket: Bucket, name: str, generation: int | None) -> Object:
    """Return the live version of an object, or the asked one; one that does not exist is an error."""
    row = tables.live(bucket.name, name) if generation is None else tables.version(bucket.name, name, generation)
    if row is None:
        raise no_object(bucket.name, name if generation is None else f"{name}#{generation}")
    return row


def told(row: Object, bucket: Bucket, call: Call) -> Answer:
    """Return the answer that tells an object's resource."""
    full = resources.wants_all(call.query)
    return Answer(value=resources.object_resource(row, bucket, call.base, full=full))


def put(
    tables: Tables, bucket: Bucket, name: str, content: Content, properties: Mapping[str, Any], demanded: Conditions
) -> Object:
    """Make a content the live version of an object, if the one before may go."""
    there = tables.live(bucket.name, name)
    demanded.check(there)
    if there is not None:
        displace(tables, bucket, there)
    return tables.add_object(bucket.name, name, content, properties)


def displace(tables: Tables, bucket: Bucket, row: Object) -> None:
    """Let the live version go: a bucket with versioning keeps it."""
    if not bucket.properties.get("versioning", {}).get("enabled"):
        metadata.check_removable(row, bucket)
        tables.delete_object(row)
        return
    if row.properties.get("temporaryHold") or row.properties.get("eventBasedHold"):
        metadata.check_removable(row, bucket)
    row.live = False
    row.properties["timeDeleted"] = resources.now()
    tables.change_object(row)


async def keep(index: Index, contents: Contents, content: Content, work: Callable[[Tables], T]) -> T:
    """Make a change with a new content; if it is refused, nothing is left of the content."""
    try:
        made = await index.change(work)
    except BaseException:
        if content.file is not None:
            # A change that was handed in may still be made, when only nobody waits for it any more.
            unused = await asyncio.shield(index.change(lambda tables: tables.unused([str(content.file)])))
            contents.remove(unused)
        raise
    if content.file is not None:
        contents.settle(content.file)
    return made


def _shared(tables: Tables, source: Object) -> Content:
    """Return the content of an object for another one: they share a file, which never changes."""
    data = tables.data(source) if source.file is None else None
    properties = source.properties
    return Content(source.size, properties.get("md5Hash"), properties["crc32c"], source.file, data)


def _metadata_of_copy(source: Object, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a copy: those of the request, or if there are none, those of the source."""
    given = {name: value for name, value in body.items() if name in {*metadata.WRITABLE, "acl", "storageClass"}}
    if set(given) <= {"storageClass"}:
        # Holds and retention belong to the source alone.
        kept = {*metadata.TEXTS, "contexts", "customTime", "metadata"}
        return given | {name: value for name, value in source.properties.items() if name in kept}
    return {"contentType": source.properties.get("contentType"), **given}


def _progress(token: str | None, wanted: list[str]) -> int:
    """Return how many bytes the calls before have rewritten."""
    if token is None:
        return 0
    try:
        *told_before, written = json.loads(base64.urlsafe_b64decode(token))
        if told_before == wanted:
            return int(written)
    except (ValueError, TypeError):
        pass
    raise StorageError(400, "invalid", "The rewrite token is not valid for this request.")


def _sources(tables: Tables, bucket: Bucket, entries: object) -> list[Object]:
    if not isinstance(entries, list) or not entries:
        raise required("You must provide at least one source component.")
    if len(entries) > MOST_SOURCES:
        raise invalid(f"The number of source components provided ({len(entries)}) exceeds the maximum ({MOST_SOURCES})")
    rows = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise required("Each source component must have a name.")
        generation = str(entry.get("generation", ""))
        row = find(tables, bucket, entry["name"], int(generation) if generation.isdigit() else None)
        demanded = str((entry.get("objectPreconditions") or {}).get("ifGenerationMatch", ""))
        Conditions(generation=int(demanded) if demanded.isdigit() else None).check(row)
        rows.append(row)
    return rows


def _entry(entries: list[dict[str, Any]], entity: str) -> dict[str, Any]:
    for entry in entries:
        if entry["entity"] == entity:
            return entry
    raise StorageError(404, "notFound", f"The specified entity does not exist: {entity[:100]}")
