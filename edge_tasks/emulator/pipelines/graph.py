"""The run of a pipeline's graph: which task comes when, with which inputs, and what the graph gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from typing import Any, Protocol, TypeVar

from edge_tasks.emulator.errors import Code
from edge_tasks.emulator.pipelines import ir, placeholders, values
from edge_tasks.emulator.pipelines.conditions import ConditionError, compile_condition
from edge_tasks.emulator.pipelines.steps import DONE, FAILED, NOT_TRIGGERED, Artifacts, Outcome, Step

T = TypeVar("T")
# Vertex AI's own limit: https://cloud.google.com/vertex-ai/docs/quotas#pipelines
MOST_ITERATIONS = 10_000


class Worker(Protocol):
    """What does the work of a run's tasks, and keeps account of them."""

    async def execute(self, step: Step) -> Outcome:
        """Do what a task's executor says; its failure is an outcome."""

    def names(self, step: Step) -> Mapping[str, str]:
        """Return the placeholders of the job and of a task: {pipeline_task_name: ...}."""

    def begin(self, step: Step) -> None:
        """Note that a task that is a graph has begun."""

    def end(self, step: Step, outcome: Outcome) -> None:
        """Note how a task ended that is a graph, or that was never begun."""


class GraphRun:
    """One run of a pipeline; `job` is its resource name. With `fails_fast` nothing new is begun once a task failed."""

    def __init__(self, pipeline: ir.Pipeline, worker: Worker, job: str, *, fails_fast: bool = False) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._job = job
        self._fails_fast = fails_fast
        self._has_failed = False

    async def run(self, parameters: Mapping[str, Any], artifacts: Artifacts) -> Outcome:
        """Run the whole pipeline. Cancelling this ends the tasks."""
        return await self._graph(Step("", "", self._pipeline.root, parameters, artifacts))

    async def _graph(self, step: Step) -> Outcome:
        graph = step.component.graph
        assert graph is not None
        running: dict[str, asyncio.Task[Outcome]] = {}
        order = TopologicalSorter({name: task.upstream for name, task in graph.tasks.items()}).static_order()
        for name in order:
            task = graph.tasks[name]
            upstream = {each: running[each] for each in task.upstream}
            running[name] = asyncio.ensure_future(self._follow(step, task, upstream))
        outcomes = dict(zip(running, await _together(running.values()), strict=True))
        failed = tuple(name for name in graph.tasks if outcomes[name].state == FAILED)
        if failed:
            message = f"The DAG failed because some tasks failed. The failed tasks are: [{', '.join(failed)}]."
            return Outcome(FAILED, code=Code.FAILED_PRECONDITION.number, message=message, failed=failed)
        return Outcome(DONE, _given_parameters(graph, outcomes), _given_artifacts(graph, outcomes))

    async def _follow(self, step: Step, task: ir.Task, upstream: Mapping[str, asyncio.Task[Outcome]]) -> Outcome:
        """Wait for what a task depends on, and run it if it is to run."""
        before = dict(zip(upstream, [await each for each in upstream.values()], strict=True))
        child = step.child(task.name, self._pipeline.component_of(task), task, {}, {})
        waits_for_success = task.strategy != ir.COMPLETED
        if waits_for_success and (
            (self._fails_fast and self._has_failed) or not all(outcome.well for outcome in before.values())
        ):
            return self._not_triggered(child)
        try:
            parameters, artifacts = self._inputs(step, child, task, before)
            if task.condition and not compile_condition(task.condition)(parameters):
                return self._not_triggered(child)
            if task.iterator is not None:
                items = _items(task, parameters, artifacts)
        except (ConditionError, values.ValueTypeError, placeholders.PlaceholderError) as error:
            outcome = Outcome(FAILED, code=Code.INVALID_ARGUMENT.number, message=str(error))
            self._worker.end(child, outcome)
        else:
            child = step.child(task.name, child.component, task, parameters, artifacts)
            outcome = await (self._run(child) if task.iterator is None else self._loop(child, items))
        self._has_failed = self._has_failed or outcome.state == FAILED
        return outcome

    def _not_triggered(self, step: Step) -> Outcome:
        outcome = Outcome(NOT_TRIGGERED)
        self._worker.end(step, outcome)
        return outcome

    async def _run(self, step: Step) -> Outcome:
        if step.component.graph is None:
            return await self._worker.execute(step)
        self._worker.begin(step)
        outcome = await self._graph(step)
        self._worker.end(step, outcome)
        return outcome

    async def _loop(self, step: Step, items: list[Any]) -> Outcome:
        """Run a task once for each item, as many at once as it allows, and collect the outputs in their order."""
        task = step.task
        assert task is not None
        assert task.iterator is not None
        item_input = task.iterator["itemInput"]
        room = asyncio.Semaphore(task.parallelism or len(items) or 1)
        self._worker.begin(step)

        async def one(index: int, item: Any) -> Outcome:
            parameters, artifacts = dict(step.parameters), dict(step.artifacts)
            if task.iterates_artifacts:
                artifacts[item_input] = [item]
            else:
                kind = step.component.parameters[item_input].kind if item_input in step.component.parameters else ""
                parameters[item_input] = values.cast(kind, item, item_input)
            child = step.child(f"{task.name}-{index}", step.component, task, parameters, artifacts)
            async with room:
                if self._fails_fast and self._has_failed:
                    return self._not_triggered(child)
                try:
                    outcome = await self._run(child)
                except values.ValueTypeError as error:
                    outcome = Outcome(FAILED, code=Code.INVALID_ARGUMENT.number, message=str(error))
                self._has_failed = self._has_failed or outcome.state == FAILED
                return outcome

        outcomes = await _together([asyncio.ensure_future(one(*each)) for each in enumerate(items)])
        failed = tuple(f"{task.name}-{index}" for index, outcome in enumerate(outcomes) if outcome.state == FAILED)
        if failed:
            message = f"The DAG failed because some tasks failed. The failed tasks are: [{', '.join(failed)}]."
            outcome = Outcome(FAILED, code=Code.FAILED_PRECONDITION.number, message=message, failed=failed)
        else:
            outcome = _collected(step.component, outcomes)
        self._worker.end(step, outcome)
        return outcome

    def _inputs(
        self, step: Step, child: Step, task: ir.Task, before: Mapping[str, Outcome]
    ) -> tuple[dict[str, Any], Artifacts]:
        """Return the values of the inputs of a task of `step`; the loop's own item comes later."""
        component, names = child.component, self._worker.names(child)
        artifacts: Artifacts = {}
        for name, source in task.artifacts.items():
            found = self._artifact(step, source, before)
            if found is not None:
                artifacts[name] = found
        parameters: dict[str, Any] = {}
        constants = {}
        for name, source in task.parameters.items():
            if "runtimeValue" in source:
                constants[name] = source["runtimeValue"].get("constant")
            else:
                value = self._parameter(step, source, before)
                if value is not None and "parameterExpressionSelector" in source:
                    value = values.selected(source["parameterExpressionSelector"], value)
                if value is not None:
                    parameters[name] = value
        # A constant may be a text that names the other inputs.
        seen = {"inputs": {"parameterValues": dict(parameters), "artifacts": _executor_artifacts(artifacts)}}
        for name, constant in constants.items():
            parameters[name] = placeholders.resolve_all(constant, seen, names)
        for name, parameter in component.parameters.items():
            if parameters.get(name) is None and parameter.default is not None:
                # Google's operators have the pipeline's own project and location as defaults.
                parameters[name] = placeholders.resolve_all(parameter.default, seen, names)
            if parameters.get(name) is not None:
                parameters[name] = values.cast(parameter.kind, parameters[name], name)
        self._check_complete(task, component, parameters, artifacts)
        return parameters, artifacts

    def _check_complete(
        self, task: ir.Task, component: ir.Component, parameters: Mapping[str, Any], artifacts: Artifacts
    ) -> None:
        item = (task.iterator or {}).get("itemInput")
        for name, parameter in component.parameters.items():
            # Groups are handed more than they read; an executor is not.
            if component.graph is None and not parameter.optional and parameters.get(name) is None and name != item:
                raise values.ValueTypeError(f"The input parameter {name!r} of the task {task.name!r} has no value.")
        for name, slot in component.artifacts.items():
            if component.graph is None and not slot.optional and name not in artifacts and name != item:
                raise values.ValueTypeError(f"The input artifact {name!r} of the task {task.name!r} is not there.")

    def _parameter(self, step: Step, source: Mapping[str, Any], before: Mapping[str, Outcome]) -> Any:
        if "componentInputParameter" in source:
            return step.parameters.get(source["componentInputParameter"])
        if "taskOutputParameter" in source:
            output = source["taskOutputParameter"]
            return before[output["producerTask"]].parameters.get(output["outputParameterKey"])
        if "taskFinalStatus" in source:
            producer = source["taskFinalStatus"]["producerTask"]
            outcome = before[producer]
            return {
                "state": outcome.state if outcome.state != "SKIPPED" else DONE,
                "pipelineJobResourceName": self._job,
                "pipelineTaskName": producer,
                "error": {"code": outcome.code, "message": outcome.message} if outcome.message else {},
            }
        raise values.ValueTypeError(f"The source of an input is not known: {', '.join(source)}.")

    def _artifact(
        self, step: Step, source: Mapping[str, Any], before: Mapping[str, Outcome]
    ) -> list[dict[str, Any]] | None:
        if "componentInputArtifact" in source:
            return step.artifacts.get(source["componentInputArtifact"])
        if "taskOutputArtifact" in source:
            output = source["taskOutputArtifact"]
            return before[output["producerTask"]].artifacts.get(output["outputArtifactKey"])
        raise values.ValueTypeError(f"The source of an input is not known: {', '.join(source)}.")


