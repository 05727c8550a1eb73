"""What serves and should not any more: it was deployed for a time that is over, or nobody asks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_tasks.cloud import clock, endpoints, request_counts
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.state import ModelState, until_words
from edge_tasks.errors import CloudError
from edge_tasks.releases import operations
from edge_tasks.releases.plan import Release

# What Cloud Monitoring keeps: https://cloud.google.com/monitoring/quotas#data_retention_policy.
LONGEST = timedelta(weeks=6)


@dataclass(frozen=True)
class Ending:
    """A model that is to be taken off its endpoint, and why. `candidate`: only the version with a part of the traffic.

    `state` is what the shared state said when that was found out.
    """

    model: str
    reason: str
    state: ModelState
    candidate: bool = False


@dataclass(frozen=True)
class Doubt:
    """A model of which it cannot be told whether it should end, or which a person has to look at."""

    model: str
    reason: str


def after(cloud: Cloud, period: timedelta) -> datetime:
    """Return until when a version is wanted that is deployed now for `period`, by the clock that ends it."""
    return clock.now(cloud).replace(microsecond=0) + period


def due(cloud: Cloud, name: str | None, *, expired: bool, idle: timedelta | None) -> Iterator[Ending | Doubt]:
    """Yield what of the model `name`, or of all that the shared state tells of, is to end."""
    models = StateStore(cloud).load().models
    if name is not None:
        models = {name: models[name]} if name in models else {}
    now = clock.now(cloud)
    for model, state in sorted(models.items()):
        found = _expired(model, state, now) if expired else None
        if found is None and idle is not None:
            found = _idle(cloud, model, state, now, idle)
        if found is not None:
            yield found


def _expired(model: str, state: ModelState, now: datetime) -> Ending | Doubt | None:
    deployed, candidate = state.deployed, state.candidate
    candidate_over = candidate is not None and candidate.until is not None and candidate.until <= now
    if deployed is not None and deployed.until is not None and deployed.until <= now:
        ended = f"version {deployed.version} was wanted {until_words(deployed.until)}"
        if candidate is not None and not candidate_over:
            return Doubt(
                model,
                f"{ended}, but version {candidate.version} has a part of the requests: invoke model.promote "
                f"--name {model}, or invoke model.undeploy --name {model}",
            )
        return Ending(model, ended, state)
    if candidate is not None and candidate.until is not None and candidate_over:
        reason = f"version {candidate.version} was wanted {until_words(candidate.until)}"
        return Ending(model, reason, state, candidate=deployed is not None)
    return None


def _idle(cloud: Cloud, model: str, state: ModelState, now: datetime, period: timedelta) -> Ending | Doubt | None:
    """Return that nobody asked any version on the endpoint, each of which has been there for the whole `period`."""
    endpoint = endpoints.get_endpoint(cloud, state.endpoint) if state.endpoint else None
    if endpoint is None or not endpoint.deployed or state.operation is not None:
        return None
    if any(endpoint.created.get(one, now) > now - period for one in endpoint.deployed):
        return None
    try:
        counted = request_counts.requests(cloud, endpoint.name, period)
    except CloudError as error:
        return Doubt(model, f"{error.problem} ({error.hint})" if error.hint else error.problem)
    if any(counted.values()):
        return None
    return Ending(model, f"nobody has asked it for {_period(period)}", state)


def carry_out(ending: Ending, release: Release) -> bool:
    """Take the model off; False when it was released meanwhile, so that the reason may not hold any more."""
    if ending.candidate:
        return operations.take_candidate_off(release, ending.state)
    return operations.undeploy(release, ending.state)


def _period(period: timedelta) -> str:
    hours = period.total_seconds() / 3600
    if hours < 1:
        return _counted(hours * 60, "minute")
    return _counted(hours / 24, "day") if hours >= 48 else _counted(hours, "hour")


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
