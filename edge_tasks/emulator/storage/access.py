"""Who may do what: access control lists and IAM policies. They are kept and given back; everybody may do everything.

https://cloud.google.com/storage/docs/access-control/lists, .../access-control/iam
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from edge_tasks.emulator.projects import ACCOUNT, project_number
from edge_tasks.emulator.storage.conditions import etag
from edge_tasks.emulator.storage.errors import StorageError, condition_not_met, invalid, required, wrong_parameter
from edge_tasks.emulator.storage.tables import Bucket, Object

ACTOR = f"user-{ACCOUNT}"
EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})
Entry = dict[str, Any]

# What a predefined list grants besides the owner's right: https://cloud.google.com/storage/docs/access-control/lists#predefined-acl
OBJECT_LISTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "authenticatedRead": (("allAuthenticatedUsers", "READER"),),
    "bucketOwnerFullControl": (("project-owners", "OWNER"),),
    "bucketOwnerRead": (("project-owners", "READER"),),
    "private": (),
    "projectPrivate": (("project-owners", "OWNER"), ("project-editors", "OWNER"), ("project-viewers", "READER")),
    "publicRead": (("allUsers", "READER"),),
}
BUCKET_LISTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "authenticatedRead": (("project-owners", "OWNER"), ("allAuthenticatedUsers", "READER")),
    "private": (("project-owners", "OWNER"),),
    "projectPrivate": (("project-owners", "OWNER"), ("project-editors", "OWNER"), ("project-viewers", "READER")),
    "publicRead": (("project-owners", "OWNER"), ("allUsers", "READER")),
    "publicReadWrite": (("project-owners", "OWNER"), ("allUsers", "WRITER")),
}
ROLES = {"bucket": ("READER", "WRITER", "OWNER"), "object": ("READER", "OWNER")}
POLICY_WITH_CONDITIONS = 3
PREFIXES = ("user-", "group-", "domain-", "project-")


def is_uniform(bucket: Bucket) -> bool:
    """Whether IAM alone decides in a bucket, so that lists do not count."""
    configuration = bucket.properties.get("iamConfiguration", {})
    return bool(configuration.get("uniformBucketLevelAccess", {}).get("enabled"))


def check_lists_count(bucket: Bucket, kind: str) -> None:
    """Refuse to read or write a list where IAM alone decides."""
    if is_uniform(bucket):
        what = "an object" if kind == "object" else "a bucket"
        message = f"Cannot use ACL API for {what} when uniform bucket-level access is enabled."
        raise StorageError(
            400, "invalid", f"{message} Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
        )


def check_public(bucket: Bucket, entries: Iterable[str]) -> None:
    """Refuse to let everybody in where the bucket prevents public access."""
    configuration = bucket.properties.get("iamConfiguration", {})
    if configuration.get("publicAccessPrevention") == "enforced" and EVERYBODY & set(entries):
        message = (
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is "
            "enforced."
        )
        raise StorageError(412, "conditionNotMet", message)


def predefined(kind: str, name: str, project: str, *, owner: bool = True) -> list[Entry]:
    """Return the entries of a predefined list."""
    lists = OBJECT_LISTS if kind == "object" else BUCKET_LISTS
    if name not in lists:
        raise wrong_parameter("predefinedAcl", name)
    entries = [_entry(entity, role, project) for entity, role in lists[name]]
    if kind == "object" and owner:
        entries.append({"entity": ACTOR, "role": "OWNER", "email": ACCOUNT})
    return entries


def checked(kind: str, entries: object) -> list[Entry]:
    """Return the entries that a client has sent, if each of them says who and what."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise invalid("An access control list must be a list of entries with an entity and a role.")
    return [_checked(kind, entry) for entry in entries]


def _checked(kind: str, entry: Mapping[str, Any]) -> Entry:
    entity, role = entry.get("entity"), entry.get("role")
    if not entity:
        raise required("Required")
    if not isinstance(entity, str) or not (entity in EVERYBODY or entity.startswith(PREFIXES)):
        raise invalid(f"Unknown entity: {entity!r:.100}")
    if role not in ROLES[kind]:
        raise invalid(f"Invalid role for {entity}: {role!r:.100}, expected one of {', '.join(ROLES[kind])}")
    kept: Entry = {"entity": entity, "role": role}
    who, _, value = entity.partition("-")
    if who in {"user", "group"} and "@" in value:
        kept["email"] = value
    elif who == "domain":
        kept["domain"] = value
    elif who == "project":
        team, _, number = value.partition("-")
        kept["projectTeam"] = {"team": team, "projectNumber": number}
    return kept


