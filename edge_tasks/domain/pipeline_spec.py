"""From tasks to a compiled pipeline: the intermediate representation (IR) of Kubeflow Pipelines, schema 2.1.

It is what kfp's compiler writes, and what Vertex AI Pipelines runs:
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_tasks.domain.machines import Resources
from edge_tasks.domain.pipeline_plan import METRICS_KEY, MODEL_KEY, REGISTER, TRAIN, VERSION_KEY, Task

SCHEMA_VERSION = "2.1.0"
# Whose form of the IR it is: services tell by this name which of its readers to use.
SDK_VERSION = "kfp-2.14.0"

DATASET, MODEL, METRICS, VERSION = "system.Dataset", "system.Model", "system.Metrics", "google.VertexModel"

# The parameter of a training, and of the pipeline: values that go over those of params.yaml.
PARAMETERS = "parameters"

# What a task is told besides its stage: which pipeline job it is a task of, when that was made, inputs and outputs.
RUNTIME_ARGUMENTS = (
    *("--job", "{{$.pipeline_job_resource_name}}"),
    *("--created", "{{$.pipeline_job_create_time_utc}}"),
    *("--executor_input", "{{$}}"),
)


@dataclass(frozen=True)
class Executor:
    """What runs a task: words of a command in an image, on a machine that has at least these resources."""

    image: str
    command: Sequence[str]
    args: Sequence[str]
    resources: Resources | None = None


def root_parameter(task: Task, models: Sequence[str]) -> str:
    """Return the pipeline's parameter with the values for a training: one for each model, if there are several."""
    return PARAMETERS if len(models) == 1 else f"{task.model.replace('-', '_').lower()}_{PARAMETERS}"


def document(
    name: str,
    description: str,
    tasks: Sequence[Task],
    executors: Mapping[str, Executor],
    root: str,
) -> dict[str, Any]:
    """Return the compiled pipeline, as JSON.

    `executors` has one for the name of each task; `root` is the gs:// folder for what tasks tell each other.
    """
    models = [task.model for task in tasks if task.kind == TRAIN]
    inputs = {
        root_parameter(task, models): {
            "parameterType": "STRUCT",
            "defaultValue": {},
            "isOptional": True,
            "description": f"values that go over those of params.yaml in the training of {task.model}",
        }
        for task in tasks
        if task.kind == TRAIN
    }
    return {
        "pipelineInfo": {"name": name, "description": description},
        "schemaVersion": SCHEMA_VERSION,
        "sdkVersion": SDK_VERSION,
        "defaultPipelineRoot": root,
        "components": {f"comp-{task.name}": _component(task, tasks) for task in tasks},
        "deploymentSpec": {"executors": {f"exec-{task.name}": _executor(executors[task.name]) for task in tasks}},
        "root": {
            "inputDefinitions": {"parameters": inputs},
            "dag": {"tasks": {task.name: _task(task, models) for task in tasks}},
        },
    }


def _component(task: Task, tasks: Sequence[Task]) -> dict[str, Any]:
    found: dict[str, Any] = {"executorLabel": f"exec-{task.name}"}
    kinds = {other.name: other for other in tasks}
    inputs: dict[str, Any] = {}
    if task.inputs:
        inputs["artifacts"] = {
            key: _artifact(kinds[given.producer], given.key, given.path) for key, given in task.inputs.items()
        }
    if task.kind == TRAIN:
        inputs["parameters"] = {
            PARAMETERS: {"parameterType": "STRUCT", "defaultValue": {}, "isOptional": True},
        }
    if inputs:
        found["inputDefinitions"] = inputs
    outputs = {key: _artifact(task, key, path) for key, path in task.outputs.items()}
    if task.kind == REGISTER:
        outputs = {VERSION_KEY: {"artifactType": _type(VERSION), "description": "the version in the model registry"}}
    if outputs:
        found["outputDefinitions"] = {"artifacts": outputs}
    return found


def _artifact(producer: Task, key: str, path: str) -> dict[str, Any]:
    kind = DATASET
    if producer.kind == TRAIN:
        kind = {MODEL_KEY: MODEL, METRICS_KEY: METRICS}.get(key, DATASET)
    return {"artifactType": _type(kind), "description": path}


def _type(title: str) -> dict[str, str]:
    return {"schemaTitle": title, "schemaVersion": "0.0.1"}


def _task(task: Task, models: Sequence[str]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    if task.inputs:
        inputs["artifacts"] = {
            key: {"taskOutputArtifact": {"producerTask": given.producer, "outputArtifactKey": given.key}}
            for key, given in task.inputs.items()
        }
    if task.kind == TRAIN:
        inputs["parameters"] = {PARAMETERS: {"componentInputParameter": root_parameter(task, models)}}
    producers = sorted({given.producer for given in task.inputs.values()})
    return {
        "taskInfo": {"name": task.name},
        "componentRef": {"name": f"comp-{task.name}"},
        "cachingOptions": {"enableCache": True} if task.cached else {},
        **({"inputs": inputs} if inputs else {}),
        **({"dependentTasks": producers} if producers else {}),
    }


def _executor(executor: Executor) -> dict[str, Any]:
    container: dict[str, Any] = {
        "image": executor.image,
        "command": list(executor.command),
        "args": list(executor.args),
    }
    if executor.resources is not None:
        container["resources"] = _resources(executor.resources)
    return {"container": container}


def _resources(resources: Resources) -> dict[str, Any]:
    """Return both forms of each number: readers know the older one, the text, or both."""
    found: dict[str, Any] = {
        "cpuLimit": float(resources.cpus),
        "resourceCpuLimit": str(resources.cpus),
        "memoryLimit": float(resources.memory),
        "resourceMemoryLimit": f"{resources.memory:g}G",
    }
    if resources.accelerator:
        count = str(resources.accelerator_count)
        found["accelerator"] = {
            "type": resources.accelerator,
            "resourceType": resources.accelerator,
            "count": count,
            "resourceCount": count,
        }
    return found
