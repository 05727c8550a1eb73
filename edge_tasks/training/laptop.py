"""One training, seen from the laptop: in this process or as a custom job, with the same things left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks import dvc, git, lineage, storage, vertex
from edge_tasks.cloud import Cloud, connect
from edge_tasks.config import EdgeConfig
from edge_tasks.console import Console
from edge_tasks.errors import EdgeError, TrainingError
from edge_tasks.files import folder_sha256
from edge_tasks.joblog import JobLog
from edge_tasks.progress import Progress
from edge_tasks.store import user_name
from edge_tasks.trained_model import ARTIFACT_FOLDER, TrainedModel
from edge_tasks.training.context import Order
from edge_tasks.training.packages import build_packages
from edge_tasks.training.results import Results, publish, read_results

# Seconds between two looks at a job: short while it prints, longer while it is silent.
_SHORT_PAUSE, _LONG_PAUSE = 0.1, 5.0

# Seconds that a job may wait for a machine, on top of its own time limit.
_QUEUE_LIMIT = 24 * 3600.0

JOB_MODULE = "edge_tasks.training.job"


class Training:
    """One training of one model."""

    def __init__(self, config: EdgeConfig, root: Path, model_name: str, script: str, parameters: Mapping[str, Any]):
        self.config = config
        self.root = root
        self.model_name = model_name
        self.script = script
        self.parameters = dict(parameters)
        self.run_id = lineage.new_run_id()
        self.commit = git.head(root)
        self.model_folder = root / "models" / model_name
        self.staging = root / ".edge" / "training" / self.run_id

    def in_process(self, function: Callable[[Path], Any]) -> tuple[Any, dict[str, Any]]:
        """Call `function` with a folder to save results in; return what it returned, and the metrics."""
        try:
            self.staging.mkdir(parents=True)
            result = function(self.staging)
            results = read_results(self.staging)
            data = {version.path: version.hash for version in dvc.stage_data(self.root, self.model_folder)}
            labels = lineage.labels(self.model_name, self.run_id, self.commit, data)
            publish(results, self.model_folder, self._trained(results, data, labels=labels))
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)
        return result, results.metrics

    def as_job(self) -> dict[str, Any]:
        """Run the training as a custom job, register its model, and return the metrics."""
        with Console() as progress:
            try:
                return self._as_job(progress)
            finally:
                shutil.rmtree(self.staging, ignore_errors=True)

    def _as_job(self, progress: Progress) -> dict[str, Any]:
        cloud = connect(self.config, self.root)
        if not storage.bucket_exists(cloud):
            raise TrainingError(f"the bucket `{cloud.bucket_name}` does not exist", "invoke init")
        data = dvc.stage_data(self.root, self.model_folder)
        if data:
            progress.step(f"pushing {', '.join(version.path for version in data)}")
            dvc.push(self.root, [version.path for version in data])
        hashes = {version.path: version.hash for version in data}
        labels = lineage.labels(self.model_name, self.run_id, self.commit, hashes)

        job, output_uri = self._submit(cloud, progress, {version.path: version.url for version in data}, labels)
        job = self._follow(cloud, progress, job)
        if job.state != "SUCCEEDED":
            raise TrainingError(
                f"the training job {job.job_id} ended as {job.state}: {job.error or 'no reason was given'}",
                "mend what the log above says, then train again",
            )

        progress.step("fetching artifact and metrics")
        storage.download_folder(cloud, output_uri, self.staging)
        results = read_results(self.staging)
        progress.step("uploading the model to the registry")
        version = vertex.upload_model(
            cloud,
            model_id=lineage.registry_model_id(cloud.bucket_name, self.model_name),
            display_name=self.model_name,
            artifact_uri=f"{output_uri}/{ARTIFACT_FOLDER}",
            image=self.config.serving_image(self.config.models[self.model_name]),
            labels=labels,
        )
        trained = self._trained(
            results,
            hashes,
            job=job.name,
            model=version.versioned_name,
            artifact_uri=version.artifact_uri,
            labels=labels,
        )
        publish(results, self.model_folder, trained)
        progress.step(f"trained `{self.model_name}`: version {version.version} in the registry")
        return results.metrics

    def _submit(
        self, cloud: Cloud, progress: Progress, data: dict[str, str], labels: dict[str, str]
    ) -> tuple[vertex.Job, str]:
        settings = self.config.models[self.model_name]
        prefix = f"{self.config.storage_bucket.vertex_jobs_directory}/{self.model_name}/{self.run_id}"
        output_uri = f"gs://{cloud.bucket_name}/{prefix}/output"
        order = Order(
            run_id=self.run_id,
            model_name=self.model_name,
            script=self.script,
            output_uri=output_uri,
            parameters=self.parameters,
            data=data,
        )
        progress.step("packaging the model's folder")
        packages = [
            storage.upload(cloud, content, f"{prefix}/packages/{name}")
            for name, content in build_packages(self.root, self.model_folder, order).items()
        ]
        job = vertex.create_job(
            cloud,
            display_name=f"{self.model_name}-{self.run_id}",
            image=settings.training_container_image_uri,
            packages=packages,
            module=JOB_MODULE,
            machine_type=settings.training_machine_type,
            output_uri=output_uri,
            timeout_seconds=settings.training_timeout_seconds,
            labels=labels,
        )
        progress.step(f"training as custom job {job.job_id} on {settings.training_machine_type} ({cloud.vertex_url})")
        if cloud.console_url:
            progress.step(f"{cloud.console_url}/locations/{cloud.region}/training/{job.job_id}?project={cloud.project}")
        return job, output_uri

    def _follow(self, cloud: Cloud, progress: Progress, job: vertex.Job) -> vertex.Job:
        """Pass on the job's log until it ends; Ctrl-C cancels it."""
        log = JobLog(cloud, job.job_id)
        started = time.monotonic()
        limit = self.config.models[self.model_name].training_timeout_seconds + _QUEUE_LIMIT
        pause = _SHORT_PAUSE
        try:
            while not job.done:
                elapsed = time.monotonic() - started
                if elapsed > limit:
                    raise TrainingError(f"the training job {job.job_id} did not end within {limit:.0f} s")
                progress.waiting(f"job {job.job_id}: {job.state.lower()}", elapsed)
                pause = _SHORT_PAUSE if self._pass_on(log, progress) else min(pause * 1.2, _LONG_PAUSE)
                time.sleep(pause)
                job = vertex.get_job(cloud, job.name)
        except KeyboardInterrupt:
            progress.step(f"cancelling the training job {job.job_id}")
            job = vertex.cancel_job(cloud, job.name)
            progress.step(f"the training job {job.job_id} is {job.state.lower()}")
            raise
        self._pass_on(log, progress)
        return job

    @staticmethod
    def _pass_on(log: JobLog, progress: Progress) -> int:
        """Print new lines; a log that cannot be read just now is no reason to stop a training."""
        count = 0
        try:
            for line in log.new_lines():
                progress.log(line.text)
                count += 1
        except EdgeError as error:
            progress.step(f"the job's log cannot be read now: {error.problem}")
        return count

    def _trained(self, results: Results, data: dict[str, str], **more: Any) -> TrainedModel:
        return TrainedModel(
            model_name=self.model_name,
            run_id=self.run_id,
            target=self.config.target,
            trained_at=datetime.now(timezone.utc),
            trained_by=user_name(),
            artifact_sha256=folder_sha256(results.artifact),
            commit=self.commit.sha if self.commit else None,
            dirty=self.commit.dirty if self.commit else None,
            data=data,
            parameters=self.parameters,
            metrics=results.metrics,
            environment=results.environment,
            **more,
        )