def resource(entry: Entry, bucket: Bucket, name: Object | None, *, default: bool = False) -> dict[str, Any]:
    """Return an entry as the API tells it."""
    of_object = name is not None or default
    told = {
        "kind": "storage#objectAccessControl" if of_object else "storage#bucketAccessControl",
        **entry,
        "etag": etag(name if name is not None else bucket),
    }
    if default:
        return told
    path = f"{bucket.name}/{name.name}/{name.generation}" if name is not None else bucket.name
    told |= {"id": f"{path}/{entry['entity']}", "bucket": bucket.name}
    if name is not None:
        told |= {"object": name.name, "generation": str(name.generation)}
    return told


def replaced(entries: list[Entry], kind: str, entry: Mapping[str, Any]) -> list[Entry]:
    """Return a list in which one entity has another role, or a role at all."""
    new = _checked(kind, entry)
    others = [old for old in entries if old["entity"] != new["entity"]]
    return [*others, new]


def policy_of(bucket: Bucket) -> dict[str, Any]:
    """Return the IAM policy of a bucket: the one that was set, or the one that a new bucket has."""
    policy = bucket.properties.get("iamPolicy") or _new_policy(bucket.project)
    tag = base64.b64encode(hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).digest()[:6]).decode()
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket.name}",
        "version": 1,
        **policy,
        "etag": tag,
    }


def checked_policy(policy: Mapping[str, Any], bucket: Bucket) -> dict[str, Any]:
    """Return a policy that a client wants to set in place of the present one."""
    # Google's command line writes base64 in the form for URLs.
    tag = str(policy.get("etag") or "").translate(str.maketrans("-_", "+/"))
    if tag not in {"", policy_of(bucket)["etag"]}:
        raise condition_not_met()
    bindings = policy.get("bindings", [])
    if not isinstance(bindings, list):
        raise invalid("bindings must be a list.")
    for binding in bindings:
        fits = isinstance(binding, dict) and isinstance(binding.get("role"), str)
        if not fits or not isinstance(binding.get("members", []), list):
            raise invalid("Each binding must have a role and members.")
        if binding.get("condition"):
            _check_condition(policy, bucket)
        check_public(bucket, binding.get("members", []))
    return {"version": policy.get("version", 1), "bindings": _joined(bindings)}


def _joined(bindings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one binding for each role and condition, as IAM keeps them."""
    found: dict[str, dict[str, Any]] = {}
    for binding in bindings:
        key = json.dumps([binding["role"], binding.get("condition") or None], sort_keys=True)
        kept = found.setdefault(key, {**binding, "members": []})
        kept["members"] = list(dict.fromkeys([*kept["members"], *binding.get("members", [])]))
    return list(found.values())


def _check_condition(policy: Mapping[str, Any], bucket: Bucket) -> None:
    if not is_uniform(bucket):
        message = "To set a policy with a condition, enable uniform bucket-level access on the bucket first."
        raise StorageError(412, "conditionNotMet", message)
    if policy.get("version", 1) != POLICY_WITH_CONDITIONS:
        message = f"The version of a policy with a condition must be at least {POLICY_WITH_CONDITIONS}."
        raise invalid(message)


def _new_policy(project: str) -> dict[str, Any]:
    def members(*teams: str) -> list[str]:
        return [f"{team}:{project}" for team in teams]

    owners = members("projectEditor", "projectOwner")
    return {
        "version": 1,
        "bindings": [
            {"role": "roles/storage.legacyBucketOwner", "members": owners},
            {"role": "roles/storage.legacyBucketReader", "members": members("projectViewer")},
        ],
    }


def _entry(entity: str, role: str, project: str) -> Entry:
    if not entity.startswith("project-"):
        return {"entity": entity, "role": role}
    number = str(project_number(project))
    team = entity.removeprefix("project-")
    return {
        "entity": f"{entity}-{number}",
        "role": role,
        "projectTeam": {"team": team, "projectNumber": number},
    }