async def _together(tasks: Iterable[asyncio.Task[T]]) -> list[T]:
    """Return what all tasks give; one that is cancelled, or breaks, ends the others first."""
    tasks = list(tasks)
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _items(task: ir.Task, parameters: Mapping[str, Any], artifacts: Artifacts) -> list[Any]:
    """Return what a loop goes over."""
    assert task.iterator is not None
    source = task.iterator.get("items") or {}
    if task.iterates_artifacts:
        return artifacts.get(source.get("inputArtifact", ""), [])
    found = source["raw"] if "raw" in source else parameters.get(source.get("inputParameter", ""))
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if not isinstance(found, list):
        raise values.ValueTypeError(f"The loop {task.name!r} goes over what is not a list.")
    if len(found) > MOST_ITERATIONS:
        raise values.ValueTypeError(f"The loop {task.name!r} has more than {MOST_ITERATIONS} items.")
    return list(values.whole(found))


def _collected(component: ir.Component, outcomes: list[Outcome]) -> Outcome:
    parameters = {
        name: [outcome.parameters[name] for outcome in outcomes if name in outcome.parameters]
        for name in component.output_parameters
    }
    artifacts = {
        name: [artifact for outcome in outcomes for artifact in outcome.artifacts.get(name, [])]
        for name in component.output_artifacts
    }
    return Outcome(DONE, parameters, artifacts)


def _given_parameters(graph: ir.Graph, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    found = {}
    for name, source in graph.parameter_outputs.items():
        selectors = (source.get("valueFromOneof") or {}).get("parameterSelectors") or [source.get("valueFromParameter")]
        for selector in filter(None, selectors):
            outcome = outcomes.get(selector["producerSubtask"])
            if outcome is not None and selector["outputParameterKey"] in outcome.parameters:
                found[name] = outcome.parameters[selector["outputParameterKey"]]
                break
    return found


def _given_artifacts(graph: ir.Graph, outcomes: Mapping[str, Outcome]) -> Artifacts:
    found: Artifacts = {}
    for name, source in graph.artifact_outputs.items():
        for selector in source.get("artifactSelectors") or []:
            outcome = outcomes.get(selector["producerSubtask"])
            if outcome is not None and selector["outputArtifactKey"] in outcome.artifacts:
                found[name] = outcome.artifacts[selector["outputArtifactKey"]]
                break
    return found


def _executor_artifacts(artifacts: Artifacts) -> dict[str, Any]:
    return {name: {"artifacts": found} for name, found in artifacts.items()}
