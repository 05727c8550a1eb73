"""A compiled pipeline as read values: its components, and the tasks of each graph.

https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto, as kfp 2 writes it (IR 2.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from edge_tasks.emulator.pipelines.conditions import ConditionError, compile_condition

SUCCEEDED, COMPLETED = "ALL_UPSTREAM_TASKS_SUCCEEDED", "ALL_UPSTREAM_TASKS_COMPLETED"
PARAMETER_TYPES = frozenset(
    {"NUMBER_DOUBLE", "NUMBER_INTEGER", "STRING", "BOOLEAN", "LIST", "STRUCT", "TASK_FINAL_STATUS", "TASK_CONFIG"}
)
SUPPORTED = re.compile(r"2\.1\.\d+")
MOST_LEVELS = 30


class SpecError(ValueError):
    """A pipeline spec is not one."""


class UnsupportedError(SpecError):
    """A pipeline spec asks for what this emulator does not do."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a component takes."""

    kind: str
    default: Any = None
    optional: bool = False


@dataclass(frozen=True)
class ArtifactSlot:
    """An artifact that a component takes or gives; `type` as in the spec: {schemaTitle, schemaVersion}."""

    type: Mapping[str, str]
    is_list: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Retry:
    """How often a failed task is tried again, and how long it waits, in seconds."""

    most: int = 0
    wait: float = 0.0
    factor: float = 2.0
    longest_wait: float = 3600.0

    def seconds(self, attempt: int) -> float:
        """Return the wait before the attempt with this number; the first retry has number 1."""
        return min(self.wait * self.factor ** (attempt - 1), self.longest_wait)


@dataclass(frozen=True)
class Task:
    """One task of a graph. `parameters` and `artifacts` are the sources of its inputs, as in the spec."""

    name: str
    component: str
    display_name: str
    parameters: Mapping[str, Mapping[str, Any]]
    artifacts: Mapping[str, Mapping[str, Any]]
    upstream: frozenset[str]
    condition: str = ""
    strategy: str = SUCCEEDED
    iterator: Mapping[str, Any] | None = None
    iterates_artifacts: bool = False
    parallelism: int = 0
    cached: bool = False
    retry: Retry = Retry()


