"""The content of an object, or a range of it: https://cloud.google.com/storage/docs/json_api/v1/objects/get.

An object that is stored with the content encoding gzip comes unzipped to a client that does not say that it takes gzip:
https://cloud.google.com/storage/docs/transcoding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import quote

from edge_tasks.emulator.storage import conditions, encryption, resources
from edge_tasks.emulator.storage.buckets import find as find_bucket
from edge_tasks.emulator.storage.errors import StorageError
from edge_tasks.emulator.storage.objects import Objects, find
from edge_tasks.emulator.storage.request import Answer, Call, Streamed
from edge_tasks.emulator.storage.tables import Object

# The headers of so many versions are made once; a row that changes is another row.
REMEMBERED = 1024
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def download(
    objects: Objects, call: Call, demanded: conditions.Conditions, generation: int | None
) -> Answer | Streamed:
    """Answer with the content of an object."""
    tables = objects.tables
    bucket = find_bucket(tables, call.names[0])
    row = find(tables, bucket, call.names[1], generation)
    while True:
        demanded.check(row, reading=True)
        encryption.check(row, encryption.key_of(call.headers))
        try:
            source = objects.open(row)
            break
        except FileNotFoundError:
            # It was replaced, and its content removed, since it was found.
            tables.forget()
            now = find(tables, bucket, call.names[1], generation)
            if now.generation == row.generation:
                raise StorageError(500, "internalError", "The content is missing from the data folder.") from None
            row = now
    headers = headers_of(row)
    if _is_unzipped(row, call):
        del headers["content-encoding"]
        headers |= {"warning": "214 UploadServer gunzipped", "vary": "Accept-Encoding"}
        headers["x-guploader-response-body-transformations"] = "gunzipped"
        return Streamed(source, 0, row.size, 200, headers, unzipped=True)
    try:
        wanted = _range(call.headers.get("range"), row.size)
    except StorageError:
        source.close()
        raise
    start, end = wanted or (0, row.size)
    headers["accept-ranges"] = "bytes"
    headers["content-length"] = str(end - start)
    if wanted is None:
        return Streamed(source, 0, row.size, 200, headers)
    headers["content-range"] = f"bytes {start}-{end - 1}/{row.size}"
    return Streamed(source, start, end, 206, headers)


def headers_of(row: Object) -> dict[str, str]:
    """Return the headers that tell about an object next to its content."""
    return dict(_headers(row))


@lru_cache(maxsize=REMEMBERED)
def _headers(row: Object) -> Mapping[str, str]:
    known = row.properties
    sums = [f"crc32c={known['crc32c']}", *([f"md5={known['md5Hash']}"] if "md5Hash" in known else [])]
    headers = {
        "content-type": known.get("contentType") or "application/octet-stream",
        "etag": conditions.etag(row),
        "last-modified": _http_date(known["updated"][:19]),
        "cache-control": known.get("cacheControl") or "no-cache, no-store, max-age=0, must-revalidate",
        "x-goog-generation": str(row.generation),
        "x-goog-metageneration": str(row.metageneration),
        "x-goog-stored-content-encoding": known.get("contentEncoding") or "identity",
        "x-goog-stored-content-length": str(row.size),
        "x-goog-storage-class": known["storageClass"],
        "x-goog-hash": ",".join(sums),
    }
    for header, field in (
        ("content-encoding", "contentEncoding"),
        ("content-disposition", "contentDisposition"),
        ("content-language", "contentLanguage"),
        ("x-goog-custom-time", "customTime"),
    ):
        if known.get(field):
            headers[header] = known[field]
    if "componentCount" in known:
        headers["x-goog-component-count"] = str(known["componentCount"])
    if "customerEncryption" in known:
        headers["x-goog-encryption-algorithm"] = "AES256"
        headers["x-goog-encryption-key-sha256"] = known["customerEncryption"]["keySha256"]
    for name, value in (known.get("metadata") or {}).items():
        # A header holds less than a JSON text; the names are people's own.
        if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            headers[f"x-goog-meta-{name.lower()}"] = quote(value, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return headers


@lru_cache(maxsize=REMEMBERED)
def _http_date(second: str) -> str:
    moment = resources.read_moment(f"{second}Z") or datetime.now(timezone.utc)
    return format_datetime(moment, usegmt=True)


def _is_unzipped(row: Object, call: Call) -> bool:
    if row.properties.get("contentEncoding") != "gzip" or "no-transform" in row.properties.get("cacheControl", ""):
        return False
    return "gzip" not in call.headers.get("accept-encoding", "")


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the wanted bytes, from and up to (exclusive); None is all, as for a header that wants several parts."""
    found = RANGE.fullmatch((header or "").strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size:
        raise StorageError(
            416, "requestedRangeNotSatisfiable", "Request range not satisfiable", location=("header", "Range")
        )
    return start, end
