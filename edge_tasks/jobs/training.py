"""One training, seen from the laptop: in this process or as a custom job, with the same things left behind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from edge_tasks import console
from edge_tasks.cloud import jobs, storage
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.job_logs import job_log
from edge_tasks.cloud.jobs import CUSTOM_JOBS, Job, JobPlan
from edge_tasks.cloud.model_registry import ModelVersion
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.json_values import plain
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.provenance import Provenance, new_run_id
from edge_tasks.domain.serving_choice import choose
from edge_tasks.errors import EdgeError, NoAnswerError, NotFoundError, TrainingError
from edge_tasks.jobs.job_record import JobRecord
from edge_tasks.jobs.once import SameJob
from edge_tasks.jobs.output_dir import staging_folder
from edge_tasks.jobs.submit import Submission
from edge_tasks.jobs.waiter import JobSession, JobWaiter
from edge_tasks.releases import model_upload, serving, serving_image
from edge_tasks.releases.model_upload import ModelUpload
from edge_tasks.repo import layout
from edge_tasks.repo.files import folder_sha256
from edge_tasks.repo.results import METRICS_FILE, Results, publish, read_results
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, TrainedModel
from edge_tasks.tools import dvc, git
from edge_tasks.tools.signals import ASK
from edge_tasks.tools.user import user_name

# Lines of a failed job's log that its error repeats.
_LAST_LINES = 20

# Seconds after a job's end in which lines of its log may still arrive.
_LOG_DELAY, _LOG_DELAY_LIMIT = 1.0, 15.0


class TrainingJob:
    """One training of one model.

    `parameters` is all that the training gets; `chosen` is the part that somebody decided on, which with code and data
    makes two trainings the same. `run_id` is the id of the run, which becomes another's when that is taken over.
    """

    def __init__(
        self,
        config: EdgeConfig,
        root: Path,
        model_name: str,
        script: str,
        parameters: Mapping[str, Any],
        chosen: Mapping[str, Any],
    ):
        self.config = config
        self.root = root
        self.model_name = model_name
        self.script = script
        self.chosen = dict(chosen)
        self.run_id = new_run_id()
        commit = git.head(root, besides=dvc.outputs(root))
        self.provenance = Provenance.of_checkout(self.run_id, commit, parameters=plain(parameters), user=user_name())
        self.model_folder = layout.model_folder(root, model_name)
        self.staging = layout.output_dir(root, self.run_id)

    # --- in this process ---

    def in_process(
        self, function: Callable[[Path], Any], used_data: Callable[[], Mapping[str, str]], note: Callable[..., None]
    ) -> tuple[Any, dict[str, Any]]:
        """Call `function` with a folder to save results in; return what it returned, and the metrics.

        `used_data` tells which data it has asked for (path to DVC hash), `note` is told what is to stand in the run's
        record.
        """
        data = {version.path: version.hash for version in dvc.stage_data(self.root, self.model_folder)}
        note(data=data)
        with staging_folder(self.staging):
            result = function(self.staging)
            results = read_results(self.staging)
            data |= used_data()
            made_from = self.provenance.model_copy(update={"data": data})
            trained = self._trained(
                results, made_from, labels=layout.run_labels(self.model_name, made_from, self.chosen)
            )
            note(
                data=data,
                metrics=results.metrics,
                artifact_sha256=trained.artifact_sha256,
                environment=results.environment,
            )
            publish(results, self.model_folder, trained)
        return result, results.metrics

    def facts(self) -> dict[str, Any]:
        """Return what the record of this run says from the start."""
        return {**self.provenance.facts(), "script": self.script, "target": self.config.target}

    # --- as a custom job ---

    def describe(self, *, checks: bool = True) -> None:
        """Tell what a job would get, and send nothing. Raises TrainingError when it would fail."""
        submission = self._submission()
        with console.Console() as progress:
            for line in submission.describe():
                progress.step(line)
        if checks:
            submission.check()

    def as_job(self, *, force: bool = False, checks: bool = True, on_interrupt: str = ASK) -> dict[str, Any]:
        """Run the training as a custom job, register its model, and return the metrics.

        A job that runs already with the same code, data, parameters and image is followed instead, and the result of
        one that has succeeded is taken, unless `force` is set. `on_interrupt` is one of `interrupts`' words. Code that
        would fail there is refused first, unless `checks` is False.
        """
        with console.Console() as progress, staging_folder(self.staging):
            connection = partial(connect, self.config, self.root)
            session = JobSession(connection, progress, on_interrupt, console.choose)
            return self._as_job(session, force=force, checks=checks)

    def _submission(self) -> Submission:
        return Submission(self.config, self.root, self.model_name, self.script)

    def _as_job(self, session: JobSession, *, force: bool, checks: bool) -> dict[str, Any]:
        if not storage.bucket_exists(session.cloud):
            raise TrainingError(f"the bucket `{session.cloud.bucket_name}` does not exist", "invoke init")
        submission = self._submission()
        if checks:
            submission.check()
        job = self._found_or_submitted(submission, session, force=force)
        spec = _spec_of(submission, session.cloud, job)
        self.run_id = spec.run_id
        record = JobRecord(session.cloud, self.config, spec, job, session.progress)
        record.submitted()

        log = _Log(session, job)
        waiter = JobWaiter(
            session=session,
            api=CUSTOM_JOBS,
            timeout=submission.settings.training_timeout_seconds,
            later="train again to follow it",
            on_look=lambda _: log.pass_on(),
        )
        try:
            if not job.done:
                job = waiter.follow(job)
        except KeyboardInterrupt:
            record.interrupted()
            raise
        if job.state != "SUCCEEDED":
            last_lines = log.rest()
            record.failed(job, last_lines)
            raise _failure(job, last_lines)
        trained = self._take(session, job, spec)
        record.succeeded(trained)
        return trained.metrics

    def _found_or_submitted(self, submission: Submission, session: JobSession, *, force: bool) -> Job:
        cloud, progress = session.cloud, session.progress
        fingerprint = submission.fingerprint(parameters=self.chosen)
        same = SameJob(
            api=CUSTOM_JOBS,
            label=layout.TRAINING_LABEL,
            fingerprint=fingerprint,
            claim=submission.claim(fingerprint),
            has_done="has trained this already: taking its result",
            does="trains this already: following it",
            again="to train again: with force=True, or EDGE_FORCE=1",
            usable=partial(_is_usable, submission),
        )
        return same.find_or_submit(
            cloud,
            progress,
            prepare=lambda: self._sent(submission, cloud, progress),
            create=lambda sent: self._create(submission, cloud, fingerprint, *sent, progress),
            force=force,
        )

    def _sent(self, submission: Submission, cloud: Cloud, progress: Progress) -> tuple[TrainingSpec, JobPlan]:
        """Send what a job needs; return its specification and its plan."""
        spec = submission.spec(self.provenance, cloud.bucket_name)
        return spec, submission.send(cloud, spec, progress)

    def _create(
        self,
        submission: Submission,
        cloud: Cloud,
        fingerprint: str,
        spec: TrainingSpec,
        plan: JobPlan,
        progress: Progress,
    ) -> Job:
        labels = {
            **submission.settings.labels,
            **layout.run_labels(self.model_name, spec, self.chosen),
            layout.TRAINING_LABEL: fingerprint,
        }
        job = jobs.create_job(cloud, f"{self.model_name}-{self.run_id}", plan, labels)
        progress.step(f"submitted {CUSTOM_JOBS.noun} {job.job_id} for {submission.machines} ({cloud.vertex_url})")
        if page := jobs.console_page(cloud, job):
            progress.step(page)
        return job

    def _take(self, session: JobSession, job: Job, spec: TrainingSpec) -> TrainedModel:
        """Bring the results of a job that succeeded into the model's folder, and its model into the registry."""
        session.progress.step("fetching artifact and metrics")
        session.connection.ask(lambda cloud: storage.download_folder(cloud, spec.output_uri, self.staging))
        results = read_results(self.staging)
        version = self._registered(session, job, spec, results)
        trained = self._trained(
            results,
            spec.provenance,
            job=job.name,
            model=version.versioned_name,
            artifact_uri=version.artifact_uri,
            labels=dict(job.labels),
        )
        publish(results, self.model_folder, trained)
        session.progress.step(f"trained `{self.model_name}`: version {version.version} in the registry")
        return trained

    def _registered(self, session: JobSession, job: Job, spec: TrainingSpec, results: Results) -> ModelVersion:
        """Return the version of this run in the registry; it is put there unless an interrupted training did so."""
        facts = serving.of_folder(results.artifact, results.environment)
        chosen = choose(self.config, self.model_name, facts)
        container = chosen.container
        found = session.connection.ask(lambda cloud: model_upload.find(cloud, self.model_name, spec.run_id, container))
        if found is not None:
            return found
        wanted = ModelUpload(
            model_name=self.model_name,
            run_id=spec.run_id,
            artifact_uri=f"{spec.output_uri}/{ARTIFACT_FOLDER}",
            labels=job.labels,
            description=spec.description(),
            container=container,
        )
        session.connection.ask(
            lambda cloud: serving_image.ensure(cloud, self.config, self.model_name, chosen, facts, session.progress)
        )
        session.progress.step("uploading the model to the registry")
        return session.connection.ask(lambda cloud: model_upload.register(cloud, self.config, wanted, session.progress))

    def _trained(self, results: Results, made_from: Provenance, **more: Any) -> TrainedModel:
        return made_from.model_copy(update={"environment": results.environment}).into(
            TrainedModel,
            model_name=self.model_name,
            target=self.config.target,
            trained_at=datetime.now(timezone.utc),
            artifact_sha256=folder_sha256(results.artifact),
            metrics=results.metrics,
            **more,
        )


