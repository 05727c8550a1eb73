"""Buckets: https://cloud.google.com/storage/docs/json_api/v1/buckets. Settings are kept, also those that do nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from edge_tasks.emulator.projects import project_number
from edge_tasks.emulator.storage import access, conditions, resources
from edge_tasks.emulator.storage.conditions import number
from edge_tasks.emulator.storage.errors import StorageError, forbidden, invalid, no_bucket, required, wrong_parameter
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.names import check_bucket
from edge_tasks.emulator.storage.request import Answer, Call, flag
from edge_tasks.emulator.storage.tables import Bucket, Tables

LARGEST_PAGE = 1000
# Google's client asks so for the buckets of an emulator when nobody has named a project: it means all of them.
NO_PROJECT = "<none>"
MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})
DUAL_REGIONS = frozenset({"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"})
CLASSES = frozenset(
    {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"}
)
# What a client may change; the rest of a bucket's resource is ours to tell.
SETTINGS = (
    *("autoclass", "billing", "cors", "defaultEventBasedHold", "encryption", "iamConfiguration", "ipFilter", "labels"),
    *("lifecycle", "logging", "retentionPolicy", "rpo", "softDeletePolicy", "storageClass", "versioning", "website"),
)
AT_CREATION = ("customPlacementConfig", "hierarchicalNamespace", "location")
# These are merged member by member; another value stands for the whole.
NESTED = frozenset({"iamConfiguration", "labels"})


class Buckets:
    """The methods of buckets."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def _find(self, call: Call) -> Bucket:
        return find(self._index.tables, call.names[0])

    async def insert(self, call: Call) -> Answer:
        """POST /b."""
        project = call.query.get("project", "")
        if not project:
            raise required("Required parameter: project")
        body = await call.json()
        name = check_bucket(body.get("name"))
        properties = _new(body, project, call.query)

        def work(tables: Tables) -> Bucket:
            there = tables.bucket(name)
            if there is not None:
                raise _taken(there, project)
            bucket = Bucket(name, project, 1, properties | {"generation": str(tables.next_generation())})
            tables.put_bucket(bucket)
            return bucket

        return self._told(await self._index.change(work), call)

    async def get(self, call: Call) -> Answer:
        """GET /b/BUCKET."""
        bucket = self._find(call)
        conditions.of_bucket(call.query, call.headers).check(bucket, reading=True)
        return self._told(bucket, call)

    async def list(self, call: Call) -> Answer:
        """GET /b?project=P."""
        project = call.query.get("project", "")
        if not project:
            raise required("Required parameter: project")
        limit = min(number(call.query, "maxResults") or LARGEST_PAGE, LARGEST_PAGE)
        prefix, start = call.query.get("prefix", ""), call.query.get("pageToken", "")
        full = resources.wants_all(call.query)
        found = self._index.tables.buckets("" if project == NO_PROJECT else project, prefix, start, limit + 1)
        told: dict[str, Any] = {"kind": "storage#buckets"}
        if len(found) > limit:
            told["nextPageToken"] = found[limit - 1].name
        if found:
            told["items"] = [resources.bucket_resource(bucket, call.base, full=full) for bucket in found[:limit]]
        return Answer(value=told)

    async def patch(self, call: Call) -> Answer:
        """PATCH /b/BUCKET: what is named is changed, what is null goes."""
        return await self._change(call, await call.json(), merging=True)

    async def update(self, call: Call) -> Answer:
        """PUT /b/BUCKET: what is not named goes."""
        return await self._change(call, await call.json(), merging=False)

    async def _change(self, call: Call, body: Mapping[str, Any], *, merging: bool) -> Answer:
        demanded = conditions.of_bucket(call.query, call.headers)
        query = call.query

        def work(bucket: Bucket) -> None:
            if "location" in body and str(body["location"]).upper() != bucket.properties["location"]:
                raise invalid("The location of a bucket cannot be changed.")
            old = bucket.properties
            new = _merged(old, body) if merging else _replaced(old, body)
            _check_settings(new)
            _check_retention(old.get("retentionPolicy"), new.get("retentionPolicy"))
            for field, kind, parameter in _lists(query):
                if parameter is not None:
                    new[field] = access.predefined(kind, parameter, bucket.project, owner=False)
                    access.check_public(bucket, (entry["entity"] for entry in new[field]))
                elif field in body:
                    access.check_lists_count(bucket, "bucket")
                    new[field] = access.checked(kind, body[field] or [])
                    access.check_public(bucket, (entry["entity"] for entry in new[field]))
            new["updated"] = resources.now()
            bucket.properties = _completed(new, old)

        return self._told(await self._rewritten(call.names[0], demanded, work), call)

    async def lock_retention(self, call: Call) -> Answer:
        """POST /b/BUCKET/lockRetentionPolicy."""
        demanded = conditions.of_bucket(call.query, {})
        if demanded.metageneration is None:
            raise required("Required parameter: ifMetagenerationMatch")

        def work(bucket: Bucket) -> None:
            if "retentionPolicy" not in bucket.properties:
                raise invalid("Bucket does not have a retention policy to lock.")
            bucket.properties["retentionPolicy"]["isLocked"] = True

        return self._told(await self._rewritten(call.names[0], demanded, work), call)

    async def _rewritten(self, name: str, demanded: conditions.Conditions, work: Callable[[Bucket], None]) -> Bucket:
        def change(tables: Tables) -> Bucket:
            bucket = find(tables, name)
            demanded.check(bucket)
            work(bucket)
            bucket.metageneration += 1
            tables.put_bucket(bucket)
            return bucket

        return await self._index.change(change)

    async def delete(self, call: Call) -> Answer:
        """DELETE /b/BUCKET, if it is empty."""
        demanded = conditions.of_bucket(call.query, call.headers)
        name = call.names[0]

        def work(tables: Tables) -> None:
            demanded.check(find(tables, name))
            if not tables.is_empty(name):
                raise StorageError(409, "conflict", "The bucket you tried to delete is not empty.")
            tables.delete_bucket(name)

        await self._index.change(work)
        return Answer(204)

    async def storage_layout(self, call: Call) -> Answer:
        """GET /b/BUCKET/storageLayout."""
        bucket = self._find(call)
        kept = ("customPlacementConfig", "hierarchicalNamespace", "location", "locationType")
        told = {name: bucket.properties[name] for name in kept if name in bucket.properties}
        return Answer(value={"kind": "storage#storageLayout", "bucket": bucket.name, **told})

    async def list_folders(self, call: Call) -> Answer:
        """GET /b/BUCKET/folders and /b/BUCKET/managedFolders: there are none, and none can be made."""
        self._find(call)
        return Answer(value={"kind": f"storage#{call.parts[-1]}"})

    async def get_policy(self, call: Call) -> Answer:
        """GET /b/BUCKET/iam."""
        return Answer(value=access.policy_of(self._find(call)))

    async def set_policy(self, call: Call) -> Answer:
        """PUT /b/BUCKET/iam."""
        policy = await call.json()

        def work(bucket: Bucket) -> None:
            bucket.properties["iamPolicy"] = access.checked_policy(policy, bucket)

        return Answer(value=access.policy_of(await self._rewritten(call.names[0], conditions.Conditions(), work)))

    async def test_permissions(self, call: Call) -> Answer:
        """GET /b/BUCKET/iam/testPermissions: everybody may do everything here."""
        self._find(call)
        asked = call.repeated.get("permissions", [])
        if not asked:
            raise required("Required parameter: permissions")
        return Answer(value={"kind": "storage#testIamPermissionsResponse", "permissions": asked})

    # Access control lists

    async def list_acl(self, call: Call) -> Answer:
        """GET /b/BUCKET/acl and /b/BUCKET/defaultObjectAcl."""
        bucket = self._find(call)
        access.check_lists_count(bucket, "bucket")
        return Answer(value=_told_list(bucket, _field(call)))

    async def get_acl(self, call: Call) -> Answer:
        """GET /b/BUCKET/acl/ENTITY."""
        bucket = self._find(call)
        access.check_lists_count(bucket, "bucket")
        return Answer(value=_entry(_told_list(bucket, _field(call))["items"], call.names[1]))

    async def put_acl(self, call: Call) -> Answer:
        """POST /b/BUCKET/acl, PUT and PATCH /b/BUCKET/acl/ENTITY: grant somebody a role."""
        entry = await call.json()
        if len(call.names) > 1:
            entry["entity"] = call.names[1]
        field = _field(call)

        def work(bucket: Bucket) -> None:
            access.check_lists_count(bucket, "bucket")
            access.check_public(bucket, [str(entry.get("entity"))])
            kind = "bucket" if field == "acl" else "object"
            bucket.properties[field] = access.replaced(bucket.properties[field], kind, entry)

        bucket = await self._rewritten(call.names[0], conditions.Conditions(), work)
        return Answer(value=_entry(_told_list(bucket, field)["items"], entry["entity"]))

    async def delete_acl(self, call: Call) -> Answer:
        """DELETE /b/BUCKET/acl/ENTITY."""
        field, entity = _field(call), call.names[1]

        def work(bucket: Bucket) -> None:
            access.check_lists_count(bucket, "bucket")
            _entry(bucket.properties[field], entity)
            bucket.properties[field] = [entry for entry in bucket.properties[field] if entry["entity"] != entity]

        await self._rewritten(call.names[0], conditions.Conditions(), work)
        return Answer(204)

    async def service_account(self, call: Call) -> Answer:
        """GET /projects/PROJECT/serviceAccount: who acts for Cloud Storage itself."""
        address = f"service-{project_number(call.names[0])}@gs-project-accounts.iam.gserviceaccount.com"
        return Answer(value={"kind": "storage#serviceAccount", "email_address": address})

    def _told(self, bucket: Bucket, call: Call) -> Answer:
        full = resources.wants_all(call.query)
        return Answer(value=resources.bucket_resource(bucket, call.base, full=full))


