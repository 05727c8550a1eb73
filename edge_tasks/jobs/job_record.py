"""The record of a run that is a job, as far as the laptop writes it.

The job itself records what it does. The laptop knows who submitted it, when it ended before it began, and what became
of its artifact; it changes the same record. No trouble with that ends a training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import CUSTOM_JOBS, Job
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.cloud.vertex_experiments import show_run
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.runs import COMPLETED, FAILED, INTERRUPTED, QUEUED, RunRecord, utc_now
from edge_tasks.errors import EdgeError
from edge_tasks.repo.trained_model import TrainedModel


class JobRecord:
    """The record of one job's run."""

    def __init__(self, cloud: Cloud, config: EdgeConfig, spec: TrainingSpec, job: Job, progress: Progress):
        self._cloud = cloud
        self._config = config
        self._spec = spec
        self._job = job
        self._progress = progress

    def submitted(self) -> None:
        """Record the job as queued, unless it has begun to record itself."""
        self._update(lambda record: record.changed(job=self._job.name, user=record.user or self._spec.user))

    def interrupted(self) -> None:
        """Record that the job was cancelled, if it was, and does not say so itself."""
        try:
            job = CUSTOM_JOBS.get(self._cloud, self._job.name)
        except EdgeError:
            return  # it is not known what became of it
        if job.state in ("CANCELLING", "CANCELLED"):
            self._close(INTERRUPTED, "the job was cancelled")

    def failed(self, job: Job, last_lines: Sequence[str]) -> None:
        """Record why a job did not succeed, unless it has recorded that itself."""
        status = INTERRUPTED if job.state == "CANCELLED" else FAILED
        self._close(status, job.error or f"the job ended as {job.state}", "\n".join(last_lines) or None)

    def unusable(self, error: str) -> None:
        """Record that a job has ended well and left no results, as after `os._exit(0)`, when it recorded no end."""
        self._close(FAILED, error)

    def succeeded(self, trained: TrainedModel) -> None:
        """Record what became of the job's results."""

        def change(record: RunRecord) -> RunRecord:
            return record.changed(
                status=COMPLETED,
                ended=record.ended or utc_now(),
                metrics=trained.metrics,
                environment={**record.environment, **trained.environment},
                artifact_uri=trained.artifact_uri,
                artifact_sha256=trained.artifact_sha256,
                model_version=trained.model,
            )

        self._update(change)

    def _close(self, status: str, error: str, trace: str | None = None) -> None:
        def change(record: RunRecord) -> RunRecord:
            if record.status in (FAILED, INTERRUPTED):
                return record
            return record.changed(status=status, ended=utc_now(), error=error, trace=trace)

        record = self._update(change)
        if record is not None:
            self._show(record)

    def _show(self, record: RunRecord) -> None:
        """Show the end of a job that could not show it itself, if runs are to be in Vertex AI Experiments."""
        experiment = self._config.experiments.vertex_experiment
        if experiment is None:
            return
        try:
            show_run(self._cloud, experiment, record)
        except EdgeError as error:
            self._progress.step(f"the end of the run {record.run_id} is not shown in Vertex AI Experiments: {error}")

    def _update(self, change: Callable[[RunRecord], RunRecord]) -> RunRecord | None:
        spec = self._spec
        store = RunStore(self._cloud, self._config)
        try:
            return store.update(spec.model_name, spec.run_id, lambda record: change(record or self._queued())).record
        except EdgeError as error:
            self._progress.step(f"the run {spec.run_id} is recorded in part only: {error}")
            return None

    def _queued(self) -> RunRecord:
        return self._spec.into(
            RunRecord,
            model_name=self._spec.model_name,
            script=self._spec.script,
            target=self._config.target,
            status=QUEUED,
            created=self._job.created,
            job=self._job.name,
        )
