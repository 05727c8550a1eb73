"""Long-running operations: https://cloud.google.com/vertex-ai/docs/general/long-running-operations."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code, not_found, stopping
from edge_tasks.emulator.services.names import new_operation_id
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from edge_tasks.emulator.schema.surface import Message, Rpc
    from edge_tasks.emulator.services.context import Context

KIND = "google.longrunning.Operation"
VERTEX = "google.cloud.aiplatform.v1"
LOG = logging.getLogger(__name__)

# Work that ends within this time is answered as done, which saves the client its first poll after a second.
QUICK = 0.05
# A poll is held until the operation is done, or this long: the SDK would sleep up to 20 s between polls.
HOLD = 5.0
LONGEST_WAIT = 60.0
# Google's services answer these as done, whatever the work takes, and name them after the location.
AT_ONCE = frozenset({f"{VERTEX}.TensorboardService.UpdateTensorboard"})
OF_DELETIONS = f"{VERTEX}.DeleteOperationMetadata"


class Operations:
    """Starts operations for the other services, and answers google.longrunning.Operations."""

    service = "google.longrunning.Operations"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()

    async def start(
        self, rpc: str, resource: str, work: Coroutine[Any, Any, Message], metadata: Message | None = None
    ) -> Message:
        """Run `work` as an operation on `resource` and return the operation, done if it was quick or is a deletion.

        `rpc` (`EndpointService.DeployModel`) decides the types of response and metadata, by which the SDK
        unpacks them. What `work` raises as ApiError becomes the operation's error.
        """
        if self._closing.is_set():
            work.close()
            raise stopping()
        record = self._context.surface.rpcs[f"{VERTEX}.{rpc}"]
        at_once = record.operation_metadata == OF_DELETIONS or record.full_name in AT_ONCE
        owner = _location(resource) if at_once else resource
        operation = self._context.surface.new(KIND, name=f"{owner}/operations/{new_operation_id()}")
        if metadata is None:
            metadata = self._context.surface.message_class(record.operation_metadata or "")()
        metadata.generic_metadata.create_time.GetCurrentTime()
        metadata.generic_metadata.update_time.GetCurrentTime()
        operation.metadata.Pack(metadata)
        key = _key(operation.name)
        self._context.database.insert(KIND, key, resource, operation)
        task = asyncio.ensure_future(self._run(key, record, work))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))
        await asyncio.wait([task], timeout=None if at_once else QUICK)
        return self._context.database.get(KIND, key)

    async def _run(self, key: str, record: Rpc, work: Awaitable[Message]) -> None:
        try:
            response = await work
        except ApiError as error:
            self._finish(key, record, error=error)
        except asyncio.CancelledError:
            if self._closing.is_set():
                # Not the client's wish: the next start notes that the work was cut off.
                raise
            self._finish(key, record, error=ApiError(Code.CANCELLED, "The operation was cancelled."))
        except Exception:
            LOG.exception("operation %s", key)
            self._finish(key, record, error=ApiError(Code.INTERNAL, "Internal error; see the emulator's log."))
        else:
            self._finish(key, record, response=response)

    def _finish(self, key: str, record: Rpc, response: Message | None = None, error: ApiError | None = None) -> None:
        row = self._context.database.find(KIND, key)
        if row is None:
            return
        operation = row.message
        metadata = self._context.surface.message_class(record.operation_metadata or "")()
        operation.metadata.Unpack(metadata)
        metadata.generic_metadata.update_time.GetCurrentTime()
        operation.metadata.Pack(metadata)
        operation.done = True
        if error is not None:
            operation.error.code = error.code.number
            operation.error.message = error.message
        else:
            assert response is not None
            assert response.DESCRIPTOR.full_name == record.operation_response
            operation.response.Pack(response)
        self._context.database.update(key, operation)

    def recover(self) -> None:
        """Mark what an earlier run of the emulator could not finish."""
        for row in self._context.database.every(KIND):
            if not row.message.done:
                row.message.done = True
                row.message.error.code = Code.ABORTED.number
                row.message.error.message = "The emulator was stopped while the operation ran."
                self._context.database.update(_key(row.message.name), row.message)

    async def close(self) -> None:
        """Stop everything that runs, and let go of the polls that are held."""
        self._closing.set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get_operation(self, request: Message) -> Message:
        """Return an operation, held back until it is done or the client's patience is tested."""
        return await self._when_done(request.name, HOLD)

    async def wait_operation(self, request: Message) -> Message:
        """Return an operation when it is done, or after the asked time."""
        seconds = request.timeout.seconds + request.timeout.nanos / 1e9
        return await self._when_done(request.name, min(seconds or HOLD, LONGEST_WAIT))

    async def list_operations(self, request: Message) -> Message:
        """Return the operations on a resource, or of a whole location."""
        rows = self._under(request.name)
        operations, token = page(rows, request, self._context.surface.message_class(KIND).DESCRIPTOR)
        return self._context.surface.new(
            "google.longrunning.ListOperationsResponse", operations=operations, next_page_token=token
        )

    async def cancel_operation(self, request: Message) -> Message:
        """Stop an operation's work; one that is done stays as it is."""
        self._get(request.name)
        task = self._tasks.get(_key(request.name))
        if task is not None:
            task.cancel()
        return self._context.surface.new("google.protobuf.Empty")

    async def delete_operation(self, request: Message) -> Message:
        """Forget an operation; its work continues."""
        self._get(request.name)
        self._context.database.delete(_key(request.name))
        return self._context.surface.new("google.protobuf.Empty")

    async def _when_done(self, name: str, seconds: float) -> Message:
        task = self._tasks.get(_key(name))
        if task is not None:
            closing = asyncio.ensure_future(self._closing.wait())
            await asyncio.wait([task, closing], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            closing.cancel()
        return self._get(name)

    def _get(self, name: str) -> Message:
        """Return an operation, which may be asked for under its own name and under that of its location."""
        row = self._context.database.find(KIND, _key(name))
        if row is None or name not in {row.message.name, _key(name)}:
            raise not_found("Operation", name)
        return row.message

    def _under(self, name: str) -> list[Any]:
        """Operations outlive their resource, so they are found by name alone."""
        if name.count("/") > 3:
            return self._context.database.children(KIND, name)
        # The trailing slash keeps `locations/us` apart from `locations/us-central1`.
        return [row for row in self._context.database.every(KIND) if row.message.name.startswith(f"{name}/")]


def _location(name: str) -> str:
    return "/".join(name.split("/")[:4])


def _key(name: str) -> str:
    """Return the name of an operation under its location, by which it is stored: the id is enough to tell it."""
    return f"{_location(name)}/operations/{name.rpartition('/')[2]}"
