"""What is sent to Vertex AI to train a model there: the same for a training job and for the trials of a tuning job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import JobPlan
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec, TuningTarget
from edge_tasks.domain.machines import check_machine
from edge_tasks.domain.prices import Machine
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.provenance import Provenance
from edge_tasks.errors import TrainingError
from edge_tasks.jobs.package import (
    TRAINING_REQUIREMENTS,
    Contents,
    ModelFiles,
    mirror_requirements,
    model_files,
    read_contents,
    shared_files,
)
from edge_tasks.readiness.complaints import Complaint, refuse
from edge_tasks.readiness.job_code import JobCode, complaints, read_files
from edge_tasks.redaction import secret_names
from edge_tasks.releases import preflight
from edge_tasks.repo import layout
from edge_tasks.tools import dvc

JOB_MODULE = "edge_tasks.training.job"


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise TrainingError when a parameter is a secret by its name: what a job gets lies in the bucket, readable."""
    if names := secret_names(parameters):
        raise TrainingError(
            f"the parameter `{names[0]}` looks like a secret, and a job's parameters lie readable in the bucket",
            "read it in the training from Secret Manager or a variable; to send it all the same: checks=False",
        )


class Submission:
    """One model's code, data and machines, read from the repository; nothing is sent before `send`."""

    def __init__(self, config: EdgeConfig, root: Path, model_name: str, script: str):
        self._config = config
        self._root = root
        self._model_name = model_name
        self._script = script
        self.settings = config.models[model_name]
        self.model_folder = layout.model_folder(root, model_name)

    @cached_property
    def data(self) -> list[dvc.DataVersion]:
        """The versions of the data that the train stage depends on."""
        return dvc.stage_data(self._root, self.model_folder)

    @property
    def hashes(self) -> dict[str, str]:
        """The DVC hash of each path of the data."""
        return {version.path: version.hash for version in self.data}

    @cached_property
    def files(self) -> ModelFiles:
        """The files of the model's folder that travel, and those that do not."""
        return model_files(self._root, self.model_folder)

    @cached_property
    def contents(self) -> Contents:
        """What is in the job's packages, but for its spec."""
        return read_contents(
            self._root, self.files, [*self.settings.training_requirements, *mirror_requirements(self._config)]
        )

    def fingerprint(self, **more: Any) -> str:
        """Return one hash over all that decides what a job gives: code, data, image and `more` (parameters)."""
        return self.contents.fingerprint(
            model=self._model_name,
            script=self._script,
            data=self.hashes,
            image=self.settings.training_container_image_uri,
            **more,
        )

    def spec(self, provenance: Provenance, bucket: str, search: TuningTarget | None = None) -> TrainingSpec:
        """Return the specification of a job for this run, with this code and data."""
        output = layout.run_output(self._config, self._model_name, provenance.run_id or "")
        return provenance.into(
            TrainingSpec,
            model_name=self._model_name,
            script=self._script,
            output_uri=f"gs://{bucket}/{output}",
            addresses={version.path: version.url for version in self.data},
            search=search,
        )

    def spec_uri(self, run_id: str, bucket: str) -> str:
        """Return where the specification of a job lies in the bucket."""
        return f"gs://{bucket}/{layout.job_spec(self._config, self._model_name, run_id)}"

    def claim(self, fingerprint: str) -> str:
        """Return the name of the claim on creating the job with that fingerprint."""
        return layout.claim(self._config, self._model_name, fingerprint)

    def send(self, cloud: Cloud, spec: TrainingSpec, progress: Progress) -> JobPlan:
        """Push the data and upload the packages; return the plan of a job that uses them.

        Raises ConfigError, before anything is sent, when there are no such machines, or the project may not have them.
        """
        machines = self.check_machines()
        preflight.check_quota(cloud, self._machine_key, machines)
        if cloud.notice:
            progress.step(f"warning: {cloud.notice}")
        if missing := dvc.unpushed(self.data):
            progress.step(f"pushing {', '.join(version.path for version in missing)}")
            dvc.push(self._root, missing)
        progress.step("packaging the model's folder")
        for line in self._left_out():
            progress.step(line)
        run = (self._config, self._model_name, spec.run_id)
        storage.upload(cloud, spec.to_json().encode(), layout.job_spec(*run))
        packages = [
            storage.upload(cloud, content, layout.job_package(*run, name))
            for name, content in self.contents.packages(spec).items()
        ]
        settings = self.settings
        return JobPlan(
            image=settings.training_container_image_uri,
            packages=packages,
            module=JOB_MODULE,
            output_uri=spec.output_uri,
            timeout_seconds=settings.training_timeout_seconds,
            machine_type=settings.training_machine_type,
            accelerator_type=settings.training_accelerator_type,
            accelerator_count=settings.training_accelerator_count,
            replica_count=settings.training_replica_count,
            spot=settings.training_spot,
            service_account=settings.training_service_account,
        )

    def check_machines(self) -> Machine:
        """Return the machines of the job. Raises ConfigError when Vertex AI has no such machines for training."""
        machines = preflight.training_machines(self.settings)
        check_machine(self._machine_key, machines)
        return machines

    @property
    def _machine_key(self) -> str:
        return f"models.{self._model_name}.training_machine_type"

    def check(self, data: Sequence[str] | None = None) -> None:
        """Raise TrainingError that names each line of the code which would fail in the job, and the line to add.

        `data` are the paths of the data that it gets, if those are not the ones that DVC has recorded.
        """
        refuse(self.complaints(data), f"a job for `{self._model_name}`", "--no-checks, or `with checks=False`")

    def unnoticed(self) -> list[str]:
        """Return what travels and no stage in the model's dvc.yaml depends on, from the root: files, linked folders.

        When one of them changes, `dvc repro` has nothing to do. DVC does not look into a folder that a link leads to,
        unless the link itself is a dependency.
        """
        watched = dvc.watched(self.model_folder)
        if not watched:
            return []
        sent = [path for path in self.files.sent if not path.name.startswith(("test_", "conftest"))]
        travelling = (*sent, *shared_files(self._root))
        missed = (_missed(path, watched) for path in travelling)
        return list(dict.fromkeys(self._shown(path) for path in missed if path))

    def _shared_sources(self) -> dict[str, bytes]:
        shared, source = shared_files(self._root), self._root / "src"
        inside = [path for path in shared if path.is_relative_to(source)]
        return {
            **read_files(self._root, [path for path in shared if path not in inside]),
            **read_files(source, inside),
        }

    def complaints(self, data: Sequence[str] | None = None) -> list[Complaint]:
        """Return what of the code would fail in the job."""
        return complaints(
            JobCode(
                folder=self._shown(self.model_folder),
                script=self._script,
                files={**self._shared_sources(), **read_files(self.model_folder, self.files.sent)},
                requirements=[*self.contents.requirements, *TRAINING_REQUIREMENTS],
                image=self.settings.training_container_image_uri,
                data=[version.path for version in self.data] if data is None else list(data),
            )
        )

    def describe(self) -> Iterator[str]:
        """Yield what would be sent, a line for each thing. Raises ConfigError like `check_machines`."""
        self.check_machines()
        yield f"image: {self.settings.training_container_image_uri}"
        yield f"machines: {self.machines}"
        for requirement in self.contents.requirements:
            yield f"requirement: {requirement}"
        for version in self.data:
            yield f"data: {version.path} ({version.hash})"
        for path in self.files.sent:
            yield f"file: {self._shown(path)} ({path.stat().st_size} bytes)"
        yield from self._left_out()

    @property
    def machines(self) -> str:
        """How many of which machines a job gets."""
        settings = self.settings
        count = f"{settings.training_replica_count} x " if settings.training_replica_count > 1 else ""
        accelerators = (
            f" with {settings.training_accelerator_count} x {settings.training_accelerator_type}"
            if settings.training_accelerator_type
            else ""
        )
        return f"{count}{settings.training_machine_type}{accelerators}{' (spot)' if settings.training_spot else ''}"

    def _left_out(self) -> Iterator[str]:
        for path in self.files.secrets:
            yield f"left out, it may hold a secret: {self._shown(path)}"
        for path in self.files.data:
            yield f"left out, DVC keeps it (data_uri finds it when the train stage depends on it): {self._shown(path)}"
        for name in self.unnoticed():
            yield f"dvc repro misses a change of it, since no stage in the model's dvc.yaml depends on it: {name}"

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _missed(path: Path, watched: AbstractSet[Path]) -> Path | None:
    """Return the file, or the linked folder it is in, when nothing of `watched` makes DVC look at it; else None."""
    for place in (path, *path.parents):
        if place in watched:
            return None
        if place.is_symlink() and place.is_dir():
            return place if _missed(place.resolve() / path.relative_to(place), watched) else None
    return path
