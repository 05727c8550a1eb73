"""MetadataService, how nodes belong together: members and children of contexts, events of executions.

https://cloud.google.com/vertex-ai/docs/ml-metadata/data-model
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context

MOST_PARENTS = 10


class MetadataLineage:
    """The edges between artifacts, executions and contexts."""

    service = "google.cloud.aiplatform.v1.MetadataService"

    def __init__(self, context: Context) -> None:
        self._context = context

    async def add_context_artifacts_and_executions(self, request: Message) -> Message:
        """Make nodes members of a context; those that are so stay so."""
        self._context.database.get("Context", request.context)
        for name in request.artifacts:
            self._context.database.get("Artifact", name)
        for name in request.executions:
            self._context.database.get("Execution", name)
        members = dict.fromkeys([*self._members(request.context), *request.artifacts, *request.executions])
        context = self._context.database.get("Context", request.context)
        self._context.database.update(context.name, context, members=list(members))
        return self._context.surface.new("AddContextArtifactsAndExecutionsResponse")

    async def add_context_children(self, request: Message) -> Message:
        """Make contexts children of another one."""
        database = self._context.database
        database.get("Context", request.context)
        ancestors = self._ancestors(request.context)
        children = [database.get("Context", name) for name in dict.fromkeys(request.child_contexts)]
        for child in children:
            if child.name in ancestors:
                raise invalid(f"Context `{child.name}` cannot be a child of `{request.context}`: it is above it.")
            if request.context not in child.parent_contexts:
                child.parent_contexts.append(request.context)
            if len(child.parent_contexts) > MOST_PARENTS:
                raise invalid(f"Context `{child.name}` has {MOST_PARENTS} parents already.")
        self._save(children)
        return self._context.surface.new("AddContextChildrenResponse")

    async def remove_context_children(self, request: Message) -> Message:
        """Let contexts be children of another one no longer."""
        database = self._context.database
        database.get("Context", request.context)
        children = [database.get("Context", name) for name in dict.fromkeys(request.child_contexts)]
        for child in children:
            child.parent_contexts[:] = [name for name in child.parent_contexts if name != request.context]
        self._save(children)
        return self._context.surface.new("RemoveContextChildrenResponse")

    async def query_context_lineage_subgraph(self, request: Message) -> Message:
        """Return the members of a context, and the events between them."""
        self._context.database.get("Context", request.context)
        members = self._members(request.context)
        artifacts = [name for name in members if "/artifacts/" in name]
        executions = [name for name in members if "/executions/" in name]
        events = [event for name in executions for event in self._events(name) if event.artifact in artifacts]
        return self._subgraph(artifacts, executions, events)

    async def add_execution_events(self, request: Message) -> Message:
        """Note which artifacts an execution reads and writes; what is noted already is skipped."""
        database = self._context.database
        database.get("Execution", request.execution)
        for event in request.events:
            if not event.type_:
                raise invalid("Event.type is required: INPUT or OUTPUT.")
            database.get("Artifact", event.artifact)
        with database.transaction():
            for event in request.events:
                name = f"{request.execution}/events/{event.type_}/{event.artifact}"
                event.execution = request.execution
                event.event_time.GetCurrentTime()
                if database.find("Event", name) is None:
                    database.insert("Event", name, request.execution, event, key=name)
        return self._context.surface.new("AddExecutionEventsResponse")

    async def query_execution_inputs_and_outputs(self, request: Message) -> Message:
        """Return an execution with the artifacts that it reads and writes."""
        self._context.database.get("Execution", request.execution)
        events = self._events(request.execution)
        return self._subgraph(dict.fromkeys(event.artifact for event in events), [request.execution], events)

    def _members(self, context: str) -> list[str]:
        row = self._context.database.find("Context", context)
        return list(row.private.get("members", ())) if row is not None else []

    def _events(self, execution: str) -> list[Message]:
        """Return the events of an execution in the order in which they came."""
        return [row.message for row in reversed(self._context.database.children("Event", execution))]

    def _ancestors(self, context: str) -> set[str]:
        """Return a context and all those above it."""
        found: set[str] = set()
        waiting = [context]
        while waiting:
            name = waiting.pop()
            row = self._context.database.find("Context", name)
            if name not in found and row is not None:
                found.add(name)
                waiting.extend(row.message.parent_contexts)
        return found

    def _subgraph(self, artifacts: Iterable[str], executions: Iterable[str], events: Iterable[Message]) -> Message:
        database = self._context.database
        return self._context.surface.new(
            "LineageSubgraph",
            artifacts=[database.get("Artifact", name) for name in artifacts],
            executions=[database.get("Execution", name) for name in executions],
            events=list(events),
        )

    def _save(self, contexts: Iterable[Message]) -> None:
        with self._context.database.transaction():
            for context in contexts:
                self._context.database.update(context.name, context)