def find(tables: Tables, name: str) -> Bucket:
    """Return a bucket; one that does not exist is an error."""
    bucket = tables.bucket(name)
    if bucket is None:
        raise no_bucket()
    return bucket


def check_class(name: object) -> str:
    """Return a storage class; one that does not exist is an error."""
    if not isinstance(name, str) or name.upper() not in CLASSES:
        raise invalid(f"The storage class you specified is not valid: {name!r:.100}")
    return name.upper()


def _taken(there: Bucket, project: str) -> StorageError:
    if there.project == project:
        message = "Your previous request to create the named bucket succeeded and you already own it."
    else:
        message = (
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again."
        )
    return StorageError(409, "conflict", message)


def _new(body: Mapping[str, Any], project: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a new bucket."""
    place = str(body.get("location") or "US").upper()
    asked = {name: copy.deepcopy(body[name]) for name in (*SETTINGS, *AT_CREATION) if body.get(name) is not None}
    made = resources.now()
    if place in MULTI_REGIONS and "customPlacementConfig" not in asked:
        kind = "multi-region"
    elif place in DUAL_REGIONS or "customPlacementConfig" in asked:
        kind = "dual-region"
    elif "-" in place:
        kind = "region"
    else:
        raise invalid(f"The specified location constraint is not valid: {place!r:.100}")
    properties: dict[str, Any] = {
        "storageClass": "STANDARD",
        "softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": made},
        **({} if kind == "region" else {"rpo": "DEFAULT"}),
        **asked,
        "location": place,
        "locationType": kind,
        "timeCreated": made,
        "updated": made,
    }
    if flag(query, "enableObjectRetention"):
        properties["objectRetention"] = {"mode": "Enabled"}
    for field, role, parameter in _lists(query):
        if parameter is not None:
            properties[field] = access.predefined(role, parameter, project, owner=False)
        elif body.get(field) is not None:
            properties[field] = access.checked(role, body[field])
        else:
            properties[field] = access.predefined(role, "projectPrivate", project, owner=False)
    _check_settings(properties)
    return _completed(properties, {})


def _lists(query: Mapping[str, str]) -> list[tuple[str, str, str | None]]:
    """Return field, kind and predefined name of the two lists that a bucket has."""
    return [
        ("acl", "bucket", query.get("predefinedAcl")),
        ("defaultObjectAcl", "object", query.get("predefinedDefaultObjectAcl")),
    ]


def _merged(old: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(dict(old))
    for name in SETTINGS:
        if name not in body:
            continue
        value = body[name]
        if value is None:
            new.pop(name, None)
        elif name in NESTED and isinstance(value, dict):
            new[name] = merge(new.get(name) or {}, value)
        else:
            new[name] = copy.deepcopy(value)
    return new


def merge(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object after a merge patch: https://datatracker.ietf.org/doc/html/rfc7396."""
    new = dict(old)
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict) and isinstance(new.get(name), dict):
            new[name] = merge(new[name], value)
        else:
            new[name] = copy.deepcopy(value)
    return new


