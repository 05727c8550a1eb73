"""The models of a repository: adding one, and asking it for predictions.

Serving them is the work of `edge_tasks.releases.operations`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edge_tasks.cloud import endpoints
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import NotFoundError


def endpoint_name(cloud: Cloud, name: str) -> str:
    """Return the resource name of the endpoint that serves the model `name`.

    Raises NotFoundError when nothing is deployed.
    """
    model = StateStore(cloud).load().model(name)
    if model.endpoint is None or model.deployed is None:
        raise NotFoundError(f"the model `{name}` is not deployed", f"invoke model.deploy --name {name}")
    return model.endpoint


def predict_url(cloud: Cloud, name: str) -> str:
    """Return the address to which predict requests for the model `name` are posted."""
    return endpoints.predict_url(cloud, endpoint_name(cloud, name))


def predict(cloud: Cloud, name: str, payload: bytes, progress: Progress | None = None) -> Any:
    """Ask the endpoint of the model `name` for predictions; `payload` is JSON: {"instances": [...]}.

    A model that has scaled to zero is waited for, if there is `progress` to tell that.
    """
    endpoint = endpoint_name(cloud, name)
    if progress is None:
        return endpoints.predict(cloud, endpoint, payload, patience=0)
    waiting = partial(progress.waiting, "waiting for the model to scale up from zero")
    return endpoints.predict(cloud, endpoint, payload, on_wait=waiting)
