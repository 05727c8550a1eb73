"""One training, seen from the laptop: in this process or as a custom job, with the same things left behind."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edge_tasks import console
from edge_tasks.cloud import jobs, storage
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.job_logs import job_log
from edge_tasks.cloud.jobs import CUSTOM_JOBS, Job, JobPlan
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.json_values import plain
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.provenance import Provenance, new_run_id
from edge_tasks.errors import EdgeError, NoAnswerError, NotFoundError, TrainingError
from edge_tasks.jobs.job_record import JobRecord
from edge_tasks.jobs.once import SameJob
from edge_tasks.jobs.output_dir import staging_folder
from edge_tasks.jobs.quick_try import started_by_dvc
from edge_tasks.jobs.registration import registered
from edge_tasks.jobs.submit import Submission, check_parameters
from edge_tasks.jobs.waiter import JobSession, JobWaiter
from edge_tasks.repo import layout
from edge_tasks.repo.results import METRICS_FILE, Results, publish, read_results, set_aside
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.repo.trained_model import TrainedModel
from edge_tasks.tools import dvc, git
from edge_tasks.tools.signals import ASK
from edge_tasks.tools.user import user_name

# Lines of a failed job's log that its record keeps, and in which the error looks for what the training said last.
_LAST_LINES = 20
# The line below a traceback: the name of the error, and mostly what it says.
_RAISED = re.compile(r"[A-Za-z_][\w.]*(: .*)?")

# Seconds after a job's end in which lines of its log may still arrive.
_LOG_DELAY, _LOG_DELAY_LIMIT = 1.0, 15.0


class TrainingJob:
    """One training of one model.

    `parameters` is all that the training gets; `chosen` is the part that somebody decided on, which with code and data
    makes two trainings the same. `run_id` is the id of the run, which becomes another's when that is taken over.
    With `tried`, the names of parameters, the training is a try: what it gives does not go into the model's folder.
    """

    def __init__(
        self,
        config: EdgeConfig,
        root: Path,
        model_name: str,
        script: str,
        parameters: Mapping[str, Any],
        chosen: Mapping[str, Any],
        tried: Sequence[str] = (),
    ):
        self.config = config
        self.root = root
        self.model_name = model_name
        self.script = script
        self.chosen = dict(chosen)
        self.tried = tried
        self.notice = ""
        self.run_id = new_run_id()
        commit = git.head(root, besides=dvc.outputs(root))
        self.parameters = plain(parameters)
        self.provenance = Provenance.of_checkout(self.run_id, commit, parameters=self.parameters, user=user_name())
        self.model_folder = layout.model_folder(root, model_name)
        self.staging = layout.output_dir(root, self.run_id)

    # --- in this process ---

    def in_process(
        self,
        function: Callable[[Path], Any],
        used_data: Callable[[], Mapping[str, str]],
        note: Callable[..., None],
        *,
        force: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Call `function` with a folder to save results in; return what it returned, and the metrics.

        `used_data` tells which data it has asked for (path to DVC hash), `note` is told what is to stand in the run's
        record.
        """
        submission = self._submission()
        data = submission.hashes
        # The code that runs is that of now; somebody may edit it while the training computes.
        fingerprint = self._fingerprint(submission)
        note(data=data)
        with staging_folder(self.staging):
            result = function(self.staging)
            results = read_results(self.staging)
            data |= used_data()
            made_from = self.provenance.model_copy(update={"data": data})
            labels = {**layout.run_labels(self.model_name, made_from, self.chosen), **fingerprint}
            trained = results.trained(self.config.target, self.model_name, made_from, labels=labels)
            note(
                data=data,
                metrics=results.metrics,
                artifact_sha256=trained.artifact_sha256,
                environment=results.environment,
            )
            self._put_away(results, trained, again=force)
        return result, results.metrics

    def _fingerprint(self, submission: Submission) -> dict[str, str]:
        """Return the label that a job of the same training would have; none where one could not be packaged."""
        with contextlib.suppress(EdgeError):
            return {layout.TRAINING_LABEL: submission.fingerprint(parameters=self.chosen)}
        return {}

    def _put_away(self, results: Results, trained: TrainedModel, *, again: bool) -> None:
        """Put the results into the model's folder; those of a try into a folder of this machine.

        When `dvc repro` trains what the folder tells of already, as in a clone, the folder keeps telling of that run,
        unless it was to be trained `again`. Who trains by hand wants another.
        """
        again = again or not started_by_dvc()
        name = self.model_name
        if self.tried:
            folder = layout.try_folder(self.root, name)
            set_aside(results, folder, trained)
            self.notice = (
                f"a try, with other parameters than params.yaml ({', '.join(self.tried)}): run {trained.run_id} is "
                f"recorded, models/{name} is as it was; the results are in {folder.relative_to(self.root)}. "
                f"To put them into models/{name}: the same with publish=True"
            )
        elif (found := publish(results, self.model_folder, trained, again=again)).run_id != trained.run_id:
            self.notice = f"the same as run {found.run_id}: models/{name}/{TRAINED_MODEL_FILE} is as it was"

    def tell(self) -> None:
        """Say what became of the results when they are not the model's; after the run, whose output this is not."""
        if self.notice:
            with console.Console() as progress:
                progress.step(self.notice)

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
            check_parameters(self.parameters)
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
            check_parameters(self.parameters)
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
        try:
            trained = self._take(session, job, spec, again=force)
        except TrainingError as error:
            record.unusable(error.problem)
            raise
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
        # Its own provenance shows no secrets; the job needs them.
        provenance = self.provenance.model_copy(update={"parameters": self.parameters})
        spec = submission.spec(provenance, cloud.bucket_name)
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

    def _take(self, session: JobSession, job: Job, spec: TrainingSpec, *, again: bool) -> TrainedModel:
        """Bring the results of a job that succeeded into the model's folder, and its model into the registry."""
        session.progress.step("fetching artifact and metrics")
        session.connection.ask(lambda cloud: storage.download_folder(cloud, spec.output_uri, self.staging))
        results = read_results(self.staging)
        version = registered(session.connection.ask, self.config, spec, results, job.labels, session.progress)
        trained = results.trained(
            self.config.target,
            self.model_name,
            spec.provenance,
            job=job.name,
            model=version.versioned_name,
            artifact_uri=version.artifact_uri,
            labels=dict(job.labels),
        )
        self._put_away(results, trained, again=again)
        if self.notice:
            session.progress.step(self.notice)
        session.progress.step(f"trained `{self.model_name}`: version {version.version} in the registry")
        return trained


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


