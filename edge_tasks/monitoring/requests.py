"""What the endpoint of a model was asked: switched on and off, read as columns, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from operator import eq
from typing import Any

from edge_tasks.cloud import clock, request_log
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.request_batch import Batch
from edge_tasks.cloud.request_log import LogSetting
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


def read(cloud: Cloud, model: str, since: datetime, until: datetime | None = None) -> Iterator[Batch]:
    """Return what a model was asked from `since` on, by thousands of predictions.

    Raises EdgeError at once when its endpoint keeps nothing.
    """
    endpoint = endpoint_of(cloud, model)
    return request_log.batches(cloud, endpoint, _table(cloud, model, endpoint), since, until)


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


def of_serving(cloud: Cloud, model: str, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield what the version that serves has answered, not the versions before."""
    deployed = StateStore(cloud).load().model(model).deployed
    return batches_of(batches, deployed.deployed_model_id) if deployed else iter(batches)


def batches_of(batches: Iterable[Batch], deployed_model_id: str, *, others: bool = False) -> Iterator[Batch]:
    """Yield what this deployed model has answered; with `others` what all others have."""
    for batch in batches:
        found = batch.only([(one == deployed_model_id) is not others for one in batch.deployed_model_ids])
        if len(found):
            yield found


def columns(batch: Batch, names: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of what was asked and answered."""
    return columns_of(asked(batch), answered(batch), names)


def asked(batch: Batch) -> list[Any]:
    """Return the instances of all predictions."""
    return list(chain.from_iterable(batch.asked))


def answered(batch: Batch) -> list[Any]:
    """Return the prediction for each instance.

    Instances that were answered otherwise than one by one have None.
    """
    if all(map(eq, map(len, batch.asked), map(len, batch.answered))):
        return list(chain.from_iterable(batch.answered))
    found: list[Any] = []
    for instances, predictions in zip(batch.asked, batch.answered, strict=True):
        found += predictions if len(predictions) == len(instances) else [None] * len(instances)
    return found


def now(cloud: Cloud) -> datetime:
    """Return the time by which requests are dated."""
    return clock.now(cloud)
