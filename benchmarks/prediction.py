"""Predictions for one row: through the SDK, by REST and by gRPC, through plain HTTP, and by the model itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import requests

from benchmarks.fixed_answers import serving
from benchmarks.laboratory import Laboratory
from benchmarks.row import Peer, RatioRow, Row, SlowestRow
from benchmarks.sample import compared
from edge_tasks.tools import emulator_process

AT_MOST = 0.002
REPETITIONS = 1000
WARM_UPS = 50


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare the same row's prediction on all ways, by turns.

    The SDK is measured against a server that does nothing, too: no emulator can make it faster than that. On the slower
    ones of the machines that this ran on, its own 1.8 ms of processor time leave the limit no room.
    """
    laboratory.deployed()
    payload = json.loads((laboratory.repository / "models" / "digits" / "test_payload.json").read_text("utf-8"))
    row = payload["instances"][0]
    servers = emulator_process.running(laboratory.repository)
    assert servers is not None
    name = laboratory.run("invoke", "model.get-endpoint").strip()
    url = f"{servers.vertex_url}/v1/{name}"
    answers = {"GET": requests.get(url, timeout=60)}
    answers["POST"] = requests.post(f"{url}:predict", json={"instances": [row]}, timeout=60)
    with serving(answers) as nothing:
        ways = [
            _by_sdk(name, servers.vertex_url, row),
            _by_sdk(name, nothing, row),
            _by_http(f"{url}:predict", row),
            _in_process(laboratory, row),
            _by_client(name, row, _rest(servers.vertex_url)),
            _by_client(name, row, _grpc(servers.grpc_address)),
        ]
        given = [way() for way in ways]
        if given != [given[0]] * len(ways):
            raise RuntimeError(f"the ways give different predictions: {given}")
        sdk, alone, http, process, rest, grpc = compared(ways, REPETITIONS, WARM_UPS, at_once=100)
    yield Row("Endpoint.predict, SDK", sdk, Peer("by a server that does nothing", alone), AT_MOST)
    yield SlowestRow("  its 99th percentile", sdk, Peer("by a server that does nothing", alone))
    yield Row("predict, plain HTTP", http, Peer("in process", process))
    yield SlowestRow("  its 99th percentile", http, Peer("in process", process))
    yield RatioRow("PredictionServiceClient, gRPC", grpc, Peer("by REST", rest), 1)


def _by_sdk(name: str, address: str, row: list[float]) -> Callable[[], list[Any]]:
    # google-api-core tells of every Python version that it will stop to support, at every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    _, project, _, location, *_ = name.split("/")
    aiplatform.init(
        project=project,
        location=location,
        api_endpoint=address,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    endpoint = aiplatform.Endpoint(name)
    endpoint.predict(instances=[row])  # its client is made with the first prediction, by the settings of that moment
    return lambda: list(endpoint.predict(instances=[row]).predictions)


def _by_http(url: str, row: list[float]) -> Callable[[], list[Any]]:
    session = requests.Session()
    session.trust_env = False
    return lambda: list(session.post(url, json={"instances": [row]}, timeout=60).json()["predictions"])


def _rest(url: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1.services.prediction_service.transports import rest

    host = url.removeprefix("http://")
    return rest.PredictionServiceRestTransport(host=host, url_scheme="http", credentials=AnonymousCredentials())


def _grpc(address: str) -> Any:
    import grpc
    from google.cloud.aiplatform_v1.services.prediction_service.transports import grpc as transports

    return transports.PredictionServiceGrpcTransport(channel=grpc.insecure_channel(address))


def _by_client(name: str, row: list[float], transport: Any) -> Callable[[], list[Any]]:
    from google.cloud.aiplatform_v1 import PredictionServiceClient
    from google.protobuf import json_format, struct_pb2

    client = PredictionServiceClient(transport=transport)
    instance = json_format.Parse(json.dumps(row), struct_pb2.Value())
    return lambda: list(client.predict(endpoint=name, instances=[instance]).predictions)


def _in_process(laboratory: Laboratory, row: list[float]) -> Callable[[], list[Any]]:
    import joblib
    import numpy as np

    model = joblib.load(laboratory.repository / "models" / "digits" / "model" / "model.joblib")
    return lambda: list(model.predict(np.asarray([row])).tolist())
