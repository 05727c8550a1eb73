"""JobService, hyperparameter tuning jobs.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.hyperparameterTuningJobs

Every trial is a custom job that gets its parameters as arguments and reports its metrics with cloudml-hypertune.
"""

from __future__ import annotations

import asyncio
import re
from random import Random
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, unimplemented
from edge_tasks.emulator.runtime.job_runner import JobFailedError
from edge_tasks.emulator.services.names import check_display_name, check_labels, check_parent, new_id
from edge_tasks.emulator.services.runs import Runs
from edge_tasks.emulator.tuning.reports import Goal, Measurement, final_measurement, read_measurements
from edge_tasks.emulator.tuning.search import Attempt, Search, algorithm
from edge_tasks.emulator.tuning.space import Point, Value, read_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.jobs import Jobs
    from edge_tasks.emulator.services.operations import Operations

KIND = "HyperparameterTuningJob"
CREATE = "google.cloud.aiplatform.v1.JobService.CreateHyperparameterTuningJob"
METRIC = re.compile(r"\S+")
# With a max_failed_trial_count of 0 the service decides: here, when this many have failed and none has succeeded.
HOPELESS = 5
# A job may wish for any number of trials side by side; one machine does not run more.
MOST_PARALLEL = 50
# Larger numbers are written with an exponent.
LARGEST_WHOLE = 1e15
# What a study may ask for that would change which trials run, and is not emulated.
NOT_EMULATED = (
    "decay_curve_stopping_spec",
    "median_automated_stopping_spec",
    "convex_automated_stopping_spec",
    "study_stopping_config",
)


