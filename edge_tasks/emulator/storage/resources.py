"""Buckets and objects as the API tells them.

https://cloud.google.com/storage/docs/json_api/v1/buckets#resource, .../objects#resource
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

from edge_tasks.emulator.projects import project_number
from edge_tasks.emulator.storage import access
from edge_tasks.emulator.storage.conditions import etag
from edge_tasks.emulator.storage.errors import wrong_parameter
from edge_tasks.emulator.storage.names import quoted
from edge_tasks.emulator.storage.tables import PRIVATE, Bucket, Object

# Names that are the same in JSON and in an address, but for the slashes.
PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")


def now() -> str:
    """Return the present time as the API writes it."""
    return moment(datetime.now(timezone.utc))


def moment(time: datetime) -> str:
    """Return a time as the API writes it, in milliseconds."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def read_moment(text: object) -> datetime | None:
    """Read a time of RFC 3339; None for another text."""
    if not isinstance(text, str):
        return None
    try:
        # Python 3.10 reads neither a Z nor other than three or six digits.
        whole, _, rest = text.upper().replace("Z", "+00:00").partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        zone = rest[len(digits) :]
        time = datetime.fromisoformat(whole + (f".{digits[:6]:0<6}{zone}" if digits else ""))
    except ValueError:
        return None
    return time if time.tzinfo else None


def wants_all(query: Mapping[str, str]) -> bool:
    """Whether a request wants the access control lists, too."""
    projection = query.get("projection", "noAcl")
    if projection not in {"full", "noAcl"}:
        raise wrong_parameter("projection", projection)
    return projection == "full"


def bucket_resource(bucket: Bucket, base: str, *, full: bool = False) -> dict[str, Any]:
    """Return a bucket's resource."""
    kept = {
        name: value for name, value in bucket.properties.items() if name not in {"acl", "defaultObjectAcl", "iamPolicy"}
    }
    told = {
        "kind": "storage#bucket",
        "selfLink": f"{base}/storage/v1/b/{quoted(bucket.name)}",
        "id": bucket.name,
        "name": bucket.name,
        "projectNumber": str(project_number(bucket.project)),
        "generation": bucket.properties["generation"],
        "metageneration": str(bucket.metageneration),
        "etag": etag(bucket),
        **kept,
    }
    if full and not access.is_uniform(bucket):
        told["acl"] = bucket_acl(bucket)
        told["defaultObjectAcl"] = default_acl(bucket)
        told["owner"] = {"entity": f"project-owners-{told['projectNumber']}"}
    return told


def bucket_acl(bucket: Bucket) -> list[dict[str, Any]]:
    """Return a bucket's access control list."""
    return [access.resource(entry, bucket, None) for entry in bucket.properties["acl"]]


def default_acl(bucket: Bucket) -> list[dict[str, Any]]:
    """Return the access control list that new objects get."""
    return [access.resource(entry, bucket, None, default=True) for entry in bucket.properties["defaultObjectAcl"]]


def object_acl(row: Object, bucket: Bucket) -> list[dict[str, Any]]:
    """Return an object's access control list."""
    return [access.resource(entry, bucket, row) for entry in row.properties.get("acl", [])]


def object_resource(
    row: Object, bucket: Bucket, base: str, *, full: bool = False, wanted: Collection[str] | None = None
) -> dict[str, Any]:
    """Return an object's resource; `wanted` names fields, of which a long list needs few."""
    told: dict[str, Any] = {
        name: value(row, base) for name, value in COLUMNS.items() if wanted is None or name in wanted
    }
    if wanted is not None and COLUMNS.keys() >= set(wanted):
        return told
    told.update(row.properties if wanted is None else {n: v for n, v in row.properties.items() if n in wanted})
    for name in PRIVATE:
        told.pop(name, None)
    until = retained_until(row, bucket)
    if until is not None:
        told["retentionExpirationTime"] = moment(until)
    if full and not access.is_uniform(bucket):
        told["acl"] = object_acl(row, bucket)
        told["owner"] = {"entity": access.ACTOR}
    return told


def _place(row: Object) -> str:
    return f"storage/v1/b/{quoted(row.bucket)}/o/{quoted(row.name)}"


# What a row itself tells, for the address that the client has found us at.
COLUMNS: Mapping[str, Callable[[Object, str], str]] = {
    "kind": lambda row, base: "storage#object",
    "id": lambda row, base: f"{row.bucket}/{row.name}/{row.generation}",
    "selfLink": lambda row, base: f"{base}/{_place(row)}",
    "mediaLink": lambda row, base: f"{base}/download/{_place(row)}?generation={row.generation}&alt=media",
    "name": lambda row, base: row.name,
    "bucket": lambda row, base: row.bucket,
    "generation": lambda row, base: str(row.generation),
    "metageneration": lambda row, base: str(row.metageneration),
    "size": lambda row, base: str(row.size),
    "etag": lambda row, base: etag(row),
}


def object_text(row: Object, bucket: Bucket, base: str) -> str:
    """Return an object's resource as JSON, without access control lists: the same, ten times as fast."""
    if "retentionPolicy" in bucket.properties:
        return orjson.dumps(object_resource(row, bucket, base)).decode()
    name = row.name if PLAIN.fullmatch(row.name) else None
    place = f"storage/v1/b/{row.bucket}/o/{quoted(row.name) if name is None else name.replace('/', '%2F')}"
    told = f'"{name}"' if name is not None else orjson.dumps(row.name).decode()
    return (
        f'{{"kind":"storage#object","id":{told[:1]}{row.bucket}/{told[1:-1]}/{row.generation}",'
        f'"selfLink":"{base}/{place}","mediaLink":"{base}/download/{place}?generation={row.generation}&alt=media",'
        f'"name":{told},"bucket":"{row.bucket}","generation":"{row.generation}",'
        f'"metageneration":"{row.metageneration}","size":"{row.size}","etag":"{etag(row)}",{row.text[1:]}'
    )


def retained_until(row: Object, bucket: Bucket) -> datetime | None:
    """Return until when the bucket's retention policy keeps an object; None when it does not, or not yet."""
    policy = bucket.properties.get("retentionPolicy")
    if not policy or row.properties.get("eventBasedHold"):
        return None
    begun = read_moment(row.properties.get("holdReleased")) or read_moment(row.properties.get("timeCreated"))
    return None if begun is None else begun + timedelta(seconds=int(policy["retentionPeriod"]))