def _replaced(old: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in old.items() if name not in SETTINGS}
    return kept | {name: copy.deepcopy(body[name]) for name in SETTINGS if body.get(name) is not None}


def _check_settings(properties: dict[str, Any]) -> None:
    """Refuse settings that are not of the API's form."""
    properties["storageClass"] = check_class(properties.get("storageClass", "STANDARD"))
    objects = ("autoclass", "billing", "encryption", "iamConfiguration", "ipFilter", "labels", "lifecycle", "logging")
    for name in (*objects, "retentionPolicy", "softDeletePolicy", "versioning", "website"):
        if name in properties and not isinstance(properties[name], dict):
            raise invalid(f"Invalid value for {name}: it must be an object.")
    for key, value in properties.get("labels", {}).items():
        if not isinstance(value, str) or len(value) > 63 or not key or len(key) > 63 or key != key.lower():
            raise invalid(f"Invalid label: {key!r:.100}: {value!r:.100}")
    rules = properties.get("lifecycle", {}).get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) and "action" in rule for rule in rules):
        raise invalid("Each rule of a lifecycle must have an action.")
    prevention = (properties.get("iamConfiguration") or {}).get("publicAccessPrevention", "inherited")
    if prevention not in {"inherited", "enforced", "unspecified"}:
        raise invalid(f"Invalid value for publicAccessPrevention: {prevention!r:.100}")
    if properties.get("rpo") not in (None, "DEFAULT", "ASYNC_TURBO"):
        raise wrong_parameter("rpo", properties["rpo"])
    policy = properties.get("retentionPolicy")
    if policy is not None and not str(policy.get("retentionPeriod", "")).isdigit():
        raise invalid("The retention period must be a number of seconds.")


