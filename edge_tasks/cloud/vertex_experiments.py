"""Runs as Google's console shows them: an experiment of Vertex AI Experiments, with parameters, metrics and state.

An experiment and its runs are contexts of the metadata store `default`, in the form that the SDK gives them.
https://cloud.google.com/vertex-ai/docs/experiments/intro-vertex-ai-experiments
"""

from __future__ import annotations

import math
from typing import Any

from edge_tasks.cloud.client import CALL_TIMEOUT, Cloud, sdk_errors
from edge_tasks.domain.run_filter import flattened
from edge_tasks.domain.runs import COMPLETED, DIED, FAILED, INTERRUPTED, RunRecord

# The names that Vertex AI has for the ends of a run.
_STATES = {COMPLETED: "COMPLETE", FAILED: "FAILED", DIED: "FAILED", INTERRUPTED: "CANCELLED"}
_SCHEMA_VERSION = "0.0.1"


def show_run(cloud: Cloud, experiment: str, record: RunRecord) -> None:
    """Make the run in `experiment` what `record` is now; both are made when they are not there."""
    from google.api_core.exceptions import NotFound

    client, store = cloud.metadata, f"{cloud.parent}/metadataStores/default"
    content = {
        "_params": {name: _plain(value) for name, value in flattened(record.parameters).items()},
        "_metrics": {name: _plain(value) for name, value in flattened(record.metrics).items()},
        "_state": _STATES.get(record.status, "RUNNING"),
    }
    run_id = f"{experiment}-{record.run_id}"
    with sdk_errors(f"show the run in the experiment `{experiment}`"):
        try:
            client.update_context(
                context={"name": f"{store}/contexts/{run_id}", "metadata": content}, update_mask={"paths": ["metadata"]}
            )
        except NotFound:
            _make_store(client, cloud.parent, store)
            _make(client, store, experiment, experiment, "system.Experiment", {"experiment_deleted": False})
            _make(client, store, run_id, record.run_id, "system.ExperimentRun", content)
            client.add_context_children(
                context=f"{store}/contexts/{experiment}", child_contexts=[f"{store}/contexts/{run_id}"]
            )


def _make_store(client: Any, parent: str, store: str) -> None:
    from google.api_core.exceptions import Conflict, NotFound

    try:
        client.get_metadata_store(name=store)
    except NotFound:
        try:
            made = client.create_metadata_store(parent=parent, metadata_store={}, metadata_store_id="default")
            made.result(timeout=CALL_TIMEOUT)
        except Conflict:
            return


def _make(client: Any, store: str, context_id: str, name: str, schema: str, content: dict[str, Any]) -> None:
    """Make a context, unless it is there already."""
    from google.api_core.exceptions import Conflict

    context = {
        "display_name": name,
        "schema_title": schema,
        "schema_version": _SCHEMA_VERSION,
        "metadata": content,
    }
    try:
        client.create_context(parent=store, context=context, context_id=context_id)
    except Conflict:
        return


def _plain(value: Any) -> Any:
    """Return a value as Vertex AI Experiments takes it: a number, which is a finite one in JSON, or a text."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else str(value)
