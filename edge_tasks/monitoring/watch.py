"""What an endpoint is asked now, compared with a training, with the time before, or with another version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from edge_tasks.cloud import endpoints, model_registry, request_log, storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.request_log import LogSetting, Row
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.baseline import FILE_NAME, PREDICTION, Baseline, columns_of, make_baseline
from edge_tasks.domain.drift import CHANGED, FEWEST_REQUESTS, TOO_FEW, Comparison, compare
from edge_tasks.domain.infrastructure import LogDataset
from edge_tasks.errors import EdgeError, NotFoundError


@dataclass(frozen=True)
class Watched:
    """What was found: `requests` of now, compared column by column with `against`, in words."""

    model: str
    against: str
    requests: int
    comparisons: list[Comparison] = field(default_factory=list)
    fewest: int = FEWEST_REQUESTS

    @property
    def changed(self) -> list[Comparison]:
        """The columns that have changed."""
        return [one for one in self.comparisons if one.verdict == CHANGED]

    @property
    def verdict(self) -> str:
        """One line for people."""
        if self.requests < self.fewest or (
            self.comparisons and all(one.verdict == TOO_FEW for one in self.comparisons)
        ):
            return f"not enough requests to say: {self.requests} of {self.fewest}"
        if self.changed:
            names = ", ".join(f"`{one.column}`" for one in self.changed)
            return f"{names} {'has' if len(self.changed) == 1 else 'have'} changed against {self.against}"
        return f"no column has changed against {self.against}"


def table_of(cloud: Cloud, model: str) -> str:
    """Return the table for what a model's endpoint is asked."""
    return f"bq://{cloud.project}.{LogDataset(model, cloud.region).dataset_id}.request_response_logging"


def switch(cloud: Cloud, model: str, rate: float | None) -> LogSetting:
    """Keep this share of what the model's endpoint is asked; None keeps nothing more. Return the setting."""
    if rate is not None and not 0 < rate <= 1:
        raise EdgeError(f"the sample {rate:g} is not a share", "use a number above 0 and up to 1, such as 0.2")
    endpoint = _endpoint(cloud, model)
    wanted = LogSetting(rate is not None, rate or 0.0, table_of(cloud, model))
    request_log.keep(cloud, endpoint, wanted)
    return wanted


def watch(
    cloud: Cloud,
    model: str,
    since: timedelta,
    *,
    baseline: Baseline | None = None,
    before: bool = False,
    version: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    fewest: int = FEWEST_REQUESTS,
) -> Watched:
    """Compare what the endpoint was asked in the time `since` now.

    With a `baseline`; or (`before`) with the same length of time before; or with another `version` that answers, too;
    else with the baseline that was trained with the version that serves.
    """
    endpoint = _endpoint(cloud, model)
    setting = request_log.setting(cloud, endpoint)
    if not setting.table:
        raise EdgeError(
            f"the endpoint of `{model}` keeps nothing of what it is asked", f"invoke model.monitor --name {model} --on"
        )
    now = datetime.now(timezone.utc)
    start = now - since
    rows = list(request_log.read(cloud, endpoint, setting.table, start - since if before else start))
    current = [row for row in rows if row.time >= start]
    if version is not None:
        deployed = _deployed_as(cloud, endpoint, version)
        others = [row for row in current if row.deployed_model_id == deployed]
        current = [row for row in current if row.deployed_model_id != deployed]
        baseline = make_baseline(_columns(others), f"version {version}")
    elif before:
        baseline = make_baseline(_columns([row for row in rows if row.time < start]), "the time before")
    elif baseline is None:
        baseline = trained_baseline(cloud, model)
    columns = _columns(current, [name for name in baseline.columns if not name.startswith(PREDICTION)])
    requests = max((len(values) for values in columns.values()), default=0)
    if not baseline.rows:
        raise EdgeError(
            f"there is nothing to compare with: {baseline.source} has no requests", "look back with --since 7d"
        )
    if requests and not baseline.columns.keys() & columns.keys():
        raise EdgeError(
            f"what `{model}` was asked has no column of {baseline.source or 'the baseline'}",
            f"the requests have {_listed(columns)}; the baseline has {_listed(baseline.columns)}",
        )
    return compared(model, baseline, columns, thresholds, fewest)


def compared(
    model: str,
    baseline: Baseline,
    columns: Mapping[str, Sequence[Any]],
    thresholds: Mapping[str, float] | None = None,
    fewest: int = FEWEST_REQUESTS,
) -> Watched:
    """Compare columns with a baseline."""
    requests = max((len(values) for values in columns.values()), default=0)
    comparisons = compare(baseline.columns, baseline.like(columns), thresholds, fewest)
    return Watched(model, baseline.source or "the baseline", requests, comparisons, fewest)


def _columns(rows: Iterable[Row], names: Sequence[str] = ()) -> dict[str, list[Any]]:
    asked: list[Any] = []
    answered: list[Any] = []
    for row in rows:
        asked += row.asked
        # A batch that was answered otherwise than instance by instance says nothing of each.
        answered += row.answered if len(row.answered) == len(row.asked) else [None] * len(row.asked)
    return columns_of(asked, answered, names)


def _endpoint(cloud: Cloud, model: str) -> str:
    found = StateStore(cloud).load().model(model).endpoint
    if found is None:
        raise NotFoundError(f"the model `{model}` has no endpoint", f"invoke model.deploy --name {model}")
    return found


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
    deployed = StateStore(cloud).load().model(model).deployed
    if deployed is None:
        raise NotFoundError(f"the model `{model}` is not deployed", f"invoke model.deploy --name {model}")
    uri = f"{model_registry.get_model(cloud, deployed.model).artifact_uri.rstrip('/')}/{FILE_NAME}"
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
        raise EdgeError(f"{uri}: {error.problem}", error.hint) from None
    return Baseline(found.rows, found.columns, found.source or "its training")


def _listed(names: Iterable[str]) -> str:
    shown = [f"`{name}`" for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
