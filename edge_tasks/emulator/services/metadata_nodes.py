"""MetadataService, what a metadata store holds: artifacts, executions and contexts.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.metadataStores.artifacts

Any schema title is taken: the schemas themselves are not kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition
from edge_tasks.emulator.services import experiments
from edge_tasks.emulator.services.metadata_stores import metadata_id
from edge_tasks.emulator.services.names import check_display_name, check_labels
from edge_tasks.emulator.store.filters import compile_filter
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.store.filters import Predicate

LATEST_SCHEMA = "0.0.1"
LARGEST_SAMPLE = 100
LARGEST_METADATA = 200 * 1024
MUTABLE = frozenset({"display_name", "description", "labels", "metadata", "state", "uri"})


class MetadataNodes:
    """Artifacts, executions and contexts: one way for all of them."""

    service = "google.cloud.aiplatform.v1.MetadataService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._artifacts = _Nodes(context, operations, "Artifact")
        self._executions = _Nodes(context, operations, "Execution")
        self._contexts = _Nodes(context, operations, "Context")

    async def create_artifact(self, request: Message) -> Message:
        """Store an artifact."""
        return self._artifacts.create(request.parent, request.artifact, request.artifact_id)

    async def get_artifact(self, request: Message) -> Message:
        """Return an artifact."""
        return self._artifacts.get(request.name)

    async def list_artifacts(self, request: Message) -> Message:
        """Return the artifacts of a store, newest first."""
        return self._artifacts.listed(request)

    async def update_artifact(self, request: Message) -> Message:
        """Change the masked fields of an artifact; without a mask, those that are given."""
        return self._artifacts.update(request, request.artifact)

    async def delete_artifact(self, request: Message) -> Message:
        """Delete an artifact, and its events."""
        return await self._artifacts.delete(request)

    async def purge_artifacts(self, request: Message) -> Message:
        """Delete the artifacts of a store that pass a filter; without `force`, only tell which."""
        return await self._artifacts.purge(request)

    async def create_execution(self, request: Message) -> Message:
        """Store an execution."""
        return self._executions.create(request.parent, request.execution, request.execution_id)

    async def get_execution(self, request: Message) -> Message:
        """Return an execution."""
        return self._executions.get(request.name)

    async def list_executions(self, request: Message) -> Message:
        """Return the executions of a store, newest first."""
        return self._executions.listed(request)

    async def update_execution(self, request: Message) -> Message:
        """Change the masked fields of an execution; without a mask, those that are given."""
        return self._executions.update(request, request.execution)

    async def delete_execution(self, request: Message) -> Message:
        """Delete an execution, and its events."""
        return await self._executions.delete(request)

    async def purge_executions(self, request: Message) -> Message:
        """Delete the executions of a store that pass a filter; without `force`, only tell which."""
        return await self._executions.purge(request)

    async def create_context(self, request: Message) -> Message:
        """Store a context."""
        return self._contexts.create(request.parent, request.context, request.context_id)

    async def get_context(self, request: Message) -> Message:
        """Return a context."""
        return self._contexts.get(request.name)

    async def list_contexts(self, request: Message) -> Message:
        """Return the contexts of a store, newest first."""
        return self._contexts.listed(request)

    async def update_context(self, request: Message) -> Message:
        """Change the masked fields of a context; without a mask, those that are given."""
        return self._contexts.update(request, request.context)

    async def delete_context(self, request: Message) -> Message:
        """Delete a context; what belongs to it stays."""
        return await self._contexts.delete(request)

    async def purge_contexts(self, request: Message) -> Message:
        """Delete the contexts of a store that pass a filter; without `force`, only tell which."""
        return await self._contexts.purge(request)


class _Nodes:
    """The nodes of one kind."""

    def __init__(self, context: Context, operations: Operations, kind: str) -> None:
        self._context = context
        self._operations = operations
        self._kind = kind
        self._collection = f"{kind.lower()}s"
        self._descriptor = context.surface.new(kind).DESCRIPTOR

    def create(self, parent: str, node: Message, node_id: str) -> Message:
        self._context.database.get("MetadataStore", parent)
        node.name = f"{parent}/{self._collection}/{metadata_id(node_id)}"
        if self._kind == "Context":
            node.ClearField("parent_contexts")
        if node.schema_title and not node.schema_version:
            node.schema_version = LATEST_SCHEMA
        _check(node)
        node.ClearField("etag")
        _touch(node)
        node.create_time.CopyFrom(node.update_time)
        self._context.database.insert(self._kind, node.name, parent, node)
        return node

    def get(self, name: str) -> Message:
        row = self._context.database.find(self._kind, name)
        if row is None:
            # In Google's words: https://github.com/googleapis/python-aiplatform/issues/2126.
            kind = self._kind
            problem = f"Get{kind} is unable to find {kind.lower()} resource with name: {name}"
            raise ApiError(Code.NOT_FOUND, f"Resource not found.; {problem}")
        return row.message

    def listed(self, request: Message) -> Message:
        self._context.database.get("MetadataStore", request.parent)
        rows = self._context.database.children(self._kind, request.parent)
        is_context = self._kind == "Context"
        functions = {"child_contexts": self._has_child} if is_context else {"in_context": self._in_context}
        nodes, token = page(rows, request, self._descriptor, None, functions)
        fields: dict[str, Any] = {self._collection: nodes, "next_page_token": token}
        return self._context.surface.new(f"List{self._kind}sResponse", **fields)

    def update(self, request: Message, given: Message) -> Message:
        row = self._context.database.find(self._kind, given.name)
        if row is None and request.allow_missing:
            parent, _, node_id = given.name.rpartition(f"/{self._collection}/")
            return self.create(parent, given, node_id)
        node = self.get(given.name)
        if given.etag and given.etag != node.etag:
            # In these very words: the SDK reads the two numbers.
            raise ApiError(
                Code.ABORTED,
                f"Specified {self._kind} `etag`: `{given.etag}` does not match server `etag`: `{node.etag}`",
            )
        mutable = MUTABLE & {field.name for field in self._descriptor.fields}
        paths = list(request.update_mask.paths)
        # The SDK sends no mask and the whole resource.
        paths = paths or [field.name for field, _ in given.ListFields() if field.name in mutable]
        if paths:
            before = type(node)()
            before.CopyFrom(node)
            apply_mask(node, given, paths, mutable)
            experiments.keep_jobs(before, node)
            _check(node)
            _touch(node)
            self._context.database.update(node.name, node)
        return node

    async def delete(self, request: Message) -> Message:
        node = self.get(request.name)
        if request.etag and request.etag != node.etag:
            raise precondition(
                f"Specified {self._kind} `etag`: `{request.etag}` does not match server `etag`: `{node.etag}`"
            )

        async def work() -> Message:
            with self._context.database.transaction():
                self._let_go(node.name)
                self._context.database.delete(node.name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start(f"MetadataService.Delete{self._kind}", node.name, work())

    async def purge(self, request: Message) -> Message:
        database = self._context.database
        database.get("MetadataStore", request.parent)
        if not request.filter.strip():
            raise invalid("filter is required.")
        keep = compile_filter(request.filter, self._descriptor)
        names = [row.message.name for row in database.children(self._kind, request.parent) if keep(row.message)]
        response = self._context.surface.new(f"Purge{self._kind}sResponse", purge_count=len(names))
        if not request.force:
            response.purge_sample.extend(names[:LARGEST_SAMPLE])

        async def work() -> Message:
            with database.transaction():
                for name in names if request.force else ():
                    self._let_go(name)
                    database.delete(name)
            return response

        return await self._operations.start(f"MetadataService.Purge{self._kind}s", request.parent, work())

    def _let_go(self, name: str) -> None:
        """Remove what ties a node to others: a new one may get its name."""
        database = self._context.database
        store = name.rpartition(f"/{self._collection}/")[0]
        for row in database.children("Context", store):
            if self._kind == "Context" and name in row.message.parent_contexts:
                row.message.parent_contexts.remove(name)
                database.update(row.message.name, row.message)
            elif name in row.private.get("members", ()):
                members = [member for member in row.private["members"] if member != name]
                database.update(row.message.name, row.message, members=members)
        if self._kind == "Execution":
            events = database.children("Event", name)
        elif self._kind == "Artifact":
            events = [row for row in database.every("Event") if row.message.artifact == name]
        else:
            events = []
        for event in events:
            database.delete(event.private["key"])

    def _in_context(self, name: str) -> Predicate:
        row = self._context.database.find("Context", name)
        members = set(row.private.get("members", ())) if row is not None else set()
        return lambda node: node.name in members

    def _has_child(self, name: str) -> Predicate:
        row = self._context.database.find("Context", name)
        parents = set(row.message.parent_contexts) if row is not None else set()
        return lambda node: node.name in parents


def _check(node: Message) -> None:
    check_display_name(node, required=False)
    check_labels(node)
    if node.metadata.ByteSize() > LARGEST_METADATA:
        raise invalid(f"metadata must not be larger than {LARGEST_METADATA // 1024} KB.")


def _touch(node: Message) -> None:
    milliseconds = time.time_ns() // 1_000_000
    node.update_time.FromMilliseconds(milliseconds)
    # That time in milliseconds, and a number that grows: the SDK compares etags to see which one is newer.
    node.etag = str(max(milliseconds, int(node.etag) + 1 if node.etag.isdigit() else 0))
