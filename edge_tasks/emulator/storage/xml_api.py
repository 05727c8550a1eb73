"""The XML API as far as clients of the JSON API use it, too: https://cloud.google.com/storage/docs/xml-api/overview.

That is to list a bucket, to read, write and delete one object at `/BUCKET/OBJECT` (public and signed addresses lead
there; signatures are not checked), to begin a resumable upload, and multipart uploads, by which google-cloud-storage's
transfer manager sends the parts of a large file side by side.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from edge_tasks.emulator.storage import checksums, conditions, encryption, metadata
from edge_tasks.emulator.storage.buckets import find as find_bucket
from edge_tasks.emulator.storage.contents import Content, Contents, Source
from edge_tasks.emulator.storage.downloads import download, headers_of
from edge_tasks.emulator.storage.errors import (
    StorageError,
    invalid,
    no_bucket,
    required,
    unimplemented,
    wrong_parameter,
)
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.objects import Objects, keep, put
from edge_tasks.emulator.storage.request import Answer, Call, Streamed
from edge_tasks.emulator.storage.tables import Bucket, Object, Tables, Upload
from edge_tasks.emulator.storage.uploads import Order, Uploads, ahead
from edge_tasks.emulator.storage.xml_list import list_bucket

CODES = {
    "notFound": "NoSuchKey",
    "conditionNotMet": "PreconditionFailed",
    "notImplemented": "NotImplemented",
    "insufficientStorage": "InsufficientStorage",
    "requestedRangeNotSatisfiable": "InvalidRange",
    "forbidden": "AccessDenied",
}
TEXTS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
CANNED = {
    "authenticated-read",
    "bucket-owner-full-control",
    "bucket-owner-read",
    "private",
    "project-private",
    "public-read",
}
MOST_PARTS = 10_000
# What else of a bucket a GET may ask for.
OF_BUCKETS = frozenset(
    {"acl", "billing", "compose", "cors", "defaultObjectAcl", "encryption", "encryptionConfig", "lifecycle", "location"}
    | {"logging", "policy", "storageClass", "tagging", "uploads", "versioning", "versions", "websiteConfig"}
)


class XmlApi:
    """The methods of `/BUCKET/OBJECT`; `call.names` are the two."""

    def __init__(self, index: Index, contents: Contents, objects: Objects, uploads: Uploads) -> None:
        self._index = index
        self._contents = contents
        self._objects = objects
        self._uploads = uploads

    async def answer(self, call: Call) -> Answer | Streamed:
        """Answer a request; errors are told in XML."""
        try:
            return await self._answer(call)
        except StorageError as error:
            if error.status == 304:
                return Answer(304)
            code = CODES.get(error.reason, "InvalidArgument")
            if error.reason == "notFound" and error.message == no_bucket().message:
                code = "NoSuchBucket"
            return _xml("Error", {"Code": code, "Message": error.message}, error.status)

    async def _answer(self, call: Call) -> Answer | Streamed:
        if not call.names[1]:
            if call.method != "GET" or OF_BUCKETS & set(call.query):
                raise unimplemented(f"{call.method} of a bucket, with this query, in the XML API")
            return list_bucket(self._index.tables, call)
        if call.method == "POST":
            if "uploads" in call.query:
                return await self._begin(call)
            if "uploadId" in call.query:
                return await self._complete(call)
            if call.headers.get("x-goog-resumable") == "start":
                return await self._begin_resumable(call)
        elif call.method == "PUT":
            if "partNumber" in call.query:
                return await self._put_part(call)
            if "upload_id" in call.query:
                return await self._uploads.resume(call)
            if call.headers.get("x-goog-resumable") == "start":
                return await self._begin_resumable(call)
            if "x-goog-copy-source" not in call.headers:
                return await self._put(call)
        elif call.method == "DELETE":
            if "uploadId" in call.query:
                return await self._abort(call)
            return await self._objects.delete(self._translated(call))
        elif call.method in {"GET", "HEAD"} and not {"acl", "uploadId", "uploads"} & set(call.query):
            generation = conditions.number(call.query, "generation")
            demanded = _demanded_headers(call.query)
            answer = download(self._objects, call, _conditions(call.headers), generation)
            answer.headers.update(demanded)
            return answer
        raise unimplemented(f"{call.method} with this query, or these headers, of the XML API")

    async def _put(self, call: Call) -> Answer:
        claimed = checksums.announced(call.headers)
        row, _ = await self._uploads.store(self._order(call), call.body.pieces(), claimed)
        headers = headers_of(row)
        kept = ("etag", "x-goog-generation", "x-goog-metageneration", "x-goog-hash", "x-goog-stored-content-length")
        return Answer(headers={name: headers[name] for name in kept})

    async def _begin_resumable(self, call: Call) -> Answer:
        order = self._order(call)
        answer = await self._uploads.begin(order, call, checksums.announced(call.headers))
        answer.status = 201
        return answer

    def _translated(self, call: Call) -> Call:
        """Return a call whose preconditions stand where the JSON API has them."""
        query = dict(call.query)
        for header, parameter in (
            ("x-goog-if-generation-match", "ifGenerationMatch"),
            ("x-goog-if-metageneration-match", "ifMetagenerationMatch"),
        ):
            if header in call.headers:
                query[parameter] = call.headers[header]
        return Call(call.method, call.parts, query, call.headers, call.body, call.names)

    def _order(self, call: Call) -> Order:
        bucket = find_bucket(self._index.tables, call.names[0])
        body: dict[str, Any] = {field: call.headers[name] for name, field in TEXTS.items() if name in call.headers}
        custom = {name[12:]: text for name, text in call.headers.items() if name.startswith("x-goog-meta-")}
        if custom:
            body["metadata"] = custom
        if "x-goog-encryption-kms-key-name" in call.headers:
            raise unimplemented("Encryption with keys of Cloud KMS (x-goog-encryption-kms-key-name)")
        acl = call.headers.get("x-goog-acl")
        if acl is not None:
            if acl not in CANNED:
                raise invalid(f"Invalid canned ACL: {acl[:100]!r}")
            first, *rest = acl.split("-")
            acl = first + "".join(word.title() for word in rest)
        metadata.check(metadata.writable(body), bucket)
        key = encryption.key_of(call.headers)
        return Order(bucket.name, call.names[1], body, _conditions(call.headers), acl, key)

    # Multipart uploads: https://cloud.google.com/storage/docs/multipart-uploads

    async def _begin(self, call: Call) -> Answer:
        order = self._order(call)
        upload = Upload(uuid.uuid4().hex, order.bucket, order.name, time.time(), None)
        upload.state = {"parts": True, "order": [*order[:3], list(order.demanded), *order[4:]]}
        await self._index.change(lambda tables: tables.put_upload(upload))
        fields = {"Bucket": order.bucket, "Key": order.name, "UploadId": upload.id}
        return _xml("InitiateMultipartUploadResult", fields)

    def _upload(self, tables: Tables, call: Call) -> Upload:
        upload = tables.upload(call.query["uploadId"])
        if upload is None or "parts" not in upload.state or (upload.bucket, upload.name) != call.names:
            raise StorageError(404, "notFound", "The specified multipart upload does not exist.")
        return upload

    async def _put_part(self, call: Call) -> Answer:
        number = conditions.number(call.query, "partNumber") or 0
        if not 1 <= number <= MOST_PARTS or "uploadId" not in call.query:
            raise invalid(f"A part needs an uploadId and a partNumber from 1 to {MOST_PARTS}.")
        upload = self._upload(self._index.tables, call)
        claimed = checksums.announced(call.headers)
        draft = self._contents.draft()
        try:
            async for piece in ahead(call.body.pieces()):
                await self._contents.work(draft.write, piece)
            content = await self._contents.work(draft.finish)
        finally:
            draft.discard()

        def work(tables: Tables) -> None:
            checksums.check(claimed, content.md5, content.crc32c)
            self._upload(tables, call)
            tables.put_part(upload.id, number, content)

        await keep(self._index, self._contents, content, work)
        return Answer(headers={"etag": f'"{content.md5}"', "x-goog-hash": f"crc32c={content.crc32c},md5={content.md5}"})

    async def _complete(self, call: Call) -> Answer:
        named = _named_parts(await call.body.read())
        upload = self._upload(self._index.tables, call)
        known = {part[0]: part for part in self._index.tables.parts(upload.id)}
        if any(number not in known or tag.strip('"') != known[number][2] for number, tag in named):
            raise invalid("One or more of the specified parts could not be found, or has another ETag.")
        sources = [Source(self._contents, size, file, data) for _, size, _, file, data in (known[n] for n, _ in named)]

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

        bucket_name, name, body, demanded, acl, key = upload.state["order"]
        content = await self._contents.work(write)

        def work(tables: Tables) -> tuple[Object, Bucket]:
            self._upload(tables, call)
            bucket = find_bucket(tables, bucket_name)
            properties = metadata.new(body, bucket, content, acl=acl, key=key)
            row = put(tables, bucket, name, content, properties, conditions.Conditions(*demanded))
            tables.delete_upload(upload.id)
            return row, bucket

        row, bucket = await keep(self._index, self._contents, content, work)
        fields = {
            "Location": f"{call.base}/{bucket.name}/{row.name}",
            "Bucket": bucket.name,
            "Key": row.name,
            "ETag": conditions.etag(row),
        }
        answer = _xml("CompleteMultipartUploadResult", fields)
        answer.headers |= {"x-goog-generation": str(row.generation), "x-goog-hash": f"crc32c={content.crc32c}"}
        return answer

    async def _abort(self, call: Call) -> Answer:
        def work(tables: Tables) -> None:
            tables.delete_upload(self._upload(tables, call).id)

        await self._index.change(work)
        return Answer(204)


def _conditions(headers: Mapping[str, str]) -> conditions.Conditions:
    return conditions.Conditions(
        generation=conditions.number(headers, "x-goog-if-generation-match"),
        metageneration=conditions.number(headers, "x-goog-if-metageneration-match"),
        etags=headers.get("if-match"),
        not_etags=headers.get("if-none-match"),
    )


def _demanded_headers(query: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the address demands instead of the object's own, as those of signed URLs do."""
    demanded = {}
    for header in ("content-disposition", "content-type"):
        value = query.get(f"response-{header}", "")
        if not value.isprintable():
            raise wrong_parameter(f"response-{header}", value)
        if value:
            demanded[header] = value
    return demanded


def _named_parts(body: bytes) -> list[tuple[int, str]]:
    """Read which parts make the object."""
    if b"<!DOCTYPE" in body:
        raise invalid("The body must not have a DOCTYPE.")
    try:
        parts = [part for part in ET.fromstring(body) if _local(part.tag) == "Part"]  # noqa: S314
        named = [{_local(field.tag): field.text or "" for field in part} for part in parts]
        found = [(int(part["PartNumber"]), part["ETag"]) for part in named]
    except (ET.ParseError, KeyError, ValueError):
        raise invalid(
            "The XML you provided was not well-formed or did not validate against our published schema."
        ) from None
    if not found:
        raise required("You must specify at least one part.")
    if [number for number, _ in found] != sorted({number for number, _ in found}):
        raise invalid("The parts must be in ascending order.")
    return found


def _local(tag: str) -> str:
    return re.sub(r"^\{.*\}", "", tag)


def _xml(root: str, fields: Mapping[str, str], status: int = 200) -> Answer:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    space = "" if root == "Error" else ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    body = f'<?xml version="1.0" encoding="UTF-8"?><{root}{space}>{inner}</{root}>'
    return Answer(status, body=body.encode(), headers={"content-type": "application/xml; charset=UTF-8"})
