"""The list of a bucket in XML, which signed addresses ask for: https://cloud.google.com/storage/docs/xml-api/get-bucket-list."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote
from xml.sax.saxutils import escape

from edge_tasks.emulator.storage import conditions
from edge_tasks.emulator.storage.buckets import find
from edge_tasks.emulator.storage.listing import LARGEST_PAGE, Page, Place, Wanted, read_page
from edge_tasks.emulator.storage.names import after_all_with
from edge_tasks.emulator.storage.request import Answer, Call
from edge_tasks.emulator.storage.tables import Object, Tables


def list_bucket(tables: Tables, call: Call) -> Answer:
    """GET /BUCKET: both versions of the list, the second with `list-type=2`."""
    bucket = find(tables, call.names[0])
    query = call.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    is_second = query.get("list-type") == "2"
    behind = query.get("continuation-token") or query.get("start-after", "") if is_second else query.get("marker", "")
    limit = conditions.number(query, "max-keys")
    limit = LARGEST_PAGE if limit is None else min(limit, LARGEST_PAGE)
    end = after_all_with(prefix) if prefix else None
    wanted = Wanted(bucket.name, prefix, delimiter, False, prefix, end, None, False, max(1, limit))
    place = _place_behind(behind, prefix, delimiter)
    page = Page([], [], None) if place is None else read_page(tables, wanted, place)
    encoded = query.get("encoding-type") == "url"
    told = [("Name", bucket.name), ("Prefix", prefix), ("MaxKeys", str(limit))]
    told += [("Delimiter", delimiter)] if delimiter else []
    told += [("IsTruncated", "false" if page.following is None else "true")]
    last = max([row.name for row in page.rows] + page.prefixes, key=str.encode, default="")
    if is_second:
        told += [("KeyCount", str(len(page.rows) + len(page.prefixes)))]
        told += [("NextContinuationToken", last)] if page.following is not None else []
    else:
        told += [("Marker", behind)]
        told += [("NextMarker", last)] if page.following is not None else []
    inner = "".join(f"<{name}>{escape(_written(text, encoded))}</{name}>" for name, text in told)
    inner += "".join(f"<Contents>{''.join(_entry(row, encoded))}</Contents>" for row in page.rows)
    inner += "".join(
        f"<CommonPrefixes><Prefix>{escape(_written(folder, encoded))}</Prefix></CommonPrefixes>"
        for folder in page.prefixes
    )
    space = "http://doc.s3.amazonaws.com/2006-03-01"
    body = f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{space}">{inner}</ListBucketResult>'
    return Answer(
        body=body.encode("utf-8", "xmlcharrefreplace"), headers={"content-type": "application/xml; charset=UTF-8"}
    )


def _place_behind(name: str, prefix: str, delimiter: str) -> Place | None:
    """Return where a list continues behind a name, or behind a folder that was told in one line; None is the end."""
    if name < prefix:
        return Place(prefix)
    at = name.find(delimiter, len(prefix)) if delimiter else -1
    if at >= 0 and at + len(delimiter) == len(name):
        following = after_all_with(name)
        return None if following is None else Place(following)
    return Place(name, conditions.LARGEST)


def _entry(row: Object, encoded: bool) -> Iterator[str]:
    known = row.properties
    yield f"<Key>{escape(_written(row.name, encoded))}</Key>"
    yield f"<Generation>{row.generation}</Generation><MetaGeneration>{row.metageneration}</MetaGeneration>"
    yield f"<LastModified>{known['updated']}</LastModified>"
    # One that was composed has no MD5 sum.
    tag = base64.b64decode(known["md5Hash"]).hex() if "md5Hash" in known else conditions.etag(row)
    yield f"<ETag>&quot;{tag}&quot;</ETag><Size>{row.size}</Size>"
    yield f"<StorageClass>{known['storageClass']}</StorageClass>"


def _written(text: str, encoded: bool) -> str:
    return quote(text, safe="/") if encoded else text
