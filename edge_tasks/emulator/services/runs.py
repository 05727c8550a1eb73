"""Resources that run, such as jobs and pipelines: one way through the states for all of them.

PENDING, RUNNING, then SUCCEEDED, FAILED or CANCELLED; never back, and every time is that of the change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code, precondition, stopping
from edge_tasks.emulator.runtime.job_runner import JobFailedError
from edge_tasks.emulator.services.names import check_numeric_name, check_parent
from edge_tasks.emulator.services.registry import snake_case
from edge_tasks.emulator.store.listing import page

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations
    from edge_tasks.emulator.store.filters import Function

FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
OUTPUT_ONLY = ("start_time", "end_time", "error")
LOG = logging.getLogger(__name__)


class Runs:
    """The resources of one kind: what runs of them, and how it ends.

    `states` is the enum of their states: JobState or PipelineState. Those that resume are not ended with the emulator:
    the next start continues them (`resume`). Some have ids that their client chooses.
    """

    def __init__(
        self,
        context: Context,
        operations: Operations,
        kind: str,
        states: str,
        *,
        resumes: bool = False,
        chosen_ids: bool = False,
    ) -> None:
        self._context = context
        self._operations = operations
        self._kind = kind
        self._states = states
        self._resumes = resumes
        self._chosen_ids = chosen_ids
        self._noun = "pipeline" if states == "PipelineState" else "job"
        self._running: dict[str, asyncio.Task[Message]] = {}
        self._stopping: set[str] = set()
        self._closing = False

    def start(self, resource: Message, parent: str, work: Callable[[str], Awaitable[None]], **private: Any) -> Message:
        """Store a named resource and run `work` on it, which is called with the name.

        What `work` raises as JobFailedError or ApiError becomes the resource's error. `private` is kept with the
        resource and not shown.
        """
        if self._closing:
            raise stopping()
        for field in OUTPUT_ONLY:
            resource.ClearField(field)
        resource.state = self.state("PENDING")
        resource.create_time.GetCurrentTime()
        resource.update_time.CopyFrom(resource.create_time)
        self._context.database.insert(self._kind, resource.name, parent, resource, **private)
        self._begin(resource.name, work)
        return self.get(resource.name)

    def resume(self, work: Callable[[str], Awaitable[None]]) -> None:
        """Run `work` on what an earlier run of the emulator could not finish; end what was being cancelled."""
        for row in reversed(self._context.database.every(self._kind)):
            if row.message.state == self.state("CANCELLING"):
                self._stopped(row.message)
            elif not self.is_final(row.message):
                self._begin(row.message.name, work)

    def get(self, name: str) -> Message:
        """Return a resource as it is now."""
        if not self._chosen_ids:
            check_numeric_name(self._kind, name)
            return self._context.database.get(self._kind, name)
        row = self._context.database.find(self._kind, name)
        if row is None:
            # In Google's words.
            raise ApiError(Code.NOT_FOUND, f"The {self._kind} does not exist.")
        return row.message

    def listed(self, request: Message, functions: Mapping[str, Function] | None = None) -> Message:
        """Answer a request for the resources of a location, newest first."""
        check_parent(request.parent)
        rows = self._context.database.children(self._kind, request.parent)
        found, token = page(rows, request, self._context.surface.new(self._kind).DESCRIPTOR, None, functions)
        fields: dict[str, Any] = {f"{snake_case(self._kind)}s": found, "next_page_token": token}
        return self._context.surface.new(f"List{self._kind}sResponse", **fields)

    async def delete(self, request: Message, forget: Callable[[Message], Awaitable[None]] | None = None) -> Message:
        """Forget a resource that has ended; `forget` drops what goes with it. Return the operation."""
        resource = self.get(request.name)
        if not self.is_final(resource):
            raise precondition(f"{self._kind} `{resource.name}` has not ended yet: cancel it first.")

        async def work() -> Message:
            self._context.database.delete(resource.name)
            if forget is not None:
                await forget(resource)
            return self._context.surface.new("google.protobuf.Empty")

        service = "PipelineService" if self._states == "PipelineState" else "JobService"
        return await self._operations.start(f"{service}.Delete{self._kind}", resource.name, work())

    def save(self, resource: Message) -> None:
        """Store a resource that has changed."""
        resource.update_time.GetCurrentTime()
        self._context.database.update(resource.name, resource)

    def set_running(self, name: str) -> None:
        """Note that the work has begun; a resource that is being cancelled stays so."""
        resource = self.get(name)
        if resource.state == self.state("PENDING"):
            resource.state = self.state("RUNNING")
            resource.start_time.GetCurrentTime()
            self.save(resource)

    def cancel(self, name: str) -> Message:
        """Stop the work; a resource that has ended stays as it is. Return the empty answer."""
        resource = self.get(name)
        if not self.is_final(resource) and name not in self._stopping:
            resource.state = self.state("CANCELLING")
            self.save(resource)
            self._stop(name)
        return self._context.surface.new("google.protobuf.Empty")

    async def ended(self, name: str) -> Message:
        """Return a resource once it has ended; cancelling this wait cancels it."""
        task = self._running.get(name)
        if task is None:
            return self.get(name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.cancel(name)
            await asyncio.wait([task])
            raise

    def recover(self) -> list[Message]:
        """End what an earlier run of the emulator could not, and return it: its processes are gone."""
        interrupted = [
            row.message for row in self._context.database.every(self._kind) if not self.is_final(row.message)
        ]
        for resource in interrupted:
            self._stopped(resource)
        return interrupted

    async def close(self) -> None:
        """End everything that runs."""
        self._closing = True
        tasks = list(self._running.values())
        for name in self._running:
            self._stop(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    def state(self, name: str) -> int:
        """Return the number of a state: `PENDING` is JOB_STATE_PENDING or PIPELINE_STATE_PENDING."""
        return self._context.surface.enum_value(self._states, f"{snake_case(self._states).upper()}_{name}")

    def is_final(self, resource: Message) -> bool:
        """Whether a resource has ended."""
        return resource.state in {self.state(name) for name in FINAL}

    def _begin(self, name: str, work: Callable[[str], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(self._run(name, work))
        self._running[name] = task
        task.add_done_callback(lambda _: self._forget(name))

    def _stop(self, name: str) -> None:
        """Cancel the work, once: a second time would cut off its tidying up."""
        task = self._running.get(name)
        if task is not None and name not in self._stopping:
            self._stopping.add(name)
            task.cancel()

    def _forget(self, name: str) -> None:
        del self._running[name]
        self._stopping.discard(name)

    async def _run(self, name: str, work: Callable[[str], Awaitable[None]]) -> Message:
        try:
            await work(name)
        except (JobFailedError, ApiError) as failure:
            return self._end(self.get(name), "FAILED", failure.code, failure.message)
        except asyncio.CancelledError:
            return self._stopped(self.get(name))
        except Exception:
            LOG.exception("%s %s", self._noun, name)
            message = "Internal error occurred for the current attempt; see the emulator's log."
            return self._end(self.get(name), "FAILED", Code.INTERNAL, message)
        return self._end(self.get(name), "SUCCEEDED")

    def _stopped(self, resource: Message) -> Message:
        """End what was stopped: by a client who cancelled it, else by the end of the emulator."""
        if resource.state == self.state("CANCELLING"):
            # Vertex AI gives no error to pipeline jobs that were cancelled.
            code = None if self._resumes else Code.CANCELLED
            return self._end(resource, "CANCELLED", code, f"The {self._noun} was cancelled.")
        if self._resumes and self._closing:
            return resource
        message = f"The emulator was stopped while the {self._noun} ran."
        return self._end(resource, "FAILED", Code.ABORTED, message)

    def _end(self, resource: Message, state: str, code: Code | None = None, message: str = "") -> Message:
        resource.state = self.state(state)
        resource.end_time.GetCurrentTime()
        if code is not None:
            resource.error.code = code.number
            resource.error.message = message
        self.save(resource)
        return resource
