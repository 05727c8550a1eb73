"""What the tasks of a pipeline do: containers and Python components as custom jobs, importers, Google's operators.

https://cloud.google.com/vertex-ai/docs/pipelines/introduction

Vertex AI, too, runs each container of a task as a custom job, whose name is in the task's details and whose log is that
of a job.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code
from edge_tasks.emulator.pipelines import ir, placeholders, python_component, values
from edge_tasks.emulator.pipelines.steps import CANCELLED, DONE, FAILED, Artifacts, Outcome, Step
from edge_tasks.emulator.projects import project_number
from edge_tasks.emulator.runtime import image_contents, images, packages
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.runtime.environments import MakeError
from edge_tasks.emulator.services import pipeline_lineage
from edge_tasks.emulator.services.machines import machine_with
from edge_tasks.emulator.services.names import project_and_location
from edge_tasks.emulator.services.pipeline_cache import Cache, key_of
from edge_tasks.emulator.services.pipeline_operators import Call

if TYPE_CHECKING:
    from edge_tasks.emulator.runtime.kfp_library import KfpLibrary
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.jobs import Jobs
    from edge_tasks.emulator.services.pipeline_details import Details
    from edge_tasks.emulator.services.pipeline_operators import Operators

# Vertex AI's machine for a task that asks for none.
MACHINE = "e2-standard-4"
BILLING = "vertex-ai-pipelines-run-billing-id"
MODULE = "ephemeral_component.py"
INPUTS = "VERTEX_EMULATOR_INPUTS"


@dataclass(frozen=True)
class Parts:
    """What all runs share: `slots` are as many tasks as this machine does at once."""

    context: Context
    jobs: Jobs
    operators: Operators
    library: KfpLibrary
    slots: asyncio.Semaphore


class TaskWorker:
    """Does the work of one pipeline job's tasks.

    `names` are the job's placeholders, `folder` is for what its tasks need as files, `run_context` the job's context in
    the metadata store.
    """

    def __init__(
        self,
        parts: Parts,
        pipeline: ir.Pipeline,
        job: str,
        root: str,
        folder: Path,
        names: Mapping[str, str],
        details: Details,
        lineage: pipeline_lineage.Lineage,
        run_context: str,
    ) -> None:
        self._parts = parts
        self._pipeline = pipeline
        self._job = job
        self._parent = job.rpartition("/pipelineJobs/")[0]
        self._root = root.rstrip("/")
        self._folder = folder
        self._names = names
        self._details = details
        self._lineage = lineage
        self._run_context = run_context
        place = "-".join(project_and_location(job))
        self._cache = Cache(parts.context.data / "pipelines" / "cache" / place, lineage)

    def begin(self, step: Step) -> None:
        """Note that a task that is a graph has begun."""
        self._details.add(step)
        execution = self._details.execution(step) or self._begin_execution(step, pipeline_lineage.GRAPH)
        self._details.begin(step, execution)

    def end(self, step: Step, outcome: Outcome) -> None:
        """Note how a task ended that is a graph, or that was never begun."""
        execution = self._details.execution(step)
        if execution and outcome.state in pipeline_lineage.EXECUTION_STATES:
            self._lineage.end(self._run_context, execution, outcome)
        self._details.end(step, outcome)

    async def execute(self, step: Step) -> Outcome:
        """Do what a task's executor says, again if it may be tried again; its failure is an outcome."""
        kept = self._details.kept(step)
        if kept is not None:
            return kept
        self._details.add(step)
        try:
            async with self._parts.slots:
                outcome = await self._answer(step)
        except asyncio.CancelledError:
            if self._is_cancelled():
                self.end(step, Outcome(CANCELLED, code=Code.CANCELLED.number, message="The task was cancelled."))
            raise
        return outcome

    async def _answer(self, step: Step) -> Outcome:
        executor = step.component.executor
        is_importer = "importer" in executor
        key = ""
        if step.task is not None and step.task.cached and not is_importer:
            key = key_of(self._pipeline.name, step)
            found = self._cache.find(key)
            if found is not None:
                self._details.begin(step, self._begin_execution(step, pipeline_lineage.CONTAINER))
                self.end(step, found)
                return found
        schema = pipeline_lineage.IMPORTER if is_importer else pipeline_lineage.CONTAINER
        execution = self._begin_execution(step, schema)
        self._details.begin(step, execution)
        outcome = await self._attempts(step)
        if outcome.state == DONE:
            self._lineage.store(outcome.artifacts)
            if key:
                self._cache.keep(key, execution, outcome)
        self.end(step, outcome)
        return outcome

    async def _attempts(self, step: Step) -> Outcome:
        retry = step.task.retry if step.task is not None else ir.Retry()
        attempt = 0
        while True:
            try:
                return await self._once(step)
            except (ApiError, packages.PackageError, MakeError) as error:
                code = error.code if isinstance(error, ApiError) else Code.FAILED_PRECONDITION
                failure = Outcome(FAILED, code=code.number, message=str(error))
            except (placeholders.PlaceholderError, values.ValueTypeError) as error:
                return Outcome(FAILED, code=Code.INVALID_ARGUMENT.number, message=str(error))
            attempt += 1
            if attempt > retry.most:
                return failure
            await asyncio.sleep(retry.seconds(attempt))

    async def _once(self, step: Step) -> Outcome:
        executor = step.component.executor
        if "importer" in executor:
            return self._import(step)
        container = executor.get("container")
        if not container:
            raise ApiError(
                Code.UNIMPLEMENTED, f"Executors of the kind {', '.join(executor)} are not implemented by this emulator."
            )
        executor_input = self._executor_input(step)
        operator = self._parts.operators.find(container)
        if operator is not None:
            words = self._words(container, executor_input, step)
            labels = {BILLING: self._names["pipeline_job_uuid"]}
            tell = functools.partial(self._details.note_job, step)
            given = await operator(Call(self._parent, words, executor_input, labels, tell))
            return self._outcome(step, executor_input, given)
        await self._run_job(step, container, executor_input)
        return await asyncio.to_thread(self._read_outcome, step, executor_input)

    def _words(self, container: Mapping[str, Any], executor_input: dict[str, Any], step: Step) -> list[str]:
        parts = [*(container.get("command") or []), *(container.get("args") or [])]
        return placeholders.words(parts, executor_input, self.names(step))

    async def _run_job(self, step: Step, container: Mapping[str, Any], executor_input: dict[str, Any]) -> None:
        """Run a task's container as a custom job; ApiError when that fails."""
        surface = self._parts.context.surface
        job = surface.new("CustomJob", display_name=f"{step.name[:100]}-{self._details.task_id(step)}"[:128])
        job.labels[BILLING] = self._names["pipeline_job_uuid"]
        pool = job.job_spec.worker_pool_specs.add(replica_count=1)
        pool.machine_spec.machine_type = MACHINE
        _accelerate(surface, pool, container.get("resources") or {})
        spec, names = pool.container_spec, self.names(step)
        spec.image_uri = placeholders.resolve(container.get("image") or "", executor_input, names)
        spec.command.extend(placeholders.words(list(container.get("command") or []), executor_input, names))
        spec.args.extend(placeholders.words(list(container.get("args") or []), executor_input, names))
        for variable in container.get("env") or []:
            value = placeholders.resolve(str(variable.get("value") or ""), executor_input, names)
            spec.env.add(name=variable["name"], value=value)
        labels = {BILLING: self._names["pipeline_job_uuid"]}
        spec.env.add(name="VERTEX_AI_PIPELINES_RUN_LABELS", value=json.dumps(labels))
        inputs = [artifact["uri"] for found in step.artifacts.values() for artifact in found]
        if inputs:
            # A container gets what its words and variables name below /gcs, and inputs are named by gs://.
            spec.env.add(name=INPUTS, value=" ".join(map(placeholders.path_of, inputs)))
        await self._shorten(spec)
        await self._parts.jobs.check_spec(job.job_spec, self._parent)
        started = self._parts.jobs.start(self._parent, job)
        self._details.note_job(step, started.name)
        ended = await self._parts.jobs.ended(started.name)
        if ended.HasField("error"):
            self._details.note_job(step, started.name, failed=True)
            raise ApiError(Code.of(ended.error.code), ended.error.message)

    async def _shorten(self, spec: Any) -> None:
        """Let a lightweight Python component start without the shell and the pip that prepare it in a container."""
        component = python_component.read(list(spec.command))
        if component is None or not images.runs_local_python(spec.image_uri):
            return
        python = await asyncio.to_thread(self._python, spec.image_uri, component)
        library = await asyncio.to_thread(self._parts.library.find, component.kfp)
        name = hashlib.sha256(component.source.encode()).hexdigest()[:16]
        module = self._folder / name / MODULE
        if not module.is_file():
            module.parent.mkdir(parents=True, exist_ok=True)
            module.write_text(component.source, encoding="utf-8")
        spec.command[:] = [python, "-m", "kfp.dsl.executor_main", "--component_module_path", str(module)]
        spec.env.add(name="_KFP_RUNTIME", value="true")
        spec.env.add(name="PYTHONPATH", value=str(library.folder))

    def _python(self, image: str, component: python_component.PythonComponent) -> str:
        """Return a Python that has what a component requires: the job's own, else one of an environment for it."""
        environments, problem = self._parts.context.environments, None
        if not component.requirements:
            return "python3"
        if not environments.isolated:
            try:
                packages.check(component.requirements, "The component", self._folder / "site")
            except packages.PackageError as error:
                problem = error
            else:
                return "python3"
        contents = image_contents.of_training(image)
        try:
            made = environments.ensure(
                contents._replace(requirements=component.requirements, options=component.options)
            )
        except MakeError as error:
            raise MakeError(
                f"{problem}\nNor can an environment be made for it: {error}" if problem else str(error)
            ) from error
        return str(made.python)

    def _executor_input(self, step: Step) -> dict[str, Any]:
        """Return what a task is told, an ExecutorInput.

        https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto
        """
        folder = self._output_folder(step)
        path = placeholders.path_of(folder)
        outputs: dict[str, Any] = {"outputFile": f"{path}/executor_output.json"}
        if step.component.output_parameters:
            outputs["parameters"] = {
                name: {"outputFile": f"{path}/{name}"} for name in step.component.output_parameters
            }
        if step.component.output_artifacts:
            outputs["artifacts"] = {
                name: {
                    "artifacts": [
                        {
                            "name": self._lineage.new_name(),
                            "uri": f"{folder}/{name}",
                            "metadata": {},
                            "type": dict(slot.type),
                        }
                    ]
                }
                for name, slot in step.component.output_artifacts.items()
            }
        inputs: dict[str, Any] = {"parameterValues": dict(step.parameters)}
        if step.artifacts:
            inputs["artifacts"] = {name: {"artifacts": found} for name, found in step.artifacts.items()}
        return {"inputs": inputs, "outputs": outputs}

    def _output_folder(self, step: Step) -> str:
        project, _ = project_and_location(self._job)
        job_id = self._job.rpartition("/")[2]
        return f"{self._root}/{project_number(project)}/{job_id}/{step.name}_{self._details.task_id(step)}"

    def names(self, step: Step) -> Mapping[str, str]:
        """Return the placeholders of the job and of a task."""
        return {
            **self._names,
            "pipeline_task_name": step.name,
            "pipeline_task_uuid": self._details.task_id(step),
        }

    def _read_outcome(self, step: Step, executor_input: dict[str, Any]) -> Outcome:
        """Read what a task has left in its bucket. This blocks."""
        text = self._read(executor_input["outputs"]["outputFile"])
        given = {}
        if text is not None:
            try:
                given = json.loads(text)
            except ValueError:
                raise ApiError(Code.FAILED_PRECONDITION, "The task's executor_output.json is not JSON.") from None
        written = dict(given.get("parameterValues") or {})
        for name, kind in step.component.output_parameters.items():
            content = (
                self._read(executor_input["outputs"]["parameters"][name]["outputFile"]) if name not in written else None
            )
            if content is not None:
                written[name] = values.parsed(kind, content, name)
        return self._outcome(step, executor_input, {**given, "parameterValues": written})

    def _outcome(self, step: Step, executor_input: dict[str, Any], given: Mapping[str, Any]) -> Outcome:
        parameters = {
            name: values.typed(step.component.output_parameters[name], value, name)
            for name, value in (given.get("parameterValues") or {}).items()
            if name in step.component.output_parameters
        }
        artifacts: Artifacts = {}
        told = given.get("artifacts") or {}
        for name, planned in (executor_input["outputs"].get("artifacts") or {}).items():
            slot = step.component.output_artifacts[name]
            found = (told.get(name) or {}).get("artifacts") or ([] if slot.is_list else [{}])
            artifacts[name] = [
                _merged(planned["artifacts"][0], artifact, self._lineage.new_name() if index else "")
                for index, artifact in enumerate(found)
            ]
        return Outcome(DONE, parameters, artifacts)

    def _read(self, path: str) -> str | None:
        location = parse_uri(f"gs://{path.removeprefix('/gcs/')}", "outputFile")
        content = self._parts.context.storage.read(location.bucket, location.path)
        return None if content is None else content.decode("utf-8", "replace")

    def _import(self, step: Step) -> Outcome:
        """Make an artifact of what is there already, or find the one that was made of it."""
        spec = step.component.executor["importer"]
        seen = {"inputs": {"parameterValues": dict(step.parameters)}, "outputs": {"outputFile": ""}}
        names = self.names(step)
        source = spec.get("artifactUri") or {}
        uri = (
            step.parameters.get(source["runtimeParameter"]) if "runtimeParameter" in source else source.get("constant")
        )
        uri = step.parameters.get("uri") or uri
        uri = placeholders.resolve(str(uri or ""), seen, names)
        if not uri:
            raise ApiError(Code.INVALID_ARGUMENT, f"The importer {step.name!r} has no artifact_uri.")
        (output, slot), *_ = step.component.output_artifacts.items()
        metadata = placeholders.resolve_all(values.whole(spec.get("metadata") or {}), seen, names)
        kind = {**slot.type, **(spec.get("typeSchema") or {})}
        found = None if spec.get("reimport") else self._lineage.find(uri, kind.get("schemaTitle", ""))
        artifact = pipeline_lineage.as_value(found) if found is not None else None
        if artifact is None or (metadata and artifact["metadata"] != metadata):
            artifact = {"name": self._lineage.new_name(), "uri": uri, "metadata": metadata, "type": kind}
        return Outcome(DONE, {}, {output: [artifact]})

    def _begin_execution(self, step: Step, schema: str) -> str:
        return self._lineage.begin(self._run_context, step.name, schema, step.parameters, step.artifacts)

    def _is_cancelled(self) -> bool:
        job = self._parts.context.database.get("PipelineJob", self._job)
        return bool(job.state == self._parts.context.surface.enum_value("PipelineState", "PIPELINE_STATE_CANCELLING"))


def _accelerate(surface: Any, pool: Any, resources: Mapping[str, Any]) -> None:
    """Keep the accelerators that a task asks for where they have a name that the API knows."""
    accelerator = resources.get("accelerator") or {}
    name = str(accelerator.get("resourceType") or accelerator.get("type") or "").upper().replace("-", "_")
    count = int(float(accelerator.get("resourceCount") or accelerator.get("count") or 0))
    try:
        number = surface.enum_value("AcceleratorType", name)
    except KeyError:
        return
    if count > 0:
        pool.machine_spec.machine_type = machine_with(name, count)
        pool.machine_spec.accelerator_type, pool.machine_spec.accelerator_count = number, count


def _merged(planned: Mapping[str, Any], told: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an output artifact: as it was planned, with what the task says of it."""
    return {
        "name": name or planned["name"],
        "uri": told.get("uri") or planned["uri"],
        "metadata": values.whole(told.get("metadata") or {}),
        "type": {**planned["type"], **{key: value for key, value in (told.get("type") or {}).items() if value}},
    }
