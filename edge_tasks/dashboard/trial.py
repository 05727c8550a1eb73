"""Asking an endpoint from the page: what a request looks like, and what comes back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from edge_tasks.cloud import endpoints, model_registry, storage
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.signature import FILE_NAME as SIGNATURE_FILE
from edge_tasks.errors import CloudError, EdgeError, NotFoundError
from edge_tasks.models import predictions
from edge_tasks.repo import layout
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.payloads import LIMIT_BYTES

_LIMIT = 60.0


def form(cloud: Cloud, root: Path, name: str) -> dict[str, Any]:
    """Return the signature of the version that serves, an example of a request, and where it goes.

    Raises NotFoundError when nothing is deployed.
    """
    deployed = StateStore(cloud).load().model(name).deployed
    url = predictions.predict_url(cloud, name)
    signature = _signature(cloud, deployed.model) if deployed else None
    return {
        "model": name,
        "version": deployed.version if deployed else None,
        "url": url,
        "google": cloud.console_url is not None,
        "signature": signature,
        "example": _example(root, name, signature),
    }


def _signature(cloud: Cloud, model: str) -> dict[str, Any] | None:
    try:
        folder = model_registry.get_model(cloud, model).artifact_uri.rstrip("/")
        found = json.loads(storage.read(cloud, f"{folder}/{SIGNATURE_FILE}"))
    except (CloudError, ValueError):  # a model without one, or one that somebody put there by hand
        return None
    return found if isinstance(found, dict) else None


def _example(root: Path, name: str, signature: dict[str, Any] | None) -> list[Any]:
    """Return instances: those of the checkout's test_payload.json, else the signature's."""
    try:
        payload = json.loads((layout.model_folder(root, name) / PAYLOAD_FILE).read_bytes())
        instances = payload["instances"]
    except (OSError, ValueError, KeyError, TypeError):
        instances = [signature["example"]] if signature and "example" in signature else []
    return instances if isinstance(instances, list) else []


def ask(cloud: Cloud, name: str, payload: bytes, *, explain: bool) -> dict[str, Any]:
    """Ask the endpoint; return what it answered and the milliseconds that it took.

    Raises EdgeError with the endpoint's own words when it refused.
    """
    if len(payload) > LIMIT_BYTES:
        raise EdgeError(f"the request has {len(payload):,} bytes, an endpoint takes {LIMIT_BYTES:,}")
    try:
        json.loads(payload)
    except ValueError as error:
        raise EdgeError(f"the request is not JSON: {error}") from None
    begin = time.monotonic()
    answer = _explained(cloud, name, payload) if explain else predictions.predict(cloud, name, payload)
    return {"answer": answer, "milliseconds": round(1000 * (time.monotonic() - begin))}


def _explained(cloud: Cloud, name: str, payload: bytes) -> Any:
    """Ask for an explanation, too: https://cloud.google.com/vertex-ai/docs/explainable-ai/getting-explanations."""
    url = endpoints.predict_url(cloud, predictions.endpoint_name(cloud, name)).removesuffix(":predict") + ":explain"
    with sdk_errors(f"ask `{name}` for an explanation"):
        answer = cloud.session.post(url, data=payload, headers={"Content-Type": "application/json"}, timeout=_LIMIT)
    if answer.status_code == 404:
        raise NotFoundError(f"the model `{name}` is not deployed", f"invoke model.deploy --name {name}")
    if not answer.ok:
        try:
            why = str(answer.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            why = str(answer.text[:300])
        raise CloudError(f"the endpoint answered {answer.status_code}: {why}")
    return answer.json()