def _check_retention(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
    if not old or not old.get("isLocked"):
        return
    if not new or int(new["retentionPeriod"]) < int(old["retentionPeriod"]):
        raise forbidden("forbidden", "Cannot reduce retention duration of a locked Retention Policy for bucket.")


def _completed(properties: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Add what Cloud Storage adds to settings by itself."""
    made = properties["updated"]
    given = properties.get("iamConfiguration", {})
    uniform = dict(given.get("uniformBucketLevelAccess") or given.get("bucketPolicyOnly") or {})
    was = old.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
    uniform["enabled"] = bool(uniform.get("enabled"))
    uniform.pop("lockedTime", None)
    if uniform["enabled"]:
        uniform["lockedTime"] = was.get("lockedTime") or _days_later(made, 90)
    properties["iamConfiguration"] = {
        **given,
        "publicAccessPrevention": given.get("publicAccessPrevention", "inherited"),
        "bucketPolicyOnly": uniform,
        "uniformBucketLevelAccess": uniform,
    }
    if properties["iamConfiguration"]["publicAccessPrevention"] == "unspecified":
        properties["iamConfiguration"]["publicAccessPrevention"] = "inherited"
    for name, times in (
        ("retentionPolicy", ("effectiveTime",)),
        ("softDeletePolicy", ("effectiveTime",)),
        ("autoclass", ("toggleTime", "terminalStorageClassUpdateTime")),
    ):
        value = properties.get(name)
        if value is not None:
            changed = {key: item for key, item in value.items() if key not in times}
            before = old.get(name) or {}
            same = changed == {key: item for key, item in before.items() if key not in times}
            properties[name] = changed | {time: before[time] if same else made for time in times}
    if "retentionPolicy" in properties:
        properties["retentionPolicy"]["retentionPeriod"] = str(properties["retentionPolicy"]["retentionPeriod"])
    if "softDeletePolicy" in properties:
        policy = properties["softDeletePolicy"]
        policy["retentionDurationSeconds"] = str(policy.get("retentionDurationSeconds", "604800"))
    for name, value in properties.get("encryption", {}).items():
        if isinstance(value, dict) and name.endswith("EncryptionEnforcementConfig"):
            _date_restriction(value, (old.get("encryption") or {}).get(name) or {}, made)
    if "autoclass" in properties:
        properties["autoclass"].setdefault("terminalStorageClass", "NEARLINE")
    return properties


def _date_restriction(new: dict[str, Any], old: Mapping[str, Any], made: str) -> None:
    """Say since when a kind of encryption may not be used."""
    new.pop("effectiveTime", None)
    if new.get("restrictionMode") == "FullyRestricted":
        same = old.get("restrictionMode") == "FullyRestricted" and "effectiveTime" in old
        new["effectiveTime"] = old["effectiveTime"] if same else made


def _days_later(text: str, days: int) -> str:
    from datetime import timedelta

    time = resources.read_moment(text)
    assert time is not None
    return resources.moment(time + timedelta(days=days))


def _field(call: Call) -> str:
    return "defaultObjectAcl" if "defaultObjectAcl" in call.parts else "acl"


def _told_list(bucket: Bucket, field: str) -> dict[str, Any]:
    if field == "acl":
        return {"kind": "storage#bucketAccessControls", "items": resources.bucket_acl(bucket)}
    return {"kind": "storage#objectAccessControls", "items": resources.default_acl(bucket)}


def _entry(entries: list[dict[str, Any]], entity: str) -> dict[str, Any]:
    for entry in entries:
        if entry["entity"] == entity:
            return entry
    raise StorageError(404, "notFound", f"The specified entity does not exist: {entity[:100]}")
