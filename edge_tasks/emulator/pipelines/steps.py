"""A task of a run, with the values that go in, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from edge_tasks.emulator.pipelines.ir import Component, Task

# An artifact as a task gets it: {name, uri, metadata, type}; one input or output is a list of them.
Artifacts: TypeAlias = dict[str, list[dict[str, Any]]]

# The states of tasks that clients see: PipelineTaskDetail.State. A task that the cache answers is SKIPPED.
RUNNING, DONE, CACHED, FAILED = "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED"
CANCELLED, NOT_TRIGGERED = "CANCELLED", "NOT_TRIGGERED"
WELL = frozenset({DONE, CACHED})


@dataclass(frozen=True)
class Step:
    """A task of a run. `path` is its unique name: the names of all tasks above it and its own, joined by points."""

    path: str
    name: str
    component: Component
    parameters: Mapping[str, Any]
    artifacts: Artifacts
    parent: Step | None = None
    task: Task | None = None

    def child(
        self, name: str, component: Component, task: Task, parameters: Mapping[str, Any], artifacts: Artifacts
    ) -> Step:
        """Return a task of this one's graph."""
        path = f"{self.path}.{name}" if self.path else name
        return Step(path, name, component, parameters, artifacts, self, task)


@dataclass(frozen=True)
class Outcome:
    """What came of a task. `code` is the number of a google.rpc.Code; `failed` are the tasks of a graph that failed."""

    state: str
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: Artifacts = field(default_factory=dict)
    code: int = 0
    message: str = ""
    failed: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether the task has done its work, now or earlier."""
        return self.state in WELL

    def as_json(self) -> dict[str, Any]:
        """Return it to be kept; see `from_json`."""
        return {**asdict(self), "failed": list(self.failed)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Outcome:
        """Return what `as_json` gave."""
        return cls(**{**kept, "failed": tuple(kept["failed"])})