@dataclass(frozen=True)
class Graph:
    """The tasks of a component that consists of others, and where its outputs come from."""

    tasks: Mapping[str, Task]
    parameter_outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    artifact_outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Component:
    """What a task does: its signature, and either a graph or an executor as in the spec."""

    name: str
    parameters: Mapping[str, Parameter]
    artifacts: Mapping[str, ArtifactSlot]
    output_parameters: Mapping[str, str]
    output_artifacts: Mapping[str, ArtifactSlot]
    graph: Graph | None = None
    executor: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline."""

    name: str
    root: Component
    components: Mapping[str, Component]
    default_root: str = ""

    def component_of(self, task: Task) -> Component:
        """Return what a task does."""
        return self.components[task.component]

    @cached_property
    def executors(self) -> list[Mapping[str, Any]]:
        """The executors that tasks of this pipeline use."""
        return [component.executor for component in self.components.values() if component.graph is None]


def read(spec: Mapping[str, Any]) -> Pipeline:
    """Read a pipeline spec and check that all it names is there; SpecError says what is not."""
    version = str(spec.get("schemaVersion") or "")
    if not SUPPORTED.fullmatch(version):
        raise UnsupportedError(
            f"A pipeline_spec of schema_version {version or '(none)'} is not implemented by this emulator: it runs"
            " 2.1, which kfp 2 writes. Compile the pipeline with kfp 2."
        )
    if spec.get("platforms"):
        raise UnsupportedError(
            f"The extensions for {', '.join(sorted(spec['platforms']))} in a pipeline_spec (secrets, volumes, node"
            " selectors) are not implemented by this emulator: there is no cluster. Vertex AI ignores them, too."
        )
    try:
        return _read(spec)
    except (AttributeError, TypeError) as error:
        raise SpecError(f"pipeline_spec cannot be read: {error}") from None


def _read(spec: Mapping[str, Any]) -> Pipeline:
    name = (spec.get("pipelineInfo") or {}).get("name")
    if not name:
        raise SpecError("pipeline_spec.pipeline_info.name is required.")
    executors = (spec.get("deploymentSpec") or {}).get("executors") or {}
    components = {key: _component(key, value or {}, executors) for key, value in (spec.get("components") or {}).items()}
    if not spec.get("root"):
        raise SpecError("pipeline_spec.root is required.")
    root = _component("root", spec["root"], executors)
    if root.graph is None:
        raise SpecError("pipeline_spec.root must have a dag.")
    pipeline = Pipeline(name, root, components, str(spec.get("defaultPipelineRoot") or ""))
    _check_graph(pipeline, root, ())
    return pipeline


def _component(name: str, spec: Mapping[str, Any], executors: Mapping[str, Any]) -> Component:
    inputs, outputs = spec.get("inputDefinitions") or {}, spec.get("outputDefinitions") or {}
    executor: Mapping[str, Any] = {}
    graph = None
    if spec.get("dag"):
        graph = _graph(name, spec["dag"])
    else:
        label = str(spec.get("executorLabel") or "")
        if label not in executors:
            raise SpecError(f"The component {name!r} has neither a dag nor an executor: {label!r} is not there.")
        executor = executors[label] or {}
    return Component(
        name=name,
        parameters={key: _parameter(name, key, value) for key, value in (inputs.get("parameters") or {}).items()},
        artifacts={key: _slot(value) for key, value in (inputs.get("artifacts") or {}).items()},
        output_parameters={
            key: _parameter(name, key, value).kind for key, value in (outputs.get("parameters") or {}).items()
        },
        output_artifacts={key: _slot(value) for key, value in (outputs.get("artifacts") or {}).items()},
        graph=graph,
        executor=executor,
    )


def _parameter(component: str, name: str, spec: Mapping[str, Any]) -> Parameter:
    kind = spec.get("parameterType")
    if kind not in PARAMETER_TYPES:
        raise SpecError(f"The parameter {name!r} of the component {component!r} has an unknown type: {kind!r}.")
    optional = bool(spec.get("isOptional")) or "defaultValue" in spec
    return Parameter(kind, spec.get("defaultValue"), optional)


def _slot(spec: Mapping[str, Any]) -> ArtifactSlot:
    kind = dict(spec.get("artifactType") or {})
    if "instanceSchema" in kind and "schemaTitle" not in kind:
        found = re.search(r"^title:\s*(\S+)", str(kind.pop("instanceSchema")), flags=re.MULTILINE)
        kind["schemaTitle"] = found[1] if found else "system.Artifact"
    kind.setdefault("schemaTitle", "system.Artifact")
    kind.setdefault("schemaVersion", "0.0.1")
    return ArtifactSlot(kind, bool(spec.get("isArtifactList")), bool(spec.get("isOptional")))


def _graph(component: str, spec: Mapping[str, Any]) -> Graph:
    outputs = spec.get("outputs") or {}
    tasks = {name: _task(component, name, task or {}) for name, task in (spec.get("tasks") or {}).items()}
    return Graph(tasks, outputs.get("parameters") or {}, outputs.get("artifacts") or {})


def _task(component: str, name: str, spec: Mapping[str, Any]) -> Task:
    inputs = spec.get("inputs") or {}
    parameters, artifacts = inputs.get("parameters") or {}, inputs.get("artifacts") or {}
    trigger = spec.get("triggerPolicy") or {}
    if trigger.get("condition"):
        try:
            compile_condition(trigger["condition"])
        except ConditionError as error:
            raise SpecError(f"The task {name!r} of {component!r}: {error}") from None
    iterator = spec.get("parameterIterator") or spec.get("artifactIterator")
    return Task(
        name=name,
        component=(spec.get("componentRef") or {}).get("name") or "",
        display_name=(spec.get("taskInfo") or {}).get("name") or name,
        parameters=parameters,
        artifacts=artifacts,
        upstream=frozenset([*(spec.get("dependentTasks") or []), *_producers(parameters), *_producers(artifacts)]),
        condition=trigger.get("condition") or "",
        strategy=trigger.get("strategy") or SUCCEEDED,
        iterator=iterator,
        iterates_artifacts=bool(spec.get("artifactIterator")),
        parallelism=int((spec.get("iteratorPolicy") or {}).get("parallelismLimit") or 0),
        cached=bool((spec.get("cachingOptions") or {}).get("enableCache")),
        retry=_retry(spec.get("retryPolicy") or {}),
    )


def _producers(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for source in sources.values():
        for kind in ("taskOutputParameter", "taskOutputArtifact", "taskFinalStatus"):
            if kind in source:
                yield source[kind].get("producerTask") or ""


def _retry(spec: Mapping[str, Any]) -> Retry:
    defaults = Retry()
    return Retry(
        most=int(spec.get("maxRetryCount") or 0),
        wait=_seconds(spec.get("backoffDuration"), defaults.wait),
        factor=float(spec.get("backoffFactor") or defaults.factor),
        longest_wait=_seconds(spec.get("backoffMaxDuration"), defaults.longest_wait),
    )


def _seconds(text: Any, default: float) -> float:
    """Read a duration as JSON has it: `30s`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(text or ""))
    return float(match[1]) if match else default


def _check_graph(pipeline: Pipeline, component: Component, above: tuple[str, ...]) -> None:
    """Refuse a graph with a circle, or one that names what is not there; so with all graphs below it."""
    if component.name in above or len(above) > MOST_LEVELS:
        raise SpecError(f"The component {component.name!r} contains itself, or is nested too deeply.")
    assert component.graph is not None
    tasks = component.graph.tasks
    for task in tasks.values():
        if task.component not in pipeline.components:
            raise SpecError(f"The task {task.name!r} names the component {task.component!r}, which is not there.")
        for missing in sorted(task.upstream - tasks.keys()):
            raise SpecError(f"The task {task.name!r} depends on the task {missing!r}, which is not there.")
        _check_inputs(component, task)
    try:
        TopologicalSorter({name: task.upstream for name, task in tasks.items()}).prepare()
    except CycleError as error:
        raise SpecError(f"The tasks of {component.name!r} wait for each other: {' -> '.join(error.args[1])}.") from None
    for task in tasks.values():
        inner = pipeline.components[task.component]
        if inner.graph is not None:
            _check_graph(pipeline, inner, (*above, component.name))


def _check_inputs(component: Component, task: Task) -> None:
    for name, source in task.parameters.items():
        given = source.get("componentInputParameter")
        if given is not None and given not in component.parameters and not _is_loop_item(given):
            raise SpecError(f"The input {name!r} of the task {task.name!r} is {given!r}, which is not there.")
    for name, source in task.artifacts.items():
        given = source.get("componentInputArtifact")
        if given is not None and given not in component.artifacts:
            raise SpecError(f"The input {name!r} of the task {task.name!r} is {given!r}, which is not there.")


def _is_loop_item(name: str) -> bool:
    # kfp hands some items of loops to groups outside of the loop, where nothing has them and nothing reads them.
    return "loop-item" in name
