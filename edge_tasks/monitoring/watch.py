"""What an endpoint is asked now, compared with a training, with the time before, or with another version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from edge_tasks.cloud import endpoints, model_registry, storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.request_batch import Batch
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.baseline import FILE_NAME, Baseline, Tally, columns_of, is_prediction, make_baseline
from edge_tasks.domain.config import Monitoring
from edge_tasks.domain.drift import CHANGED, FEWEST_REQUESTS, TOO_FEW, Comparison, compare
from edge_tasks.domain.state import Deployment
from edge_tasks.errors import EdgeError, NotFoundError
from edge_tasks.monitoring import requests

# Of requests that others are compared with, so many make the bins.
SAMPLE = 20_000


@dataclass(frozen=True)
class Watched:
    """What was found: `requests` of now, compared column by column with `against`, in words.

    `unknown` are columns that the settings name and the baseline does not have.
    """

    model: str
    against: str
    requests: int
    comparisons: list[Comparison] = field(default_factory=list)
    fewest: int = FEWEST_REQUESTS
    since: datetime | None = None
    until: datetime | None = None
    unknown: Sequence[str] = ()

    @property
    def changed(self) -> list[Comparison]:
        """The columns that have changed."""
        return [one for one in self.comparisons if one.verdict == CHANGED]

    @property
    def is_enough(self) -> bool:
        """Whether there are enough requests for a verdict."""
        few = self.comparisons and all(one.verdict == TOO_FEW for one in self.comparisons)
        return self.requests >= self.fewest and not few

    @property
    def verdict(self) -> str:
        """One line for people."""
        if not self.is_enough:
            return f"not enough requests to say: {self.requests} of {self.fewest}"
        if self.changed:
            names = ", ".join(f"`{one.column}`" for one in self.changed)
            return f"{names} {'has' if len(self.changed) == 1 else 'have'} changed against {self.against}"
        return f"no column has changed against {self.against}"


def watch(
    cloud: Cloud,
    model: str,
    since: timedelta,
    settings: Monitoring,
    *,
    baseline: Baseline | None = None,
    before: bool = False,
    version: str | None = None,
    deployment: Deployment | None = None,
) -> Watched:
    """Compare what the endpoint was asked in the time `since` now.

    With a `baseline`; or (`before`) with the same length of time before; or with another `version` that answers, too;
    else what the version that serves, or a `deployment` of the model, was asked, with the baseline of its training.
    """
    now = requests.now(cloud)
    start = now - since
    current = requests.read(cloud, model, start)
    if version is not None:
        deployed = _deployed_as(cloud, requests.endpoint_of(cloud, model), version)
        baseline = counted_baseline(
            lambda: requests.batches_of(requests.read(cloud, model, start), deployed), f"version {version}"
        )
        current = requests.batches_of(current, deployed, others=True)
    elif before:
        baseline = counted_baseline(lambda: requests.read(cloud, model, start - since, start), "the time before")
    elif baseline is None:
        deployment = deployment or _serving(cloud, model)
        baseline = baseline_of(cloud, model, deployment)
        current = requests.batches_of(current, deployment.deployed_model_id)
    tally = Tally(baseline)
    for batch in current:
        tally.add(requests.columns(batch, names_in(baseline)), sum(map(len, batch.asked)))
    if not baseline.rows:
        raise EdgeError(
            f"there is nothing to compare with: {baseline.source} has no requests", "look back with --since 7d"
        )
    if tally.rows and not tally.columns:
        raise EdgeError(
            f"what `{model}` was asked has no column of {baseline.source or 'the baseline'}",
            f"the requests have {_listed(tally.names)}; the baseline has {_listed(baseline.columns)}",
        )
    return replace(_compared(model, baseline, tally, settings), since=start, until=now)


def counted_baseline(read: Callable[[], Iterable[Batch]], source: str) -> Baseline:
    """Return the baseline of requests: the bins are those of the first, in which all are counted."""
    sample: list[Batch] = []
    found = iter(read())
    for batch in found:
        sample.append(batch)
        if sum(map(len, sample)) >= SAMPLE:
            break
    asked = [instance for batch in sample for instance in requests.asked(batch)]
    answered = [prediction for batch in sample for prediction in requests.answered(batch)]
    baseline = make_baseline(columns_of(asked, answered), source)
    if next(found, None) is None:
        return baseline
    tally = Tally(baseline)
    for batch in read():
        tally.add(requests.columns(batch), sum(map(len, batch.asked)))
    return replace(baseline, rows=tally.rows, columns=tally.columns)


def names_in(baseline: Baseline) -> list[str]:
    """Return the names of the inputs, in order: a model that is asked with lists has no others."""
    return [name for name in baseline.columns if not is_prediction(name)]


def compared(model: str, baseline: Baseline, columns: Mapping[str, Sequence[Any]], settings: Monitoring) -> Watched:
    """Compare columns with a baseline."""
    tally = Tally(baseline)
    tally.add(columns, max((len(values) for values in columns.values()), default=0))
    return _compared(model, baseline, tally, settings)


def _compared(model: str, baseline: Baseline, tally: Tally, settings: Monitoring) -> Watched:
    looked_at = baseline.only(settings.columns).columns
    now = {name: column for name, column in tally.columns.items() if name in looked_at}
    fewest = settings.fewest_requests
    comparisons = compare(looked_at, now, settings.thresholds, fewest)
    unknown = [name for name in (*settings.columns, *settings.thresholds) if name not in baseline.columns]
    return Watched(model, baseline.source or "the baseline", tally.rows, comparisons, fewest, unknown=unknown)


def _deployed_as(cloud: Cloud, endpoint: str, version: str) -> str:
    found = endpoints.get_endpoint(cloud, endpoint)
    deployed = found.deployed if found else {}
    for deployed_model_id, name in deployed.items():
        if name.rpartition("@")[2] == version:
            return deployed_model_id
    there = ", ".join(sorted(name.rpartition("@")[2] for name in deployed.values()))
    raise NotFoundError(f"the version {version} does not serve", f"these do: {there or 'none'}")


def trained_baseline(cloud: Cloud, model: str) -> Baseline:
    """Return the baseline that lies next to the artifact of the version that serves."""
    return baseline_of(cloud, model, _serving(cloud, model))


def _serving(cloud: Cloud, model: str) -> Deployment:
    deployed = StateStore(cloud).load().model(model).deployed
    if deployed is None:
        raise NotFoundError(f"the model `{model}` is not deployed", f"invoke model.deploy --name {model}")
    return deployed


def baseline_of(cloud: Cloud, model: str, deployment: Deployment) -> Baseline:
    """Return the baseline that lies next to the artifact of a version that was deployed."""
    uri = f"{model_registry.get_model(cloud, deployment.model).artifact_uri.rstrip('/')}/{FILE_NAME}"
    try:
        content = storage.read(cloud, uri)
    except NotFoundError:
        raise NotFoundError(
            f"the version of `{model}` that serves has no {FILE_NAME}",
            "compare with a file of rows (--baseline FILE), or with the time before (--before)",
        ) from None
    try:
        found = Baseline.from_json(content)
    except EdgeError as error:
        hint = error.hint or "compare with a file of rows (--baseline FILE), or train and deploy again"
        raise EdgeError(f"{uri}: {error.problem}", hint) from None
    return replace(found, source=found.source or "its training")


def _listed(names: Iterable[str]) -> str:
    shown = [f"`{name}`" for name in names]
    return (", ".join(shown[:8]) or "none") + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