class TuningJobs:
    """Hyperparameter tuning jobs: their trials run side by side as custom jobs."""

    service = "google.cloud.aiplatform.v1.JobService"

    def __init__(self, context: Context, operations: Operations, jobs: Jobs) -> None:
        self._context = context
        self._jobs = jobs
        self._runs = Runs(context, operations, KIND, "JobState")

    async def create_hyperparameter_tuning_job(self, request: Message) -> Message:
        """Store a job and start it."""
        check_parent(request.parent)
        job = request.hyperparameter_tuning_job
        _check(job)
        await self._jobs.check_spec(job.trial_job_spec, request.parent)
        # Refuses a study that the algorithm cannot search.
        search_of(job.study_spec)
        job.name = f"{request.parent}/hyperparameterTuningJobs/{new_id()}"
        job.ClearField("trials")
        return self._runs.start(job, request.parent, self._run)

    async def get_hyperparameter_tuning_job(self, request: Message) -> Message:
        """Return a job with its trials."""
        return self._runs.get(request.name)

    async def list_hyperparameter_tuning_jobs(self, request: Message) -> Message:
        """Return the jobs of a location, newest first."""
        return self._runs.listed(request)

    async def cancel_hyperparameter_tuning_job(self, request: Message) -> Message:
        """End a job and its trials; a job that has ended stays as it is."""
        return self._runs.cancel(request.name)

    async def delete_hyperparameter_tuning_job(self, request: Message) -> Message:
        """Forget a job that has ended, with the custom jobs of its trials and their logs."""
        return await self._runs.delete(request, self._forget_trials)

    async def _forget_trials(self, job: Message) -> None:
        for trial in job.trials:
            await self._jobs.delete(trial.custom_job)

    def recover(self) -> None:
        """Fail the jobs that an earlier run of the emulator could not finish, and their open trials."""
        for job in self._runs.recover():
            for trial in job.trials:
                if trial.state == self._trial_state("ACTIVE"):
                    self._end_trial(job, trial.id, "The emulator was stopped while the trial ran.")

    async def close(self) -> None:
        """End all jobs."""
        await self._runs.close()

    async def _run(self, name: str) -> None:
        study = _Study(self._runs.get(name))
        running: dict[asyncio.Task[Message], str] = {}
        try:
            while True:
                await self._start_trials(name, study, running)
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    await self._complete(name, study, running[task], task.result())
                    del running[task]
                study.check_failures()
        finally:
            await self._stop_trials(name, running)
        study.check_success()

    async def _stop_trials(self, name: str, running: dict[asyncio.Task[Message], str]) -> None:
        """End the trials that still run."""
        for task in running:
            task.cancel()
        try:
            if running:
                await asyncio.wait(running)
        finally:
            for trial_id in running.values():
                self._end_trial(self._runs.get(name), trial_id, "The trial was stopped together with the job.")

    async def _start_trials(self, name: str, study: _Study, running: dict[asyncio.Task[Message], str]) -> None:
        """Start trials until as many run as may."""
        while len(running) < study.parallel and len(study.attempts) < study.limit:
            # On a thread: with many trials the model takes its time.
            point = await asyncio.to_thread(study.search.suggest, list(study.attempts.values()))
            if point is None:
                study.limit = len(study.attempts)
                break
            trial_id = str(len(study.attempts) + 1)
            custom_job = self._start_trial(name, trial_id, point)
            study.attempts[trial_id] = Attempt(point)
            running[asyncio.ensure_future(self._jobs.ended(custom_job.name))] = trial_id

    def _start_trial(self, name: str, trial_id: str, point: Point) -> Message:
        self._runs.set_running(name)
        job = self._runs.get(name)
        parent = name.partition("/hyperparameterTuningJobs/")[0]
        custom_job = self._context.surface.new("CustomJob", display_name=f"{job.display_name[:110]}-trial-{trial_id}")
        custom_job.job_spec.CopyFrom(_trial_spec(job.trial_job_spec, trial_id, point))
        custom_job.labels.update(job.labels)
        if job.HasField("encryption_spec"):
            custom_job.encryption_spec.CopyFrom(job.encryption_spec)
        started = self._jobs.start(parent, custom_job, trial_id)
        trial = job.trials.add(id=trial_id, custom_job=started.name, state=self._trial_state("ACTIVE"))
        write_point(trial, point)
        trial.start_time.GetCurrentTime()
        self._runs.save(job)
        return started

    async def _complete(self, name: str, study: _Study, trial_id: str, custom_job: Message) -> None:
        """Read what an ended trial has reported: without an error and with every metric it has succeeded."""
        path = self._jobs.folder(custom_job.name).metrics
        measurements = await asyncio.to_thread(read_measurements, path, study.goals)
        final = final_measurement(measurements, study.goals, best=study.best)
        job = self._runs.get(name)
        trial = next(trial for trial in job.trials if trial.id == trial_id)
        begin = trial.start_time.seconds + trial.start_time.nanos / 1e9
        for measurement in sorted(measurements, key=lambda found: (found.step, found.timestamp)):
            _write(trial.measurements.add(), measurement, begin)
        if custom_job.HasField("error"):
            self._end_trial(job, trial_id, custom_job.error.message)
        elif final is None:
            names = ", ".join(goal.metric for goal in study.goals)
            self._end_trial(
                job, trial_id, f"The trial did not report every metric of the study ({names}) with cloudml-hypertune."
            )
        else:
            _write(trial.final_measurement, final, begin)
            study.attempts[trial_id].metrics = tuple(goal.gain(final.metrics[goal.metric]) for goal in study.goals)
            self._end_trial(job, trial_id)
        study.note(trial_id, trial.infeasible_reason)

    def _end_trial(self, job: Message, trial_id: str, infeasible_reason: str = "") -> None:
        trial = next(trial for trial in job.trials if trial.id == trial_id)
        trial.state = self._trial_state("INFEASIBLE" if infeasible_reason else "SUCCEEDED")
        trial.infeasible_reason = infeasible_reason
        trial.end_time.GetCurrentTime()
        self._runs.save(job)

    def _trial_state(self, name: str) -> int:
        return self._context.surface.enum_value("Trial.State", name)


class _Study:
    """What a running job knows of its trials."""

    def __init__(self, job: Message) -> None:
        self.search = search_of(job.study_spec)
        self.goals = goals_of(job.study_spec)
        self.best = _enum_name(job.study_spec, "measurement_selection_type") == "BEST_MEASUREMENT"
        self.limit: int = job.max_trial_count
        self.parallel: int = min(job.parallel_trial_count, MOST_PARALLEL)
        self.attempts: dict[str, Attempt] = {}
        self._most_failures: int = job.max_failed_trial_count
        self._failures = 0
        self._successes = 0
        self._last_failure = ""

    def note(self, trial_id: str, infeasible_reason: str) -> None:
        """Count an ended trial."""
        if infeasible_reason:
            self._failures += 1
            self._last_failure = f"The last of them, trial {trial_id}: {infeasible_reason}"
        else:
            self._successes += 1

    def check_failures(self) -> None:
        """End the job when more trials have failed than may."""
        if self._most_failures and self._failures >= self._most_failures:
            raise JobFailedError(
                f"{self._failures} trials have failed, and max_failed_trial_count is {self._most_failures}."
                f" {self._last_failure}"
            )
        if not self._most_failures and not self._successes and self._failures >= HOPELESS:
            raise JobFailedError(f"The first {self._failures} trials have failed. {self._last_failure}")

    def check_success(self) -> None:
        """Refuse to call a job successful of which every trial has failed."""
        if not self._successes:
            raise JobFailedError(f"All {self._failures} trials have failed. {self._last_failure}")


