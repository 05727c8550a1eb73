"""The program that stands for a prebuilt prediction image: loads one model and answers on a Unix socket.

    python -m edge_tasks.emulator.serving.prebuilt FRAMEWORK ARTIFACTS SOCKET

A model is a pickle, thus code: it is loaded here and never in the emulator's own process.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from edge_tasks.emulator.http.server import make_server
from edge_tasks.emulator.runtime.images import BY_NAME

# Of the instances and the parameters of a request; None are not parameters.
Predict: TypeAlias = Callable[[Any, Any], Any]

# So that a slow prediction does not stop the others, or the health route.
THREADS = 4
# Seconds and bytes. A small request after quick ones is answered without a thread, which would cost as much as they do.
QUICK, SMALL = 0.002, 16 * 1024


def load(framework: str, artifacts: Path) -> Predict:
    """Load the model and return its prediction function."""
    module = importlib.import_module(f"edge_tasks.emulator.serving.{BY_NAME[framework].loader}")
    predict: Predict = module.load(artifacts)
    return predict


class PredictionServer:
    """The ASGI application of a model server."""

    def __init__(self, framework: str, predict: Predict, health_route: str, predict_route: str) -> None:
        self._framework = framework
        self._predict = predict
        self._health_route = health_route
        self._predict_route = predict_route
        self._threads = ThreadPoolExecutor(THREADS)
        self._slowest_lately = 1.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a health check or a prediction."""
        body = await _body(receive)
        if scope["path"] == self._health_route and scope["method"] == "GET":
            status, answer = 200, b"{}"
        elif scope["path"] == self._predict_route and scope["method"] == "POST":
            if self._slowest_lately < QUICK and len(body) < SMALL:
                status, answer = self._answer(body)
            else:
                loop = asyncio.get_running_loop()
                status, answer = await loop.run_in_executor(self._threads, self._answer, body)
        else:
            status, answer = 404, b'{"error": "Not found."}'
        length = str(len(answer)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, body: bytes) -> tuple[int, bytes]:
        started = time.perf_counter()
        try:
            request = orjson.loads(body)
            predictions = self._predict(request["instances"], request.get("parameters"))
            return 200, orjson.dumps({"predictions": predictions}, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
        except Exception as error:  # whatever the model raises is the answer
            text = f"Exception during {self._framework} prediction: {error}"
            return 400, json.dumps({"error": text}).encode()
        finally:
            # A slow one is forgotten by and by.
            self._slowest_lately = max(time.perf_counter() - started, self._slowest_lately / 2)


def _plain(value: Any) -> Any:
    """Turn what orjson does not know (arrays of strings, numpy scalars) into plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"A prediction of type {type(value).__name__} cannot be written as JSON")


async def _body(receive: Any) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def serve(application: Any, path: str) -> None:
    """Serve on a Unix socket until the process is ended."""
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1024)
    await make_server(application).serve(sockets=[listener])


def run(framework: str, artifacts: str, path: str) -> None:
    """Load the model, then serve: the socket appears only when there is something behind it."""
    predict = load(framework, Path(artifacts))
    application = PredictionServer(framework, predict, os.environ["AIP_HEALTH_ROUTE"], os.environ["AIP_PREDICT_ROUTE"])
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(application, path))
    else:
        uvloop.run(serve(application, path))


if __name__ == "__main__":
    run(*sys.argv[1:])
