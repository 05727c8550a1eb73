"""Looking for better parameters: one hyperparameter tuning job, whose trials are trainings of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_tasks.cloud import storage, tuning_jobs
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import JobPlan, console_page
from edge_tasks.cloud.tuning_jobs import TUNING_JOBS, Trial, TuningJob
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec, TuningTarget
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.provenance import Provenance, new_run_id
from edge_tasks.domain.search_space import Ranges
from edge_tasks.errors import ConfigError, TrainingError
from edge_tasks.jobs.once import SameJob
from edge_tasks.jobs.run_script import SCRIPT
from edge_tasks.jobs.submit import Submission, check_parameters
from edge_tasks.jobs.waiter import JobSession, JobWaiter
from edge_tasks.repo import layout
from edge_tasks.repo.params_yaml import read_parameters, write_parameters
from edge_tasks.repo.tune_yaml import read_ranges
from edge_tasks.tools import dvc, git
from edge_tasks.tools.user import user_name

# https://cloud.google.com/vertex-ai/docs/quotas
_MOST_TRIALS, _MOST_PARALLEL = 1000, 100


class Tuning:
    """One search for the parameters of one model. Raises ConfigError when tune.yaml or params.yaml are not in order."""

    def __init__(self, config: EdgeConfig, root: Path, model_name: str, *, trials: int, parallel: int):
        if not 1 <= trials <= _MOST_TRIALS:
            raise ConfigError(f"{trials} trials are not possible", f"--trials takes a number from 1 to {_MOST_TRIALS}")
        if not 1 <= parallel <= _MOST_PARALLEL:
            raise ConfigError(
                f"{parallel} trials at a time are not possible", f"--parallel takes a number from 1 to {_MOST_PARALLEL}"
            )
        self._config = config
        self._root = root
        self._model_name = model_name
        self._trials = trials
        self._parallel = min(parallel, trials)
        self._folder = layout.model_folder(root, model_name)
        self._parameters = read_parameters(self._folder)
        self._ranges: Ranges = read_ranges(self._folder, self._parameters)
        self._commit = git.head(root, besides=dvc.outputs(root))

    def describe(self, progress: Progress, *, checks: bool = True) -> None:
        """Tell what would be searched, and what each trial would get; send nothing.

        Raises TrainingError for code that would fail there (with `checks`).
        """
        submission = self._submission()
        goal = "maximize" if self._ranges.maximize else "minimize"
        progress.step(f"trials: {self._trials}, {self._parallel} at a time, to {goal} `{self._ranges.metric}`")
        for name, values in self._ranges.parameters.items():
            progress.step(f"parameter: {name} {values}")
        for line in submission.describe():
            progress.step(line)
        if checks:
            self._check(submission)

    def run(self, session: JobSession, *, force: bool = False, checks: bool = True) -> list[Trial]:
        """Run the trials and return those that succeeded, the best one first, then the others.

        The very same search is followed when it runs already, and not repeated when it has ended, unless `force` is
        set. Raises TrainingError when the job fails, and before that for code that would fail there (with `checks`).
        """
        cloud, progress = session.cloud, session.progress
        if not storage.bucket_exists(cloud):
            raise TrainingError(f"the bucket `{cloud.bucket_name}` does not exist", "invoke init")
        submission = self._submission()
        if checks:
            self._check(submission)
        fingerprint = submission.fingerprint(
            parameters=self._fixed(), search=self._ranges.specs(), metric=self._ranges.metric, trials=self._trials
        )
        same = SameJob(
            api=TUNING_JOBS,
            label=layout.TUNING_LABEL,
            fingerprint=fingerprint,
            claim=submission.claim(fingerprint),
            has_done="has searched this already",
            does="searches this already: following it",
            again="to search again: --force",
        )
        job = same.find_or_submit(
            cloud,
            progress,
            prepare=lambda: self._sent(submission, cloud, progress),
            create=lambda sent: self._create(submission, cloud, fingerprint, *sent, progress),
            force=force,
        )
        told: set[str] = set()
        waiter = JobWaiter(
            session=session,
            api=TUNING_JOBS,
            timeout=float(submission.settings.training_timeout_seconds * self._trials),
            later="tune again to follow it",
            on_look=lambda job: self._tell(job, told, progress),
        )
        job = waiter.follow(job)
        if job.state != "SUCCEEDED":
            raise TrainingError(
                f"the {TUNING_JOBS.noun} {job.job_id} ended as {job.state}: {job.error or 'no reason was given'}",
                "it was not the trials that failed: tune again"
                if job.may_succeed_again
                else f"invoke jobs.logs {job.job_id} shows what the trials printed; then tune again",
            )
        return self._ordered(job.trials)

    def write_best(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Put the parameters of the first of `trials` into params.yaml; return them."""
        values = self._ranges.restored(trials[0].parameters)
        write_parameters(self._folder, values)
        return values

    def table(self, trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
        """Return the columns and the rows of a table of `trials`."""
        names = list(self._ranges.parameters)
        columns = ["trial", "state", self._ranges.metric, *names]
        rows = []
        for trial in trials:
            values = self._ranges.restored(trial.parameters)
            metric = trial.metrics.get(self._ranges.metric)
            row = [trial.trial_id, trial.state.lower(), "" if metric is None else f"{metric:.6g}"]
            rows.append([*row, *(_short(values.get(name, "")) for name in names)])
        return columns, rows

    def documents(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """Return everything that is known of `trials` as plain JSON."""
        return [{**asdict(trial), "parameters": self._ranges.restored(trial.parameters)} for trial in trials]

    def _submission(self) -> Submission:
        return Submission(self._config, self._root, self._model_name, SCRIPT)

    def _check(self, submission: Submission) -> None:
        check_parameters(self._parameters)
        submission.check()

    def _fixed(self) -> dict[str, Any]:
        """Return the parameters that the trials have in common."""
        varied = {*self._ranges.parameters, "is_vertex"}
        return {name: value for name, value in self._parameters.items() if name not in varied}

    def _sent(self, submission: Submission, cloud: Cloud, progress: Progress) -> tuple[TrainingSpec, JobPlan]:
        """Send what the trials need; return what they have in common, and their plan."""
        made_from = Provenance.of_checkout(new_run_id(), self._commit, parameters=self._parameters, user=user_name())
        search = TuningTarget(metric=self._ranges.metric, types=dict(self._ranges.types))
        spec = submission.spec(made_from, cloud.bucket_name, search)
        return spec, submission.send(cloud, spec, progress)

    def _create(
        self,
        submission: Submission,
        cloud: Cloud,
        fingerprint: str,
        spec: TrainingSpec,
        plan: JobPlan,
        progress: Progress,
    ) -> TuningJob:
        labels = layout.run_labels(self._model_name, spec, self._fixed())
        job = tuning_jobs.create_tuning_job(
            cloud,
            f"{self._model_name}-{spec.run_id}",
            plan,
            metric=self._ranges.metric,
            goal="MAXIMIZE" if self._ranges.maximize else "MINIMIZE",
            parameters=self._ranges.specs(),
            trials=self._trials,
            parallel=self._parallel,
            labels={**submission.settings.labels, **labels, layout.TUNING_LABEL: fingerprint},
        )
        progress.step(
            f"submitted {TUNING_JOBS.noun} {job.job_id}: {self._trials} trials, {self._parallel} at a time, each on "
            f"{submission.machines} ({cloud.vertex_url})"
        )
        if page := console_page(cloud, job):
            progress.step(page)
        return job

    def _tell(self, job: TuningJob, told: set[str], progress: Progress) -> bool:
        """Say which trials have ended since the last time."""
        new = [trial for trial in job.trials if trial.done and trial.trial_id not in told]
        for trial in new:
            told.add(trial.trial_id)
            metric = trial.metrics.get(self._ranges.metric)
            outcome = trial.reason.partition("\n")[0] if metric is None else f"{self._ranges.metric} {metric:.6g}"
            values = ", ".join(f"{name}={_short(value)}" for name, value in trial.parameters.items())
            progress.step(f"trial {trial.trial_id} of {self._trials}: {outcome} ({values})")
        return bool(new)

    def _ordered(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the best trial first, and those without a metric last."""

        def rank(trial: Trial) -> tuple[bool, float]:
            value = trial.metrics.get(self._ranges.metric)
            if trial.state != "SUCCEEDED" or value is None:
                return True, 0.0
            return False, -value if self._ranges.maximize else value

        return sorted(trials, key=rank)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool) else str(value)


def shown(values: Mapping[str, Any]) -> str:
    """Return parameters and their values as one line."""
    return ", ".join(f"{name}: {_short(value)}" for name, value in values.items())
