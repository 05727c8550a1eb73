"""Uploads in one request, or in several: https://cloud.google.com/storage/docs/uploads-downloads.

A resumable upload keeps what has arrived, also of a request that was cut, and tells how much that is. An object comes
into being when all bytes are there, never before: https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from edge_tasks.emulator.storage import checksums, conditions, encryption, metadata
from edge_tasks.emulator.storage.buckets import find as find_bucket
from edge_tasks.emulator.storage.contents import PIECE, Content, Contents, write_all
from edge_tasks.emulator.storage.errors import StorageError, invalid, unimplemented
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.multipart import Parts
from edge_tasks.emulator.storage.names import check_object, quoted
from edge_tasks.emulator.storage.objects import find, keep, put, told
from edge_tasks.emulator.storage.request import Answer, Call, GoneError, json_object
from edge_tasks.emulator.storage.tables import Bucket, Object, Tables, Upload
from edge_tasks.emulator.time_limit import time_limit

# All requests of an upload but the last carry a multiple of this.
GRAIN = 256 * 1024
SECONDS_TO_LIVE = 7 * 24 * 3600
# So long a new request waits for what has come by the connection before; seconds.
PATIENCE = 1.0
# So many uploads that continue are kept open between their requests.
MOST_OPEN = 64
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)")


class Order(NamedTuple):
    """What an upload is to become."""

    bucket: str
    name: str
    body: dict[str, Any]
    demanded: conditions.Conditions
    acl: str | None
    key: str | None


class Uploads:
    """The methods of uploads."""

    def __init__(self, index: Index, contents: Contents) -> None:
        self._index = index
        self._contents = contents
        self._sessions: dict[str, _Session] = {}

    async def insert(self, call: Call) -> Answer:
        """POST /upload/storage/v1/b/BUCKET/o: a media or a multipart upload, or the begin of a resumable one."""
        if "upload_id" in call.query:
            # gcsfs sends the bytes of a resumable upload with POST.
            return await self.resume(call)
        kind = call.query.get("uploadType", "media")
        if kind == "media":
            return await self._media(call)
        if kind == "multipart":
            return await self._multipart(call)
        if kind == "resumable":
            return await self._resumable(call)
        raise invalid(f"Invalid upload type: {kind[:100]!r}")

    # In one request

    async def _media(self, call: Call) -> Answer:
        order = self._order(call, {})
        if call.headers.get("content-type"):
            order.body.setdefault("contentType", call.headers["content-type"])
        claimed = checksums.announced(call.headers)
        return told(*await self.store(order, call.body.pieces(), claimed), call)

    async def _multipart(self, call: Call) -> Answer:
        parts = Parts(call.body, call.headers.get("content-type", ""))
        body = json_object(await parts.first())
        order = self._order(call, body)
        kind = await parts.content_type()
        if kind:
            order.body.setdefault("contentType", kind)
        claimed = {**_claims(body), **checksums.announced(call.headers)}
        return told(*await self.store(order, parts.content(), claimed), call)

    async def store(
        self, order: Order, pieces: AsyncIterator[bytes], claimed: Mapping[str, str]
    ) -> tuple[Object, Bucket]:
        """Make an object of a content that comes in pieces."""
        # A request that cannot succeed is told so before the disk is written to.
        order.demanded.check(self._index.tables.live(order.bucket, order.name))
        draft = self._contents.draft()
        try:
            # The next bytes are received while the last ones are written.
            async for piece in ahead(pieces):
                if draft.size + len(piece) <= GRAIN:
                    draft.write(piece)
                else:
                    await self._contents.work(draft.write, piece)
            content = draft.finish() if draft.size <= GRAIN // 4 else await self._contents.work(draft.finish)
        finally:
            draft.discard()
        return await self._keep(order, content, claimed)

    async def _keep(self, order: Order, content: Content, claimed: Mapping[str, str]) -> tuple[Object, Bucket]:
        def work(tables: Tables) -> tuple[Object, Bucket]:
            checksums.check(claimed, content.md5, content.crc32c)
            bucket = find_bucket(tables, order.bucket)
            properties = metadata.new(order.body, bucket, content, acl=order.acl, key=order.key)
            return put(tables, bucket, order.name, content, properties, order.demanded), bucket

        return await keep(self._index, self._contents, content, work)

    def _order(self, call: Call, body: Mapping[str, Any]) -> Order:
        """Read what an upload is to become, and refuse what it cannot be."""
        bucket = find_bucket(self._index.tables, call.names[0])
        name = check_object(call.query.get("name") or body.get("name"))
        if "kmsKeyName" in call.query or body.get("kmsKeyName"):
            raise unimplemented("Encryption with keys of Cloud KMS (kmsKeyName)")
        given = {**body}
        if "contentEncoding" in call.query:
            given["contentEncoding"] = call.query["contentEncoding"]
        metadata.check(metadata.writable({key: value for key, value in given.items() if value is not None}), bucket)
        demanded = conditions.of_object(call.query, call.headers)
        return Order(
            bucket.name, name, given, demanded, call.query.get("predefinedAcl"), encryption.key_of(call.headers)
        )

    # In several requests

    async def _resumable(self, call: Call) -> Answer:
        body = json_object(await call.body.read())
        order = self._order(call, body)
        kind = call.headers.get("x-upload-content-type")
        if kind:
            order.body.setdefault("contentType", kind)
        return await self.begin(order, call, {**_claims(body), **checksums.announced(call.headers)})

    async def begin(self, order: Order, call: Call, claimed: Mapping[str, str]) -> Answer:
        """Begin a resumable upload, and tell its address."""
        order.demanded.check(self._index.tables.live(order.bucket, order.name))
        length = call.headers.get("x-upload-content-length", "")
        upload = Upload(uuid.uuid4().hex, order.bucket, order.name, time.time(), None)
        upload.state = {
            "order": [*order[:3], list(order.demanded), *order[4:]],
            "claimed": dict(claimed),
            "total": int(length) if length.isdigit() else None,
        }
        await self._index.change(lambda tables: tables.put_upload(upload))
        place = f"{call.base}/upload/storage/v1/b/{quoted(order.bucket)}/o"
        query = f"uploadType=resumable&name={quoted(order.name)}&upload_id={upload.id}"
        return Answer(headers={"location": f"{place}?{query}", "x-guploader-uploadid": upload.id})

    async def resume(self, call: Call) -> Answer:
        """PUT to the address of a resumable upload: bytes, or the question how many have arrived."""
        upload_id = call.query.get("upload_id", "")
        session = self._session(upload_id)
        async with session.turn():
            try:
                return await self._resume(call, session)
            except OSError:
                session.forget()
                raise
            finally:
                if session.ended:
                    self._sessions.pop(upload_id, None)

    async def cancel(self, call: Call) -> Answer:
        """DELETE the address of a resumable upload."""
        upload_id = call.query.get("upload_id", "")
        session = self._session(upload_id)
        async with session.turn():
            session.end()
            await self._index.change(lambda tables: tables.delete_upload(upload_id))
        self._sessions.pop(upload_id, None)
        return Answer(499)

    def _session(self, upload_id: str) -> _Session:
        upload = self._index.tables.upload(upload_id)
        if upload is None:
            raise StorageError(404, "notFound", "The resumable upload does not exist, or was cancelled.")
        if upload.created < time.time() - SECONDS_TO_LIVE:
            raise StorageError(410, "uploadExpired", "The resumable upload has expired: begin a new one.")
        for left in [known for known, session in self._sessions.items() if not session.busy][:-MOST_OPEN]:
            # Clients that never come back would keep files open; one that does finds what is in the file.
            self._sessions.pop(left).forget()
        return self._sessions.setdefault(upload_id, _Session(upload, self._contents))

    async def _resume(self, call: Call, session: _Session) -> Answer:
        upload = self._index.tables.upload(session.upload.id)
        if upload is None:
            raise StorageError(404, "notFound", "The resumable upload does not exist, or was cancelled.")
        if "made" in upload.state:
            session.end()
            return self._made(upload, call)
        first, last, total = _content_range(call.headers, session)
        total = session.check_total(total)
        held = await self._contents.work(session.open)
        if first is None:
            # A question, or the end of an upload whose length was not known.
            if total != held:
                return _so_far(held)
        else:
            await self._receive(call, session, first, last)
            held = session.size
            if total is None and last is None:
                # The request had all that was left, however much that was to be.
                total = session.check_total(held)
            if total is None or held < total:
                if last is not None and last + 1 == held and held % GRAIN:
                    await self._contents.work(session.cut_to_grain)
                    raise invalid(f"The bytes of a request that is not the last must be a multiple of {GRAIN}.")
                await self._contents.work(session.save)
                return _so_far(held)
        return await self._end(call, session)

    async def _receive(self, call: Call, session: _Session, first: int, last: int | None) -> None:
        """Take the bytes of one request; of a request that breaks off, those that came in whole grains."""
        if first > session.size:
            message = (
                f"Invalid request.  According to the Content-Range header, the upload offset is {first} byte(s), which "
                f"exceeds already uploaded size of {session.size} byte(s)."
            )
            raise StorageError(503, "backendError", message)
        if session.upload.file is None:
            await self._give_file(session)
        known = session.size - first
        limit = None if last is None else last + 1
        try:
            async for piece in ahead(call.body.pieces(), session.wait_for):
                fresh = piece[known:] if known > 0 else piece
                known = max(0, known - len(piece))
                if limit is not None and session.size + len(fresh) > limit:
                    raise invalid("The request has more bytes than its Content-Range says.")
                if fresh:
                    await self._contents.work(session.write, fresh)
        except (GoneError, StorageError):
            await self._contents.work(session.cut_to_grain)
            raise
        if limit is not None and session.size < limit:
            await self._contents.work(session.cut_to_grain)
            raise invalid("The request has fewer bytes than its Content-Range says.")

    async def _give_file(self, session: _Session) -> None:
        upload = session.upload
        file, descriptor = await self._contents.work(self._contents.create)
        os.close(descriptor)
        upload.file = file
        try:
            await self._index.change(lambda tables: tables.put_upload(upload))
        except BaseException:
            self._contents.remove([file])
            upload.file = None
            raise
        self._contents.settle(file)
        await self._contents.work(session.open)

    async def _end(self, call: Call, session: _Session) -> Answer:
        """All bytes are there: make the object."""
        upload = session.upload
        order = _order_of(upload)
        claimed = {**upload.state["claimed"], **checksums.announced(call.headers)}
        content = await self._contents.work(session.finish)

        def work(tables: Tables) -> tuple[Object, Bucket]:
            bucket = find_bucket(tables, order.bucket)
            properties = metadata.new(order.body, bucket, content, acl=order.acl, key=order.key)
            row = put(tables, bucket, order.name, content, properties, order.demanded)
            upload.file = None
            upload.state["made"] = row.generation
            tables.put_upload(upload)
            return row, bucket

        try:
            checksums.check(claimed, content.md5, content.crc32c)
            row, bucket = await self._index.change(work)
        except StorageError as error:
            if error.status in {400, 412}:
                # It can never succeed.
                session.end()
                await self._index.change(lambda tables: tables.delete_upload(upload.id))
            raise
        session.end()
        return told(row, bucket, call)

    def _made(self, upload: Upload, call: Call) -> Answer:
        """Tell again what an upload has made: the first answer may have been lost."""
        tables = self._index.tables
        bucket = find_bucket(tables, upload.bucket)
        return told(find(tables, bucket, upload.name, upload.state["made"]), bucket, call)

    async def tidy(self) -> None:
        """Forget the uploads that have expired."""
        limit = time.time() - SECONDS_TO_LIVE

        def work(tables: Tables) -> None:
            for upload in tables.uploads_before(limit):
                tables.delete_upload(upload.id)

        await self._index.change(work)


class _Session:
    """A resumable upload in memory: its open file, and the checksums of what has arrived.

    All of it can be made again from the file, after a restart or an error.
    """

    def __init__(self, upload: Upload, contents: Contents) -> None:
        self.upload = upload
        self._lock = asyncio.Lock()
        self.ended = False
        self._contents = contents
        self._descriptor: int | None = None
        self._sums = checksums.Checksums()
        self._coming: asyncio.Future[bytes] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._lock.locked()

    @property
    def size(self) -> int:
        """How many bytes have arrived."""
        return self._sums.size

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the request before has ended; its client has come back, so that it ends soon, or is ended."""
        try:
            async with time_limit(PATIENCE):
                await self._lock.acquire()
        except asyncio.TimeoutError:
            if self._coming is not None:
                # Nothing may ever come by the old connection, not even its end.
                self._coming.cancel()
            await self._lock.acquire()
        try:
            yield
        finally:
            self._coming = None
            self._lock.release()

    def wait_for(self, coming: asyncio.Future[bytes]) -> None:
        """Say what the present request waits for."""
        self._coming = coming

    def open(self) -> int:
        """Open the file, take in what an earlier process has left, and return how many bytes there are."""
        if self._descriptor is None and self.upload.file is not None:
            path = self._contents.path(self.upload.file)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            self._read_again()
            self.cut_to_grain()
        return self.size

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        assert self._descriptor is not None
        write_all(self._descriptor, data)
        self._sums.update(data)

    def save(self) -> None:
        """Bring the bytes to the disk."""
        if self._descriptor is not None and self.upload.file is not None:
            self._contents.sync(self.upload.file, self._descriptor)

    def cut_to_grain(self) -> None:
        """Keep whole grains only: what was not confirmed may be sent again."""
        size = self.size - self.size % GRAIN
        if self._descriptor is not None and size != self.size:
            os.ftruncate(self._descriptor, size)
            self._read_again()
        self.save()

    def check_total(self, total: int | None) -> int | None:
        """Return how long the whole is to be; one request must not contradict another."""
        known = self.upload.state["total"]
        if total is None:
            return None if known is None else int(known)
        if known is not None and known != total:
            raise invalid(f"The total size is {total} bytes in this request, and was {known} before.")
        self.upload.state["total"] = total
        return total

    def finish(self) -> Content:
        """Bring everything to the disk, and return the content."""
        if self.upload.file is None or self._descriptor is None:
            return Content(0, self._sums.md5, self._sums.crc32c, None, b"")
        self._contents.sync(self.upload.file, self._descriptor)
        return Content(self.size, self._sums.md5, self._sums.crc32c, self.upload.file, None)

    def forget(self) -> None:
        """Let the next request begin from what is in the file."""
        if self._descriptor is not None:
            # The disk may be full: cutting a file needs no room.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size - self.size % GRAIN)
            os.close(self._descriptor)
        self._descriptor = None
        self._sums = checksums.Checksums()

    def end(self) -> None:
        """Close the file for good."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self.ended = True

    def _read_again(self) -> None:
        assert self._descriptor is not None
        self._sums = checksums.Checksums()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while data := os.read(self._descriptor, PIECE):
            self._sums.update(data)


async def ahead(
    pieces: AsyncIterator[bytes], waiting: Callable[[asyncio.Future[bytes]], None] = lambda _: None
) -> AsyncIterator[bytes]:
    """Yield pieces, the next one being fetched while the last is worked on; GoneError when the fetching is cancelled.

    `waiting` is told what is waited for.
    """
    iterator = pieces.__aiter__()
    coming = asyncio.ensure_future(_next(iterator))
    try:
        while True:
            waiting(coming)
            try:
                piece = await coming
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                if coming.cancelled():
                    raise GoneError from None
                raise
            coming = asyncio.ensure_future(_next(iterator))
            yield piece
    finally:
        coming.cancel()
        with contextlib.suppress(BaseException):
            await coming


async def _next(iterator: AsyncIterator[bytes]) -> bytes:
    return await iterator.__anext__()


def _content_range(headers: Mapping[str, str], session: _Session) -> tuple[int | None, int | None, int | None]:
    """Return first byte, last byte and total of a request; no first byte is a question."""
    header = headers.get("content-range")
    length = headers.get("content-length", "")
    if header is None:
        # All of it, from the beginning.
        total = int(length) if length.isdigit() else None
        return 0, None if total is None else total - 1, total
    found = CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        raise invalid(f"Invalid Content-Range: {header[:100]!r}")
    first, last, total = (int(text) if (text or "").isdigit() else None for text in found.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        raise invalid(f"Invalid Content-Range: {header[:100]!r}")
    return first, last, total


def _so_far(held: int) -> Answer:
    headers: dict[str, str] = {"x-http-status-code-override": "308"}
    if held:
        headers["range"] = f"bytes=0-{held - 1}"
    return Answer(308, headers=headers)


def _order_of(upload: Upload) -> Order:
    bucket, name, body, demanded, acl, key = upload.state["order"]
    return Order(bucket, name, body, conditions.Conditions(*demanded), acl, key)


def _claims(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums that a client names in the metadata."""
    return {field: str(body[field]) for field in ("crc32c", "md5Hash") if body.get(field)}
