"""From the stages of dvc.yaml to the tasks of a pipeline: which there are, and what they give each other.

Every stage is a task, the stage `train` of a model trains as a job does, and after it a task puts the model into the
registry. Data that no stage makes, and what a frozen stage made, are taken in the version that DVC has recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_tasks.errors import ConfigError

STAGE, TRAIN, REGISTER = "stage", "train", "register"

# The stage of a model that trains it, and what its results are called as artifacts.
TRAIN_STAGE = "train"
MODEL_KEY, METRICS_KEY, VERSION_KEY = "model", "metrics", "version"

# The stage of the root's dvc.yaml that writes the report over all models.
REPORT_STAGE = "report"

# Which a training writes at home, not in a job.
_AT_HOME = "trained_model.json"


@dataclass(frozen=True)
class Stage:
    """One stage of a dvc.yaml, as DVC understands it. All paths are from the repository's root.

    `address` is DVC's, such as models/digits/dvc.yaml:prepare; `params` are the files with its parameters.
    """

    address: str
    folder: str
    commands: tuple[str, ...]
    deps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    frozen: bool = False
    always_changed: bool = False

    @property
    def name(self) -> str:
        """Its name in its dvc.yaml."""
        return self.address.rpartition(":")[2]


@dataclass(frozen=True)
class Input:
    """An artifact of another task, and the path at which it lies in the repository."""

    producer: str
    key: str
    path: str


@dataclass(frozen=True)
class Task:
    """One task. `model` is the model whose code it gets; `recorded` are data that no task makes.

    A task that is not `cached` runs each time; another one gives again what it gave for the same code and data.
    """

    name: str
    kind: str
    model: str
    stage: Stage | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    recorded: tuple[str, ...] = ()
    cached: bool = True


def model_folder(model: str) -> str:
    """Return the folder of a model, from the root."""
    return f"models/{model}"


def plan(stages: Sequence[Stage], models: Sequence[str], recorded: Iterable[str]) -> list[Task]:
    """Return the tasks for `stages`, which come in an order in which they can run.

    `models` are those to train; `recorded` are the paths that DVC keeps. Raises ConfigError for what cannot be done
    without this machine.
    """
    kept = set(recorded)
    there = [stage for stage in stages if not stage.frozen]
    owners = {stage.address: _owner(stage, models) for stage in there}
    names = {stage.address: _task_name(owners[stage.address], stage.name) for stage in there}
    made: dict[str, tuple[str, str]] = {}  # path to the task that makes it, and the artifact's key
    tasks: list[Task] = []
    for stage in there:
        model = owners[stage.address]
        trains = _trains(stage, models)
        inputs = _inputs(stage, made)
        outputs = _train_outputs(stage, model) if trains else _keyed(stage.outs)
        task = Task(
            name=names[stage.address],
            kind=TRAIN if trains else STAGE,
            model=model,
            stage=stage,
            inputs=inputs,
            outputs=outputs,
            recorded=tuple(path for path in stage.deps if path in kept and not overlaps(path, made)),
            cached=not stage.always_changed,
        )
        if task.name in {other.name for other in tasks}:
            raise ConfigError(f"two stages would be the task `{task.name}`", "give one of them another name")
        tasks.append(task)
        made |= {path: (task.name, key) for key, path in outputs.items()}
        if trains:
            trained = Input(task.name, MODEL_KEY, outputs[MODEL_KEY])
            name = _task_name(model, REGISTER)
            tasks.append(Task(name, REGISTER, model, inputs={MODEL_KEY: trained}, cached=False))
    missing = [model for model in models if _task_name(model, TRAIN_STAGE) not in {task.name for task in tasks}]
    if missing:
        raise ConfigError(
            f"models/{missing[0]}/dvc.yaml has no stage `{TRAIN_STAGE}` that is not frozen",
            f"see the template's: invoke model.init, or dvc unfreeze models/{missing[0]}/dvc.yaml:{TRAIN_STAGE}",
        )
    return tasks


def artifact_key(path: str) -> str:
    """Return the name of the artifact at a path: letters, digits and underscores, as kfp names them."""
    return re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_") or "data"


def _trains(stage: Stage, models: Sequence[str]) -> bool:
    return stage.name == TRAIN_STAGE and any(stage.folder == model_folder(model) for model in models)


def _owner(stage: Stage, models: Sequence[str]) -> str:
    """Return the model in whose folder a stage is; one from elsewhere goes with the first model."""
    return next((model for model in models if stage.folder == model_folder(model)), models[0])


def _task_name(model: str, stage: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", f"{model}-{stage}".lower()).strip("-")


def _keyed(paths: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        key = artifact_key(path)
        while key in found:
            key += "_"
        found[key] = path
    return found


def _train_outputs(stage: Stage, model: str) -> dict[str, str]:
    """Return what of a training's outputs other stages may depend on; the model and its metrics are always there."""
    folder = model_folder(model)
    known = {MODEL_KEY: f"{folder}/model", METRICS_KEY: f"{folder}/metrics.json"}
    others = [path for path in stage.outs if path not in known.values() and not path.endswith(f"/{_AT_HOME}")]
    return {**known, **_keyed(others)}


def _inputs(stage: Stage, made: Mapping[str, tuple[str, str]]) -> dict[str, Input]:
    """Return the artifacts of other tasks among a stage's dependencies, by the names that it gives them."""
    for path in stage.deps:
        if path.endswith(f"/{_AT_HOME}"):
            raise ConfigError(
                f"the stage `{stage.address}` depends on {path}, which no job writes",
                "depend on the model's metrics.json or model/ instead",
            )
    paths = {path for dep in stage.deps for path in made if overlap(path, dep)}
    return {key: Input(*made[path], path) for key, path in _keyed(sorted(paths)).items()}


def overlaps(path: str, others: Iterable[str]) -> bool:
    """Say whether a path is one of others, or lies in one, or one in it."""
    return any(overlap(path, other) for other in others)


def overlap(one: str, other: str) -> bool:
    """Say whether two paths are the same, or one lies in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/") or "." in (one, other)
