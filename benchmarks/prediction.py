"""Predictions for one row: through the SDK, through plain HTTP, and by the model itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.laboratory import Laboratory
from benchmarks.row import Peer, Row, SlowestRow
from benchmarks.sample import compared
from edge_tasks.adapters import local

AT_MOST = 0.002
REPETITIONS = 1000
WARM_UPS = 50


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare the same row's prediction on three ways, by turns."""
    laboratory.deployed()
    payload = json.loads((laboratory.repository / "models" / "digits" / "test_payload.json").read_text("utf-8"))
    row = payload["instances"][0]
    ways = [_by_sdk(laboratory, row), _by_http(laboratory, row), _in_process(laboratory, row)]
    answers = [way() for way in ways]
    if answers != [answers[0]] * len(ways):
        raise RuntimeError(f"the three ways give different predictions: {answers}")
    sdk, http, process = compared(ways, REPETITIONS, WARM_UPS, at_once=100)
    yield Row("Endpoint.predict, SDK", sdk, Peer("plain HTTP", http), AT_MOST)
    yield SlowestRow("  its 99th percentile", sdk, Peer("plain HTTP", http))
    yield Row("predict, plain HTTP", http, Peer("in process", process))
    yield SlowestRow("  its 99th percentile", http, Peer("in process", process))


def _by_sdk(laboratory: Laboratory, row: list[float]) -> Callable[[], list[Any]]:
    # google-api-core tells of every Python version that it will stop to support, at every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    servers = local.running(laboratory.repository)
    assert servers is not None
    name = laboratory.run("invoke", "model.get-endpoint").strip()
    _, project, _, location, *_ = name.split("/")
    aiplatform.init(
        project=project,
        location=location,
        api_endpoint=servers.vertex_url,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    endpoint = aiplatform.Endpoint(name)
    return lambda: list(endpoint.predict(instances=[row]).predictions)


def _by_http(laboratory: Laboratory, row: list[float]) -> Callable[[], list[Any]]:
    import requests

    url = laboratory.run("invoke", "model.get-endpoint", "--url").strip()
    session = requests.Session()
    session.trust_env = False
    return lambda: list(session.post(url, json={"instances": [row]}, timeout=60).json()["predictions"])


def _in_process(laboratory: Laboratory, row: list[float]) -> Callable[[], list[Any]]:
    import joblib
    import numpy as np

    model = joblib.load(laboratory.repository / "models" / "digits" / "model" / "model.joblib")
    return lambda: list(model.predict(np.asarray([row])).tolist())
