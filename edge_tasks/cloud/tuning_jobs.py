"""Every call to Vertex AI's hyperparameter tuning jobs.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.hyperparameterTuningJobs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import Job, JobApi, JobPlan, hours_run, job_fields, job_spec, pool_machines
from edge_tasks.domain.prices import Use


@dataclass(frozen=True)
class Trial:
    """One trial: `state` is Vertex AI's; `metrics` is empty until it has reported; `reason` is why it failed."""

    trial_id: str
    state: str
    parameters: Mapping[str, float | str]
    metrics: Mapping[str, float]
    custom_job: str
    reason: str

    @property
    def done(self) -> bool:
        """Whether the trial has ended."""
        return self.state in ("SUCCEEDED", "INFEASIBLE")


@dataclass(frozen=True)
class TuningJob(Job):
    """A hyperparameter tuning job as it is now, with its trials in the order they were started."""

    trials: Sequence[Trial]


def create_tuning_job(
    cloud: Cloud,
    display_name: str,
    plan: JobPlan,
    *,
    metric: str,
    goal: str,
    parameters: Sequence[Mapping[str, Any]],
    trials: int,
    parallel: int,
    labels: Mapping[str, str],
) -> TuningJob:
    """Create a job whose trials run `plan` with values of `parameters` (ParameterSpec), added as `--NAME=VALUE`.

    `goal` is MAXIMIZE or MINIMIZE.
    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec
    """
    job = {
        "display_name": display_name,
        "labels": dict(labels),
        "study_spec": {"metrics": [{"metric_id": metric, "goal": goal}], "parameters": list(parameters)},
        "max_trial_count": trials,
        "parallel_trial_count": parallel,
        "trial_job_spec": job_spec(plan),
    }
    return TUNING_JOBS.create(cloud, job)


def _job(message: Any) -> TuningJob:
    machines = pool_machines(message.trial_job_spec)
    # Trials run next to each other, each on machines of its own.
    ran = sum(hours_run(trial) for trial in message.trials)
    return TuningJob(
        **job_fields(message),
        uses=tuple(Use(one, ran) for one in machines),
        trials=[_trial(trial) for trial in message.trials],
    )


def _trial(message: Any) -> Trial:
    return Trial(
        trial_id=message.id,
        state=message.state.name,
        parameters={parameter.parameter_id: parameter.value for parameter in message.parameters},
        metrics={metric.metric_id: metric.value for metric in message.final_measurement.metrics},
        custom_job=message.custom_job,
        reason=message.infeasible_reason,
    )


TUNING_JOBS = JobApi("tuning job", "hyperparameter_tuning_job", _job)
