"""The model server: health checks and predictions, by the contract of Vertex AI's prediction containers.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements

It listens at once, and its health route tells the truth: 503 until the model is loaded, while it ends, when every
thread has been busy with one request for too long, and when the predictor says that it is not healthy.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from edge_tasks.domain.signature import RequestError
from edge_tasks.serving.http_protocol import Answer, Handler
from edge_tasks.serving.predictor import answer

LOG = logging.getLogger("edge_tasks.serving")

THREADS = 4
# Seconds and bytes: a small request after quick ones is answered without a thread, which would cost as much as they do.
_QUICK, _SMALL = 0.005, 16 * 1024
# Seconds that a request may keep a thread while the server is still called healthy.
STUCK_AFTER = 120.0


@dataclass(frozen=True)
class Routes:
    """The paths that Vertex AI asks for."""

    health: bytes
    predict: bytes


class ModelServer:
    """Answers requests once there is a predictor."""

    def __init__(self, routes: Routes, threads: int = THREADS):
        self._routes = routes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._threads = threads
        self._since: dict[int, float] = {}
        self._slowest_lately = 1.0
        self._requests = 0
        self.predictor: Any = None
        self.ending = False

    @property
    def handler(self) -> Handler:
        """What answers a request."""
        return self._handle

    def _handle(self, method: bytes, path: bytes, body: bytes) -> Answer | asyncio.Future[Answer]:
        if path == self._routes.predict and method == b"POST":
            if self.predictor is None:
                return _error(503, "The model is being loaded.")
            if self._slowest_lately < _QUICK and len(body) < _SMALL and not self._since:
                return self._predict(body)
            return asyncio.get_running_loop().run_in_executor(self._pool, self._in_thread, body)
        if path == self._routes.health and method in (b"GET", b"HEAD"):
            return self._health()
        if path in (self._routes.health, self._routes.predict):
            return _error(405, f"{method.decode('latin-1')} is not for this path.")
        return _error(404, "There is nothing at this path.")

    # -- health --

    def _health(self) -> Answer | asyncio.Future[Answer]:
        if self.predictor is None:
            return _error(503, "The model is being loaded.")
        if self.ending:
            return _error(503, "The server ends.")
        now = time.monotonic()
        if sum(now - since > STUCK_AFTER for since in self._since.values()) >= self._threads:
            return _error(503, "All threads are stuck.")
        healthy: Callable[[], bool] | None = getattr(self.predictor, "healthy", None)
        try:
            if healthy is not None and not healthy():
                return _error(503, "The predictor says that it is not healthy.")
        except Exception as error:  # a predictor's own check may fail in any way
            return _error(503, f"The predictor's check failed: {error}")
        return Answer(200, b'{"status": "healthy"}')

    # -- predictions --

    def _in_thread(self, body: bytes) -> Answer:
        self._requests += 1
        number = self._requests
        self._since[number] = time.monotonic()
        try:
            return self._predict(body)
        finally:
            del self._since[number]

    def _predict(self, body: bytes) -> Answer:
        started = time.perf_counter()
        try:
            try:
                request = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                return _error(400, f"The body is not JSON: {error}")
            return Answer(200, orjson.dumps(answer(self.predictor, request), option=orjson.OPT_SERIALIZE_NUMPY))
        except RequestError as error:
            return _error(400, str(error))
        except Exception as error:
            # What the model raises is the answer, and the log has all of it.
            LOG.exception("a request failed")
            return _error(500, f"{type(error).__name__}: {error}")
        finally:
            # A slow one is forgotten by and by.
            self._slowest_lately = max(time.perf_counter() - started, self._slowest_lately / 2)


@functools.lru_cache(maxsize=32)
def _error(status: int, text: str) -> Answer:
    return Answer(status, json.dumps({"error": text}).encode())
