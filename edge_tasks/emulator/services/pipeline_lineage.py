"""The lineage of pipelines in the metadata store `default`, as Vertex AI Pipelines writes it.

https://cloud.google.com/vertex-ai/docs/pipelines/lineage

There is a context for the pipeline and one for each run; an execution
of the schema `system.Run` for the run itself, with its parameters as `input:NAME`; one for each task; and artifacts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from edge_tasks.emulator.pipelines.steps import CACHED, CANCELLED, DONE, FAILED, Artifacts, Outcome
from edge_tasks.emulator.services.names import new_id

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context

PIPELINE, PIPELINE_RUN, RUN = "system.Pipeline", "system.PipelineRun", "system.Run"
CONTAINER, GRAPH, IMPORTER = "system.ContainerExecution", "system.DagExecution", "system.ImporterExecution"
SCHEMA_VERSION = "0.0.1"
EXECUTION_STATES = {DONE: "COMPLETE", CACHED: "CACHED", FAILED: "FAILED", CANCELLED: "CANCELLED"}
# Of the metadata of one node: 200 KB, see services.metadata_nodes.
LONGEST_TEXT = 10_000


class Lineage:
    """Writes what a run of a pipeline does into the metadata store of its location."""

    def __init__(self, context: Context, parent: str) -> None:
        self._context = context
        self._database = context.database
        self._store = f"{parent}/metadataStores/default"

    def begin_run(
        self, pipeline: str, job_id: str, parameters: Mapping[str, Any], execution: str = ""
    ) -> tuple[Message, Message, str]:
        """Write the contexts of a pipeline and of its run, and the run's execution unless it is there.

        Return all three, the last by its name.
        """
        with self._database.transaction():
            if self._database.find("MetadataStore", self._store) is None:
                store = self._context.surface.new("MetadataStore", name=self._store)
                store.create_time.GetCurrentTime()
                store.update_time.CopyFrom(store.create_time)
                self._database.insert("MetadataStore", self._store, self._store.rpartition("/metadataStores")[0], store)
            above = self._context_node(re.sub(r"[^a-z0-9-]", "-", pipeline.lower()), pipeline, PIPELINE, [])
            run = self._context_node(job_id, job_id, PIPELINE_RUN, [above.name])
            execution = execution or self._execution(
                job_id, RUN, {f"input:{name}": value for name, value in parameters.items()}
            )
            self._add_members(run.name, [execution])
        return above, run, execution

    def begin(self, run: str, name: str, schema: str, parameters: Mapping[str, Any], artifacts: Artifacts) -> str:
        """Write the execution of a task that begins, and what it reads; return its name."""
        with self._database.transaction():
            execution = self._execution(name, schema, {f"input:{key}": value for key, value in parameters.items()})
            read = _names(artifacts)
            self._add_members(run, [execution, *read])
            self._add_events(execution, read, "INPUT")
        return execution

    def end(self, run: str, execution: str, outcome: Outcome) -> None:
        """Write how a task ended, and the artifacts that it has made."""
        with self._database.transaction():
            node = self._database.get("Execution", execution)
            node.state = self._context.surface.enum_value("Execution.State", EXECUTION_STATES[outcome.state])
            _describe(node, {f"output:{name}": value for name, value in outcome.parameters.items()})
            _touch(node)
            self._database.update(execution, node)
            made = _names(outcome.artifacts)
            self._add_members(run, made)
            self._add_events(execution, made, "OUTPUT")

    def store(self, artifacts: Artifacts) -> None:
        """Write the artifacts of a task that has ended; one that is there gets the new metadata."""
        with self._database.transaction():
            for output, found in artifacts.items():
                for artifact in found:
                    self._store_artifact(output, artifact)

    def new_name(self) -> str:
        """Return the name of an artifact that will be made."""
        return f"{self._store}/artifacts/{new_id()}"

    def find(self, uri: str, schema: str) -> Message | None:
        """Return the newest artifact with a URI and a schema; None when there is none."""
        for row in self._database.children("Artifact", self._store):
            if row.message.uri == uri and row.message.schema_title == schema:
                return row.message
        return None

    def exists(self, kind: str, name: str) -> bool:
        """Whether a node is still there."""
        return self._database.find(kind, name) is not None

    def named(self, artifact_id: str) -> dict[str, Any] | None:
        """Return the artifact with an id of this store as tasks get it; None when there is none."""
        row = self._database.find("Artifact", f"{self._store}/artifacts/{artifact_id}")
        return as_value(row.message) if row is not None else None

    def _store_artifact(self, output: str, artifact: Mapping[str, Any]) -> None:
        row = self._database.find("Artifact", artifact["name"])
        node = row.message if row is not None else self._context.surface.new("Artifact", name=artifact["name"])
        if row is None:
            node.display_name = output[:128]
            node.schema_title = artifact["type"].get("schemaTitle", "")
            node.schema_version = artifact["type"].get("schemaVersion") or SCHEMA_VERSION
            node.state = self._context.surface.enum_value("Artifact.State", "LIVE")
        node.uri = artifact.get("uri", "")
        if artifact.get("metadata"):
            node.metadata.Clear()
            json_format.ParseDict(artifact["metadata"], node.metadata)
        _touch(node)
        if row is not None:
            self._database.update(node.name, node)
            return
        node.create_time.CopyFrom(node.update_time)
        self._database.insert("Artifact", node.name, self._store, node)

    def _context_node(self, node_id: str, display_name: str, schema: str, parents: list[str]) -> Message:
        name = f"{self._store}/contexts/{node_id}"
        row = self._database.find("Context", name)
        if row is not None:
            return row.message
        fields: dict[str, Any] = {"name": name, "display_name": display_name[:128], "parent_contexts": parents}
        node = self._context.surface.new("Context", **fields, schema_title=schema, schema_version=SCHEMA_VERSION)
        node.metadata.SetInParent()
        _touch(node)
        node.create_time.CopyFrom(node.update_time)
        self._database.insert("Context", name, self._store, node)
        return node

    def _execution(self, display_name: str, schema: str, metadata: Mapping[str, Any]) -> str:
        name = f"{self._store}/executions/{new_id()}"
        fields: dict[str, Any] = {"name": name, "display_name": display_name[:128], "schema_version": SCHEMA_VERSION}
        node = self._context.surface.new("Execution", **fields, schema_title=schema)
        node.state = self._context.surface.enum_value("Execution.State", "RUNNING")
        _describe(node, metadata)
        _touch(node)
        node.create_time.CopyFrom(node.update_time)
        self._database.insert("Execution", name, self._store, node)
        return name

    def _add_members(self, context: str, names: Iterable[str]) -> None:
        row = self._database.find("Context", context)
        if row is not None:
            members = dict.fromkeys([*row.private.get("members", ()), *names])
            self._database.update(context, row.message, members=list(members))

    def _add_events(self, execution: str, artifacts: Iterable[str], kind: str) -> None:
        number = self._context.surface.enum_value("Event.Type", kind)
        for artifact in artifacts:
            if not self.exists("Artifact", artifact):
                continue
            name = f"{execution}/events/{number}/{artifact}"
            if self._database.find("Event", name) is None:
                event = self._context.surface.new("Event", artifact=artifact, execution=execution, type_=number)
                event.event_time.GetCurrentTime()
                self._database.insert("Event", name, execution, event, key=name)


def as_value(node: Message) -> dict[str, Any]:
    """Return an artifact of the store as tasks get it."""
    return {
        "name": node.name,
        "uri": node.uri,
        "metadata": json_format.MessageToDict(node.metadata),
        "type": {"schemaTitle": node.schema_title, "schemaVersion": node.schema_version or SCHEMA_VERSION},
    }


def _names(artifacts: Artifacts) -> list[str]:
    return list(dict.fromkeys(artifact["name"] for found in artifacts.values() for artifact in found))


def _describe(node: Message, metadata: Mapping[str, Any]) -> None:
    short = {name: value[:LONGEST_TEXT] if isinstance(value, str) else value for name, value in metadata.items()}
    # Parsing begins with an empty Struct.
    kept = json_format.MessageToDict(node.metadata)
    json_format.ParseDict({**kept, **short}, node.metadata)


def _touch(node: Message) -> None:
    milliseconds = time.time_ns() // 1_000_000
    node.update_time.FromMilliseconds(milliseconds)
    node.etag = str(max(milliseconds, int(node.etag) + 1 if node.etag.isdigit() else 0))
