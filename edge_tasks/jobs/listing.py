"""The jobs of a repository's models, of all kinds: listed, found by a part of their names, read and cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge_tasks.cloud.batch_jobs import BATCH_JOBS
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.job_logs import LogLine, job_log
from edge_tasks.cloud.jobs import CUSTOM_JOBS, DONE_STATES, Job, JobApi
from edge_tasks.cloud.tuning_jobs import TUNING_JOBS
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.names import nearest
from edge_tasks.domain.prices import PriceList, amounts, money, total
from edge_tasks.errors import CloudError, ConfigError, NotFoundError
from edge_tasks.repo.layout import RUN_LABEL

COLUMNS = ["job", "kind", "model", "state", "created (UTC)", "hours", "cost", "run"]

_APIS: tuple[JobApi[Any], ...] = (CUSTOM_JOBS, TUNING_JOBS, BATCH_JOBS)
# As the API has them, without JOB_STATE_, and as people see them in lower case.
STATES = ("queued", "pending", "running", "cancelling", *sorted(state.lower() for state in DONE_STATES))

# Seconds between two looks at a log, and those by which Cloud Logging has the last lines later than the job its end.
_SHORT_PAUSE, _LONG_PAUSE, _LATER = 0.1, 2.0, 2.0
_CANCEL_LIMIT = 60.0


@dataclass(frozen=True)
class ListedJob:
    """A job of a model, and the calls for jobs of its kind."""

    api: JobApi[Any]
    model: str
    job: Job

    @property
    def run_id(self) -> str:
        """The run that the job is of; empty for a batch prediction."""
        return self.job.labels.get(RUN_LABEL, "")

    @property
    def hours(self) -> float:
        """The hours of all its machines together, until now."""
        return sum(use.hours * use.machine.count for use in self.job.uses)

    def cost(self, prices: PriceList | None) -> float | None:
        """Return what it has cost; None without prices of all its machines."""
        return total(prices, self.job.uses) if prices and self.job.uses else None

    def row(self, prices: PriceList | None = None) -> list[str]:
        """Return the job's row of COLUMNS."""
        created = f"{self.job.created:%Y-%m-%d %H:%M}"
        kind = self.api.noun.removesuffix(" job")
        hours, cost = f"{self.hours:,.1f}", money(self.cost(prices), prices) if prices else ""
        return [self.job.job_id, kind, self.model, self.job.state.lower(), created, hours, cost, self.run_id]

    def document(self, prices: PriceList | None = None) -> dict[str, Any]:
        """Return everything that is known of it as plain JSON."""
        return {
            "job": self.job.job_id,
            "name": self.job.name,
            "kind": self.api.noun.removesuffix(" job"),
            "model": self.model,
            "state": self.job.state.lower(),
            "created": self.job.created.isoformat(),
            "machines": [str(use.machine) for use in self.job.uses],
            "hours": round(self.hours, 6),
            **amounts({"cost": self.cost(prices)}, prices),
            "run": self.run_id or None,
            "error": self.job.error,
        }


def list_jobs(cloud: Cloud, config: EdgeConfig, model: str | None = None, state: str | None = None) -> list[ListedJob]:
    """Return the jobs of all models or of one, newest first. Raises ConfigError for a state that there is not."""
    if state is not None and state.lower() not in STATES:
        near = nearest(state, STATES)
        raise ConfigError(
            f"`{state}` is not a state of a job",
            f"did you mean `{near}`?" if near else f"use one of {', '.join(STATES)}",
        )
    names = [config.model(model)[0]] if model is not None else list(config.models)
    found = [ListedJob(api, name, job) for name in names for api in _APIS for job in api.of_model(cloud, name)]
    wanted = [one for one in found if state is None or one.job.state == state.upper()]
    return sorted(wanted, key=lambda one: one.job.created, reverse=True)


def find_job(cloud: Cloud, config: EdgeConfig, text: str) -> ListedJob:
    """Return the job that `text` means: its id, its run's id, or the beginning of one of them.

    Raises NotFoundError when none is meant, or several.
    """
    jobs = list_jobs(cloud, config)
    word = text.rpartition("/")[2]  # of a whole resource name
    found = [one for one in jobs if word in (one.job.job_id, one.run_id)]
    found = found or [one for one in jobs if word and (one.job.job_id.startswith(word) or one.run_id.startswith(word))]
    if not found:
        raise NotFoundError(
            f"there is no job `{text}` of a model of this repository", "invoke jobs.list shows the jobs"
        )
    if len({one.job.name for one in found}) > 1:
        names = ", ".join(one.job.job_id for one in found[:5])
        raise NotFoundError(f"`{text}` begins several jobs: {names}", "write more of the id")
    return found[0]


def printed(cloud: Cloud, listed: ListedJob, *, follow: bool) -> Iterator[LogLine]:
    """Yield what a job has printed; with `follow` also what it prints from now on, until it has ended."""
    if listed.api is BATCH_JOBS:
        raise NotFoundError(
            f"the {listed.api.noun} {listed.job.job_id} has no log",
            "what it says is its error: invoke jobs.list --json",
        )
    log, job, pause = job_log(listed.job.job_id), listed.job, _SHORT_PAUSE
    while True:
        lines = list(log.new_lines(cloud))
        yield from lines
        if not follow:
            return
        if job.done:
            break
        pause = _SHORT_PAUSE if lines else min(pause * 1.5, _LONG_PAUSE)
        time.sleep(pause)
        job = listed.api.get(cloud, job.name)
    deadline = time.monotonic() + _LATER
    while time.monotonic() < deadline:
        time.sleep(_SHORT_PAUSE)
        lines = list(log.new_lines(cloud))
        if not lines:
            return
        yield from lines


def cancel(cloud: Cloud, listed: ListedJob) -> Job:
    """Cancel a job and return it as it is when it has ended. Raises CloudError when it had ended before."""
    name = f"the {listed.api.noun} {listed.job.job_id}"
    if listed.job.done:
        raise CloudError(f"{name} has ended already, as {listed.job.state.lower()}", "invoke jobs.list --state running")
    listed.api.cancel(cloud, listed.job.name)
    deadline = time.monotonic() + _CANCEL_LIMIT
    job: Job = listed.api.get(cloud, listed.job.name)
    while not job.done and time.monotonic() < deadline:
        time.sleep(_SHORT_PAUSE)
        job = listed.api.get(cloud, listed.job.name)
    return job