def search_of(spec: Message) -> Search:
    """Return the algorithm that a study asks for, over its parameters."""
    name = _enum_name(spec, "algorithm")
    # Which points are tried is not secret.
    return algorithm(name, read_parameters(spec.parameters), Random())  # noqa: S311


def goals_of(spec: Message) -> list[Goal]:
    """Return the metrics of a study, and which way is better."""
    return [Goal(metric.metric_id, _enum_name(metric, "goal") != "MINIMIZE") for metric in spec.metrics]


def write_point(trial: Message, point: Point) -> None:
    """Put parameters into a trial."""
    for parameter_id, value in point.items():
        parameter = trial.parameters.add(parameter_id=parameter_id)
        if isinstance(value, str):
            parameter.value.string_value = value
        else:
            parameter.value.number_value = value


def _trial_spec(spec: Message, trial_id: str, point: Point) -> Message:
    """Return the spec of a trial's job: with its parameters as arguments, and its own folders for output."""
    trial_spec = type(spec)()
    trial_spec.CopyFrom(spec)
    for pool in trial_spec.worker_pool_specs:
        if (task := pool.WhichOneof("task")) is not None:
            getattr(pool, task).args.extend(f"--{name}={_text(value)}" for name, value in point.items())
    base = trial_spec.base_output_directory
    if base.output_uri_prefix:
        base.output_uri_prefix = f"{base.output_uri_prefix.rstrip('/')}/{trial_id}"
    return trial_spec


def _text(value: Value) -> str:
    """Write a whole number without a point: a discrete parameter may be read as an int."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_WHOLE
    return str(int(value) if is_whole else value)


def _write(message: Message, measurement: Measurement, begin: float) -> None:
    message.step_count = measurement.step
    # The clock of the program that reports: one that is wrong must not make a wrong message.
    elapsed = min(max(measurement.timestamp - begin, 0.0), 1e9)
    message.elapsed_duration.FromMicroseconds(int(elapsed * 1e6))
    for name, value in measurement.metrics.items():
        message.metrics.add(metric_id=name, value=value)


def _check(job: Message) -> None:
    """Refuse a job that Vertex AI would refuse, and one that this emulator cannot run as asked."""
    check_display_name(job)
    check_labels(job)
    check_metrics(job.study_spec.metrics)
    for field in NOT_EMULATED:
        if job.study_spec.HasField(field):
            raise unimplemented(
                f"{CREATE} with study_spec.{field} is not implemented by this emulator: every trial runs to its end."
            )
    for field in ("max_trial_count", "parallel_trial_count"):
        if getattr(job, field) <= 0:
            raise invalid(f"{field} is required and must be positive.")
    if job.max_failed_trial_count < 0:
        raise invalid("max_failed_trial_count must not be negative.")
    for field in ("algorithm", "measurement_selection_type"):
        if not _enum_name(job.study_spec, field):
            raise invalid(f"study_spec.{field} is unknown: {getattr(job.study_spec, field)}.")


def check_metrics(metrics: Sequence[Message]) -> None:
    """Refuse metrics that no study can have."""
    if not metrics:
        raise invalid("study_spec.metrics is required.")
    for metric in metrics:
        if not METRIC.fullmatch(metric.metric_id):
            raise invalid(f"Invalid metric_id {metric.metric_id!r}: it must be set and not hold whitespace.")
        if metric.HasField("safety_config"):
            raise unimplemented(f"{CREATE} with a safety_config is not implemented by this emulator.")
    if len({metric.metric_id for metric in metrics}) != len(metrics):
        raise invalid("study_spec.metrics names a metric_id twice.")


def _enum_name(message: Message, field: str) -> str:
    """Return the name of an enum's value; nothing for a number that it does not have."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    number = getattr(message, field)
    return str(values[number].name) if number in values else ""
