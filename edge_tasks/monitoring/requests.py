"""What the endpoint of a model was asked: switched on and off, read as rows and columns, deleted."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from edge_tasks.cloud import request_log
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.request_log import LogSetting, Row
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.baseline import columns_of
from edge_tasks.domain.infrastructure import LogDataset
from edge_tasks.errors import EdgeError, NotFoundError


def table_of(cloud: Cloud, model: str) -> str:
    """Return the table for what a model's endpoint is asked."""
    return f"bq://{cloud.project}.{LogDataset(model, cloud.region).dataset_id}.request_response_logging"


def switch(cloud: Cloud, model: str, rate: float | None) -> LogSetting:
    """Keep this share of what the model's endpoint is asked; None keeps nothing more. Return the setting."""
    if rate is not None and not 0 < rate <= 1:
        raise EdgeError(f"the sample {rate:g} is not a share", "use a number above 0 and up to 1, such as 0.2")
    wanted = LogSetting(rate is not None, rate or 0.0, table_of(cloud, model))
    request_log.keep(cloud, endpoint_of(cloud, model), wanted)
    return wanted


def is_kept(cloud: Cloud, model: str) -> bool:
    """Whether a model has an endpoint that keeps what it is asked."""
    endpoint = StateStore(cloud).load().model(model).endpoint
    return endpoint is not None and request_log.setting(cloud, endpoint).enabled


def endpoint_of(cloud: Cloud, model: str) -> str:
    """Return the model's endpoint. Raises NotFoundError when it has none."""
    found = StateStore(cloud).load().model(model).endpoint
    if found is None:
        raise NotFoundError(f"the model `{model}` has no endpoint", f"invoke model.deploy --name {model}")
    return found


def read(cloud: Cloud, model: str, since: datetime) -> list[Row]:
    """Return the rows of what a model was asked from `since` on."""
    endpoint = endpoint_of(cloud, model)
    table = _table(cloud, model, endpoint)
    with _no_collection():
        return list(request_log.read(cloud, endpoint, table, since))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Let Python look for no garbage meanwhile: among millions of new values that takes as long as reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def delete(cloud: Cloud, model: str, until: datetime) -> int:
    """Delete what was kept before `until`; return how many files or rows that were."""
    endpoint = endpoint_of(cloud, model)
    return request_log.delete(cloud, _table(cloud, model, endpoint), until)


def _table(cloud: Cloud, model: str, endpoint: str) -> str:
    table = request_log.setting(cloud, endpoint).table
    if not table:
        raise EdgeError(
            f"the endpoint of `{model}` keeps nothing of what it is asked", f"invoke model.monitor --name {model} --on"
        )
    return table


def of_serving(cloud: Cloud, model: str, rows: Iterable[Row]) -> list[Row]:
    """Return the rows that the version which serves has answered, not those of the versions before."""
    deployed = StateStore(cloud).load().model(model).deployed
    return [row for row in rows if deployed is None or row.deployed_model_id == deployed.deployed_model_id]


def columns(rows: Iterable[Row], names: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of what was asked and answered."""
    return columns_of(asked(rows), answered(rows), names)


def asked(rows: Iterable[Row]) -> list[Any]:
    """Return the instances of all rows."""
    return [instance for row in rows for instance in row.asked]


def answered(rows: Iterable[Row]) -> list[Any]:
    """Return the prediction for each instance of all rows.

    A batch that was answered otherwise than instance by instance says nothing of each.
    """
    found: list[Any] = []
    for row in rows:
        found += row.answered if len(row.answered) == len(row.asked) else [None] * len(row.asked)
    return found


def now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)
