"""Tasks of pipelines that were done before: https://cloud.google.com/vertex-ai/docs/pipelines/configure-caching.

The key is made of the pipeline's name, the inputs' values, the outputs' definition, and what the task runs. A result
counts as long as its execution and its artifacts are in the metadata store.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from edge_tasks.emulator.pipelines.steps import CACHED, Outcome, Step
from edge_tasks.emulator.services.pipeline_lineage import Lineage


class Cache:
    """The kept results of one project and location."""

    def __init__(self, folder: Path, lineage: Lineage) -> None:
        self._folder = folder
        self._lineage = lineage

    def find(self, key: str) -> Outcome | None:
        """Return what a task with this key gave; None when there is none, or what it gave is gone."""
        try:
            kept = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            outcome = Outcome.from_json(kept["outcome"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        names = [artifact["name"] for found in outcome.artifacts.values() for artifact in found]
        if not self._lineage.exists("Execution", kept["execution"]):
            return None
        if not all(self._lineage.exists("Artifact", name) for name in names):
            return None
        return Outcome(CACHED, outcome.parameters, outcome.artifacts)

    def keep(self, key: str, execution: str, outcome: Outcome) -> None:
        """Keep what a task has given."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{key}.json"
        new = path.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps({"execution": execution, "outcome": outcome.as_json()}), encoding="utf-8")
        new.replace(path)


def key_of(pipeline: str, step: Step) -> str:
    """Return the key of a task."""
    component = step.component
    outputs: dict[str, Any] = {
        "parameters": dict(component.output_parameters),
        "artifacts": {name: dict(slot.type) for name, slot in component.output_artifacts.items()},
    }
    what = {
        "pipeline": pipeline,
        "parameters": dict(step.parameters),
        "artifacts": {name: [artifact["name"] for artifact in found] for name, found in step.artifacts.items()},
        "outputs": outputs,
        "runs": component.executor,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()