def _with_signal(reason: str) -> str:
    """Return why a job failed, with the name of the signal that an exit status above 128 stands for."""

    def named(status: re.Match[str]) -> str:
        with contextlib.suppress(ValueError):
            name = signal.Signals(int(status[1]) - 128).name
            often = ", often since the memory was used up" if name == "SIGKILL" else ""
            return f"{status[0]} ({name}{often})"
        return status[0]

    return re.sub(r"non-zero status of (\d+)", named, reason, count=1)


def _failure(job: Job, last_lines: list[str]) -> TrainingError:
    """Return the error of a job that did not succeed: its state, the exit status that it tells, and its last words.

    `last_lines`, the end of its log, have been printed: only the line that says why is repeated.
    """
    reason = _with_signal(job.error or "no reason was given")
    if last_lines:  # an error may repeat them
        reason = reason.partition("\n")[0].rstrip()
    said, advice = _said_last(last_lines)
    hint = (
        "it was not the training that failed: train again"
        if job.may_succeed_again
        else advice or "fix what the log says, then train again"
    )
    line = f"\n  | {said}" if said and said != reason else ""
    return TrainingError(f"the {CUSTOM_JOBS.noun} {job.job_id} ended as {job.state}: {reason}{line}", hint)


def _said_last(lines: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the line of a log that says why the training ended, and our own advice when it was an error of ours."""
    for number in reversed(range(len(lines))):
        line, before = lines[number], lines[number - 1] if number else ""
        if line.startswith(("error: ", "ERROR: ")):  # ours, or pip's
            hints = (later.removeprefix("hint: ") for later in lines[number:] if later.startswith("hint: "))
            return line, next(hints, None)
        if before.startswith("    ") and _RAISED.fullmatch(line):
            return line, None
    return None, None
