"""The metadata of an object that a client may write: https://cloud.google.com/storage/docs/metadata."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from edge_tasks.emulator.storage import access, resources
from edge_tasks.emulator.storage.buckets import check_class, merge
from edge_tasks.emulator.storage.contents import Content
from edge_tasks.emulator.storage.encryption import property_of
from edge_tasks.emulator.storage.errors import StorageError, forbidden, invalid
from edge_tasks.emulator.storage.tables import Bucket, Object

TEXTS = ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType")
HOLDS = ("eventBasedHold", "temporaryHold")
WRITABLE = (*TEXTS, *HOLDS, "contexts", "customTime", "metadata", "retention")
LARGEST_CUSTOM_METADATA = 8 * 1024


def writable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an object's resource that a client may write."""
    return {name: copy.deepcopy(body[name]) for name in WRITABLE if name in body}


def new(
    body: Mapping[str, Any],
    bucket: Bucket,
    content: Content,
    *,
    acl: str | None,
    key: str | None,
    parts: int | None = None,
) -> dict[str, Any]:
    """Return the properties of a new object: what the client wants, and what we know of its content."""
    given = {name: value for name, value in writable(body).items() if value is not None}
    check(given, bucket)
    made = resources.now()
    held = bool(bucket.properties.get("defaultEventBasedHold"))
    properties = {
        "storageClass": check_class(body.get("storageClass") or bucket.properties["storageClass"]),
        "crc32c": content.crc32c,
        **({} if content.md5 is None else {"md5Hash": content.md5}),
        **({} if parts is None else {"componentCount": parts}),
        "timeCreated": made,
        "updated": made,
        "timeStorageClassUpdated": made,
        "timeFinalized": made,
        **({"eventBasedHold": True} if held else {}),
        **given,
        **property_of(key),
    }
    if not access.is_uniform(bucket):
        properties["acl"] = new_list(body, bucket, acl)
        access.check_public(bucket, (entry["entity"] for entry in properties["acl"]))
    elif acl is not None:
        access.check_lists_count(bucket, "object")
    return properties


def new_list(body: Mapping[str, Any], bucket: Bucket, predefined: str | None) -> list[dict[str, Any]]:
    """Return the access control list of a new object."""
    owner = access.predefined("object", "private", bucket.project)
    if predefined is not None:
        return access.predefined("object", predefined, bucket.project)
    if body.get("acl"):
        return [*access.checked("object", body["acl"]), *owner]
    return [*bucket.properties["defaultObjectAcl"], *owner]


def changed(
    row: Object, body: Mapping[str, Any], bucket: Bucket, *, acl: str | None, merging: bool, override: bool
) -> dict[str, Any]:
    """Return the properties of an object after a patch, or an update."""
    given = writable(body)
    old = row.properties
    # An update leaves nothing of what it does not name; the content type stays, since every object has one.
    properties = merge(old, given) if merging else {
        **{name: value for name, value in old.items() if name not in WRITABLE or name == "contentType"},
        **{name: value for name, value in given.items() if value is not None},
    }  # fmt: skip
    if not any((properties.get("retention") or {}).values()):
        # Some clients take a retention away member by member.
        properties.pop("retention", None)
    check(properties, bucket)
    _check_custom_time(old, properties)
    if old.get("retention") != properties.get("retention"):
        _check_retention(old.get("retention"), properties.get("retention"), override=override)
    if old.get("eventBasedHold") and not properties.get("eventBasedHold"):
        properties["holdReleased"] = resources.now()
    if acl is not None or "acl" in body:
        access.check_lists_count(bucket, "object")
        properties["acl"] = (
            access.predefined("object", acl, bucket.project)
            if acl is not None
            else access.checked("object", body["acl"] or [])
        )
        access.check_public(bucket, (entry["entity"] for entry in properties["acl"]))
    properties["updated"] = resources.now()
    return properties


def check(properties: Mapping[str, Any], bucket: Bucket) -> None:
    """Refuse metadata that are not of the API's form."""
    for name in TEXTS:
        value = properties.get(name)
        if value is not None and (not isinstance(value, str) or any(letter in value for letter in "\r\n\0")):
            raise invalid(f"Invalid value for {name}: {value!r:.100}")
    for name in HOLDS:
        if not isinstance(properties.get(name, False), bool):
            raise invalid(f"Invalid value for {name}: it must be true or false.")
    if "customTime" in properties and resources.read_moment(properties["customTime"]) is None:
        raise invalid(f"Invalid value for customTime: {properties['customTime']!r:.100} is not a time of RFC 3339.")
    custom = properties.get("metadata") or {}
    if not isinstance(custom, dict) or not all(isinstance(value, str) for value in custom.values()):
        raise invalid("Invalid value for metadata: it must be an object whose values are texts.")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in custom.items())
    if size > LARGEST_CUSTOM_METADATA:
        raise StorageError(
            400,
            "metadataTooLarge",
            f"The custom metadata are {size} bytes, at most {LARGEST_CUSTOM_METADATA} are possible.",
        )
    retention = properties.get("retention")
    if retention is not None:
        _check_retention_form(retention, bucket)


def check_removable(row: Object, bucket: Bucket) -> None:
    """Refuse to remove a version that a hold or a retention keeps."""
    for name, kind in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if row.properties.get(name):
            message = (
                f"Object '{row.bucket}/{row.name}' is under active {kind} hold and cannot be deleted, overwritten or "
                "archived until hold is removed."
            )
            raise forbidden("objectUnderActiveHold", message)
    kept = [
        resources.retained_until(row, bucket),
        resources.read_moment((row.properties.get("retention") or {}).get("retainUntilTime")),
    ]
    until = max((time for time in kept if time is not None), default=None)
    if until is not None and until > datetime.now(timezone.utc):
        message = (
            f"Object '{row.bucket}/{row.name}' is subject to bucket's retention policy or object retention and cannot "
            f"be deleted or overwritten until {resources.moment(until)}"
        )
        raise forbidden("retentionPolicyNotMet", message)


def _check_retention_form(retention: Any, bucket: Bucket) -> None:
    if "objectRetention" not in bucket.properties:
        raise invalid("The bucket does not have object retention enabled, so retention configuration is not possible.")
    fits = isinstance(retention, dict) and retention.get("mode") in {"Locked", "Unlocked"}
    if not fits or resources.read_moment(retention.get("retainUntilTime")) is None:
        raise invalid("A retention needs a mode, Locked or Unlocked, and a retainUntilTime.")


def _check_retention(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, *, override: bool) -> None:
    if not old:
        return
    before, after = (resources.read_moment((value or {}).get("retainUntilTime")) for value in (old, new))
    weaker = not new or before is None or after is None or after < before
    if old["mode"] == "Locked" and (weaker or (new or {}).get("mode") != "Locked"):
        raise forbidden("forbidden", "A locked retention can only be extended.")
    if weaker and not override:
        raise forbidden("forbidden", "To reduce or remove a retention, overrideUnlockedRetention must be true.")


def _check_custom_time(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    before, after = resources.read_moment(old.get("customTime")), resources.read_moment(new.get("customTime"))
    if before is not None and (after is None or after < before):
        raise invalid("The custom time of an object cannot be removed, and cannot be set to an earlier time.")