def _spec_of(submission: Submission, cloud: Cloud, job: Job) -> TrainingSpec:
    uri = submission.spec_uri(job.labels[layout.RUN_LABEL], cloud.bucket_name)
    return TrainingSpec.from_json(storage.read(cloud, uri).decode())


def _is_usable(submission: Submission, cloud: Cloud, job: Job) -> bool:
    """Say whether the result of `job` can be had, or is to come: somebody may have removed its files."""
    try:
        spec = _spec_of(submission, cloud, job)
        if job.done:
            storage.read(cloud, f"{spec.output_uri}/{METRICS_FILE}")
    except (NotFoundError, KeyError):
        return False
    return True


class _Log:
    """Passes on what a job prints, and keeps the last lines for its error."""

    def __init__(self, session: JobSession, job: Job):
        self._session = session
        self._log = job_log(job.job_id)
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._complained = False

    def pass_on(self) -> bool:
        """Print the new lines and say whether there were any; a log that cannot be read stops no training."""
        found = False
        try:
            for line in self._log.new_lines(self._session.cloud):
                self._session.progress.log(line.text)
                if line.text.strip():
                    self._last.append(line.text)
                found = True
        except NoAnswerError:
            pass  # the next look at the job says so
        except EdgeError as error:
            if not self._complained:
                self._session.progress.step(f"the job's log cannot be read: {error}")
            self._complained = True
        return found

    def rest(self) -> list[str]:
        """Return the last lines of a job that has ended; Cloud Logging has them some seconds later than the job."""
        deadline = time.monotonic() + _LOG_DELAY_LIMIT
        while time.monotonic() < deadline:
            time.sleep(_LOG_DELAY)
            if not self.pass_on():
                break
        return list(self._last)


def _failure(job: Job, last_lines: list[str]) -> TrainingError:
    """Return the error of a job that did not succeed: its state, the exit status that it tells, and its last words."""
    reason = job.error or "no reason was given"
    if last_lines:  # an error may repeat them, and they it
        reason = reason.partition("\n")[0].rstrip()
    lines = "".join(f"\n  | {line}" for line in last_lines if line != reason)
    return TrainingError(
        f"the {CUSTOM_JOBS.noun} {job.job_id} ended as {job.state}: {reason}{lines}",
        "fix what the log says, then train again",
    )
