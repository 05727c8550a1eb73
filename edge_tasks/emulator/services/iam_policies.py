"""IAMPolicy, of models and endpoints: https://cloud.google.com/iam/docs/reference/rest/v1/Policy.

A policy is kept and comes back. It forbids nothing: the emulator knows no one, and so everyone may do everything.
"""

from __future__ import annotations

import copy
import re
import secrets
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import ApiError, Code, invalid, not_found, unimplemented

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.store.database import Database

SERVICE = "google.iam.v1.IAMPolicy"
KIND = "google.iam.v1.Policy"
# That of a policy that nobody has set.
FIRST_ETAG = b"\x00\x20\x01"
WITH_CONDITIONS = 3
ROLE = re.compile(r"(?:(?:projects|organizations)/[^/]+/)?roles/[\w.]+")
MEMBER = re.compile(r"allUsers|allAuthenticatedUsers|[a-zA-Z]+:\S+")


class IamPolicies:
    """The policies of models and endpoints."""

    service = SERVICE

    def __init__(self, context: Context) -> None:
        self._context = context

    async def get_iam_policy(self, request: Message) -> Message:
        """Return the policy of a resource: an empty one until it is set."""
        return self._policy(request.resource)

    async def set_iam_policy(self, request: Message) -> Message:
        """Replace the policy of a resource; with an etag, only if no one else has replaced it meanwhile."""
        policy, old = request.policy, self._policy(request.resource)
        if policy.etag and policy.etag != old.etag:
            raise ApiError(
                Code.ABORTED,
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential"
                " backoff.",
            )
        _check(policy)
        _join(policy)
        policy.etag = secrets.token_bytes(8)
        with self._context.database.transaction():
            forget(self._context.database, request.resource)
            self._context.database.insert(KIND, _key(request.resource), request.resource, policy)
        return policy

    async def test_iam_permissions(self, request: Message) -> Message:
        """Return those of the permissions that the caller has: all of them."""
        self._policy(request.resource)
        for permission in request.permissions:
            if "*" in permission:
                raise invalid(f"Invalid permission {permission!r}: wildcards are not allowed.")
        return self._context.surface.new("google.iam.v1.TestIamPermissionsResponse", permissions=request.permissions)

    def _policy(self, resource: str) -> Message:
        database = self._context.database
        collection = resource.split("/")[-2]
        if "/publishers/" in resource or collection not in {"models", "endpoints"}:
            raise unimplemented(f"{SERVICE} for {resource!r} is not implemented by this emulator.")
        if collection == "models" and not database.children("Model", resource):
            raise not_found("Model", resource)
        if collection == "endpoints":
            database.get("Endpoint", resource)
        row = database.find(KIND, _key(resource))
        return row.message if row is not None else self._context.surface.new(KIND, etag=FIRST_ETAG)


def forget(database: Database, resource: str) -> None:
    """Forget the policy of a resource that is deleted: a new one may get its name."""
    database.delete(_key(resource))


def _key(resource: str) -> str:
    return f"{resource}/iamPolicy"


def _check(policy: Message) -> None:
    for binding in policy.bindings:
        if not ROLE.fullmatch(binding.role):
            raise invalid(f"Invalid role {binding.role!r}: write roles/NAME.")
        for member in binding.members:
            if not MEMBER.fullmatch(member):
                raise invalid(f"Invalid member {member!r}: write KIND:IDENTITY, such as user:someone@example.com.")
        if binding.HasField("condition") and policy.version != WITH_CONDITIONS:
            raise invalid(f"A policy with conditions must have the version {WITH_CONDITIONS}.")


def _join(policy: Message) -> None:
    """Leave one binding for each role and condition, as IAM keeps them."""
    found: dict[tuple[str, bytes], Message] = {}
    for binding in policy.bindings:
        key = (binding.role, binding.condition.SerializeToString(deterministic=True))
        kept = found.setdefault(key, binding)
        if kept is not binding:
            kept.members.extend(member for member in binding.members if member not in kept.members)
    joined = [copy.deepcopy(binding) for binding in found.values()]
    del policy.bindings[:]
    policy.bindings.extend(joined)
