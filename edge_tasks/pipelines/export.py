"""The repository's DVC pipeline as a compiled pipeline of Kubeflow Pipelines, and what its tasks need in the bucket.

The packages lie there by the hash of their content, so that a file that was exported earlier runs on as it was, and
the same code is sent once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import bootstrap
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.machines import resources
from edge_tasks.domain.pipeline_order import PipelineOrder, StageOrder
from edge_tasks.domain.pipeline_plan import REGISTER, TRAIN, Stage, Task, overlaps, plan
from edge_tasks.domain.pipeline_spec import RUNTIME_ARGUMENTS, Executor, document
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.provenance import Provenance
from edge_tasks.domain.training_command import TrainingCommand
from edge_tasks.errors import ConfigError, DataError
from edge_tasks.jobs.package import Contents, named_files, read_contents, registering_contents
from edge_tasks.jobs.submit import Submission, check_parameters
from edge_tasks.repo import layout
from edge_tasks.repo.text_files import parse_yaml, read_yaml
from edge_tasks.tools import dvc, dvc_graph, git
from edge_tasks.tools.user import user_name

TASK_MODULE, REGISTER_MODULE = "edge_tasks.training.pipeline_task", "edge_tasks.pipelines.register"

# What of a long digest names a folder.
_DIGEST = 16


class Export:
    """The pipeline that trains `models` of the repository; nothing is sent before `send`."""

    def __init__(self, config: EdgeConfig, root: Path, models: Sequence[str]):
        self.config = config
        self.root = root
        self.models = list(models)
        for model in models:
            _check_machines(config, model)

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks, in an order in which they can run."""
        return plan(self._stages, self.models, self._recorded)

    @property
    def name(self) -> str:
        """The pipeline's name: the model's, or the repository's."""
        one = self.models[0] if len(self.models) == 1 else self.config.storage_bucket.bucket_name
        return layout.label_value(one).replace("_", "-")

    @cached_property
    def document(self) -> dict[str, Any]:
        """The compiled pipeline."""
        return document(
            self.name,
            f"What `dvc repro` does for {', '.join(self.models)}",
            self.tasks,
            {task.name: self._executor(task) for task in self.tasks},
            layout.pipeline_root(self.config),
        )

    def text(self) -> str:
        """Return the compiled pipeline as YAML."""
        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.width = 4096
        yaml.default_flow_style = False
        stream = io.StringIO()
        stream.write(
            "# PIPELINE DEFINITION\n"
            f"# Name: {self.name}\n"
            "# Written by `invoke pipeline.export`; its tasks run code that lies in the bucket.\n"
        )
        yaml.dump(self.document, stream)
        return stream.getvalue()

    def check(self) -> None:
        """Raise TrainingError when the code of a training would fail in a task, or a parameter looks like a secret."""
        for model in self.models:
            check_parameters(self._order(model).parameters)
            order = self._order(model)
            train = next(stage for stage in order.stages.values() if not stage.commands)
            self._submissions[model].check([*train.recorded, *train.inputs.values()])

    def send(self, cloud: Cloud, progress: Progress) -> None:
        """Push the data that no task makes, and upload the packages, unless they are there already."""
        if not storage.bucket_exists(cloud):
            raise DataError(f"the bucket `{cloud.bucket_name}` does not exist", "invoke init")
        if missing := dvc.unpushed(list(self._recorded.values())):
            progress.step(f"pushing {', '.join(version.path for version in missing)}")
            dvc.push(self.root, missing)
        progress.step("uploading the code of the tasks")
        for name, content in self._objects():
            storage.upload_new(cloud, content, f"gs://{cloud.bucket_name}/{name}")
        commit = git.head(self.root, besides=dvc.outputs(self.root))
        for model in self._owners:
            origin = Provenance.of_checkout("", commit, user=user_name())
            storage.upload(cloud, origin.model_dump_json(exclude={"run_id"}).encode(), self._origin(model))

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """For each model a hash over all that its tasks run with: code, parameters, recorded data."""
        return {model: _hash(self._plain_packages(model)) for model in self._owners}

    def notes(self) -> Iterator[str]:
        """Yield what people should know of the pipeline."""
        for stage in self._stages:
            if stage.frozen:
                yield f"the stage {stage.address} is frozen: what DVC has recorded of it is used"
        for model in self.models:
            if self.config.models[model].training_spot:
                yield f"`{model}` trains on an ordinary machine: tasks of pipelines have no spot machines"

    # What it is made of

    @cached_property
    def _stages(self) -> list[Stage]:
        files = [f"{layout.model_folder(Path(), model).as_posix()}/dvc.yaml" for model in self.models]
        for file in files:
            if not (self.root / file).is_file():
                raise ConfigError(f"there is no `{file}`", "invoke doctor")
        return dvc_graph.stages(self.root, files)

    @cached_property
    def _recorded(self) -> dict[str, dvc.DataVersion]:
        """The versions of the data that stages depend on, and that no task makes."""
        made = {path for stage in self._stages if not stage.frozen for path in stage.outs}
        wanted = {path for stage in self._stages if not stage.frozen for path in stage.deps}
        return dvc.versions(self.root, sorted(path for path in wanted if not overlaps(path, made)))

    @cached_property
    def _owners(self) -> list[str]:
        """The models whose code some task gets."""
        return sorted({task.model for task in self.tasks if task.kind != REGISTER})

    @cached_property
    def _submissions(self) -> Mapping[str, Submission]:
        """The code and data of each model, read once."""
        return {model: Submission(self.config, self.root, model, self._command(model).script) for model in self._owners}

    @cached_property
    def _store(self) -> str:
        return dvc.store_address(self.root)

    def _train_stage(self, model: str) -> Stage:
        return next(task.stage for task in self.tasks if task.kind == TRAIN and task.model == model and task.stage)

    def _command(self, model: str) -> TrainingCommand:
        stage = self._train_stage(model)
        return TrainingCommand.parse(stage.address, stage.commands)

    def parameters(self, model: str) -> dict[str, Any]:
        """Return the parameters of a training, as the command of its stage gives them."""
        command = self._command(model)
        found: dict[str, Any] = {}
        for file in command.files:
            path = layout.model_folder(self.root, model) / file
            try:
                found |= read_yaml(path, f"models/{model}/{file}") or {}
            except (OSError, TypeError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "it does not hold names and values"
                raise ConfigError(f"`models/{model}/{file}` cannot be read: {reason}", "dvc status") from None
        for update in command.updates:
            name, _, value = update.partition("=")
            try:
                found[name] = parse_yaml(value)
            except ValueError as error:
                problem = f"models/{model}/dvc.yaml: the value of `{update}` is not valid YAML: {error}"
                raise ConfigError(problem, f"fix `cmd` of the stage `train` in models/{model}/dvc.yaml") from None
        return found

    def _order(self, model: str) -> PipelineOrder:
        return PipelineOrder(
            model_name=model,
            script=self._command(model).script,
            parameters=self.parameters(model),
            store=self._store,
            origin="",
            stages={task.name: self._stage_order(task) for task in self.tasks if task.stage and task.model == model},
        )

    def _stage_order(self, task: Task) -> StageOrder:
        assert task.stage is not None
        return StageOrder(
            folder=task.stage.folder,
            commands=[] if task.kind == TRAIN else list(task.stage.commands),
            recorded={path: self._recorded[path].url for path in task.recorded},
            inputs={key: given.path for key, given in task.inputs.items()},
            outputs=dict(task.outputs),
        )

    def _contents(self, model: str) -> Contents:
        """Return a model's code, and what else its stages name that is not data."""
        submission = self._submissions[model]
        stages = [task.stage for task in self.tasks if task.stage and task.model == model]
        made = {path for stage in self._stages for path in stage.outs}
        named = {path for stage in stages for path in (*stage.deps, *stage.params)}
        code = sorted(path for path in named if path not in self._recorded and not overlaps(path, made))
        extra = [path for path in named_files(self.root, code) if not path.is_relative_to(layout.code_link(self.root))]
        sent = [path for path in submission.files.sent if not overlaps(path.relative_to(self.root).as_posix(), made)]
        files = dataclasses.replace(submission.files, sent=[*sent, *extra])
        contents = submission.contents
        return dataclasses.replace(contents, model=read_contents(self.root, files).model)

    def _plain_packages(self, model: str) -> dict[str, bytes]:
        return self._contents(model).pipeline_packages(self._order(model).model_dump_json())

    @cached_property
    def _packages(self) -> dict[str, dict[str, bytes]]:
        """The packages of each model's tasks: by their objects' names."""
        found = {}
        for model in self._owners:
            order = self._order(model).model_copy(update={"origin": f"gs://{self._bucket}/{self._origin(model)}"})
            packages = self._contents(model).pipeline_packages(order.model_dump_json())
            place = self.digests[model]
            found[model] = {self._object(model, place, name): content for name, content in packages.items()}
        return found

    @cached_property
    def _registering(self) -> dict[str, bytes]:
        packages = registering_contents(self.root).pipeline_packages("{}")
        place = _hash(packages)
        return {self._object(REGISTER, place, name): content for name, content in packages.items()}

    def _objects(self) -> Iterator[tuple[str, bytes]]:
        for packages in (*self._packages.values(), self._registering):
            yield from packages.items()

    @property
    def _bucket(self) -> str:
        return self.config.storage_bucket.bucket_name

    def _object(self, model: str, digest: str, file: str) -> str:
        return layout.pipeline_package(self.config, model, digest, file)

    def _origin(self, model: str) -> str:
        return self._object(model, self.digests[model], "origin.json")

    def _executor(self, task: Task) -> Executor:
        settings = self.config.models[task.model]
        if task.kind == REGISTER:
            packages, module = self._registering, REGISTER_MODULE
        else:
            packages, module = self._packages[task.model], TASK_MODULE
        machine = None
        if task.kind == TRAIN:
            machine = resources(
                settings.training_machine_type,
                settings.training_accelerator_type,
                settings.training_accelerator_count,
            )
        uris = [f"gs://{self._bucket}/{name}" for name in packages]
        word = task.model if task.kind == REGISTER else task.name
        return Executor(
            image=settings.training_container_image_uri,
            command=["sh", "-c"],
            # The word after the shell line is its $0.
            args=[bootstrap(uris, module), module, word, *RUNTIME_ARGUMENTS],
            resources=machine,
        )


def _check_machines(config: EdgeConfig, model: str) -> None:
    if config.models[model].training_replica_count > 1:
        raise ConfigError(
            f"`{model}` trains on {config.models[model].training_replica_count} machines, a task of a pipeline has one",
            "train it as a job: dvc repro; or set training_replica_count: 1 in edge.yaml",
        )


def _hash(packages: Mapping[str, bytes]) -> str:
    text = json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in packages.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
