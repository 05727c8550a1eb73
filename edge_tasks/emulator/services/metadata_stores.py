"""MetadataService, stores: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.metadataStores."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.services.names import check_parent
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

KIND = "MetadataStore"
# The reference asks for 4 characters at least; the SDK, and so its users, for one.
METADATA_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
# What a store holds; an event belongs to its execution.
NODES = ("Artifact", "Execution", "Context")


class MetadataStores:
    """The stores that artifacts, executions and contexts lie in; Vertex AI Experiments use `default`."""

    service = "google.cloud.aiplatform.v1.MetadataService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations

    async def create_metadata_store(self, request: Message) -> Message:
        """Store a metadata store."""
        check_parent(request.parent)
        store = request.metadata_store
        store.name = f"{request.parent}/metadataStores/{metadata_id(request.metadata_store_id)}"
        store.ClearField("state")
        store.create_time.GetCurrentTime()
        store.update_time.CopyFrom(store.create_time)
        # A name that is taken is refused at once, not by the operation.
        self._context.database.insert(KIND, store.name, request.parent, store)

        async def work() -> Message:
            return store

        return await self._operations.start("MetadataService.CreateMetadataStore", store.name, work())

    async def get_metadata_store(self, request: Message) -> Message:
        """Return a metadata store."""
        return self._context.database.get(KIND, request.name)

    async def list_metadata_stores(self, request: Message) -> Message:
        """Return the metadata stores of a location."""
        check_parent(request.parent)
        rows = self._context.database.children(KIND, request.parent)
        stores, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new("ListMetadataStoresResponse", metadata_stores=stores, next_page_token=token)

    async def delete_metadata_store(self, request: Message) -> Message:
        """Delete a metadata store with everything in it."""
        store = self._context.database.get(KIND, request.name)

        async def work() -> Message:
            database = self._context.database
            with database.transaction():
                for kind in NODES:
                    for row in database.children(kind, store.name):
                        for event in database.children("Event", row.message.name):
                            database.delete(event.private["key"])
                        database.delete(row.message.name)
                database.delete(store.name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("MetadataService.DeleteMetadataStore", store.name, work())


def metadata_id(given: str) -> str:
    """Return the id that a client has chosen, or a new one."""
    if given and not METADATA_ID.fullmatch(given):
        raise invalid(f"Invalid resource id {given!r}: it must match {METADATA_ID.pattern}.")
    return given or str(uuid.uuid4())
