"""The model server: health checks and predictions, by the contract of Vertex AI's prediction containers.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements

It listens at once, and its health route tells the truth: 503 until the model is loaded, while it ends, when every
thread has been busy with one request for too long, and when the predictor says that it is not healthy.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from edge_tasks.serving.http_protocol import Answer, HttpProtocol, error_answer

THREADS = 4
# Seconds and bytes: a small request after quick ones is answered without a thread, which would cost as much as they do.
_QUICK, _SMALL = 0.01, 16 * 1024
# Requests that one call of the model answers.
_MOST_JOINED = 64
# Seconds that a request may keep a thread while the server is still called healthy.
STUCK_AFTER = 120.0


@dataclass(frozen=True)
class Routes:
    """The paths that Vertex AI asks for."""

    health: bytes
    predict: bytes


class Model(Protocol):
    """What a server asks, from any of its threads."""

    # Whether requests that wait at the same time may be answered by one call.
    joins: bool

    def unhealthy(self) -> str:
        """Return why no prediction can be had; "" when one can."""

    def answer(self, body: bytes) -> Answer:
        """Answer one request, whatever its body is."""

    def answer_together(self, bodies: Sequence[bytes]) -> list[Answer] | None:
        """Answer requests by one call; None when one of them can only be answered by itself."""


class ModelServer:
    """Answers requests once there is a model."""

    def __init__(self, routes: Routes, threads: int = THREADS):
        self._routes = routes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._threads = threads
        self._since: dict[int, float] = {}
        self._slowest_lately = 1.0
        self._requests = 0
        self._queue: deque[tuple[bytes, asyncio.Future[Answer]]] = deque()
        self._called = False
        self.connections: set[HttpProtocol] = set()
        self.model: Model | None = None
        self.ending = False

    def connection(self) -> HttpProtocol:
        """Return what answers on a new connection."""
        return HttpProtocol(self._handle, self.connections)

    def _handle(self, method: bytes, path: bytes, body: bytes) -> Answer | asyncio.Future[Answer]:
        if path == self._routes.predict and method == b"POST":
            if self.model is None:
                return error_answer(503, "The model is being loaded.")
            # On one connection nothing else can wait.
            if self.model.joins and len(body) < _SMALL and len(self.connections) > 1:
                return self._enqueue(body)
            if self._slowest_lately < _QUICK and len(body) < _SMALL and not self._since:
                return self._timed(self.model, body)
            return asyncio.get_running_loop().run_in_executor(self._pool, self._in_thread, self.model, body)
        if path == self._routes.health and method in (b"GET", b"HEAD"):
            return self._health()
        if path in (self._routes.health, self._routes.predict):
            return error_answer(405, f"{method.decode('latin-1')} is not for this path.")
        return error_answer(404, "There is nothing at this path.")

    def answer_at_once(self, bodies: Sequence[bytes]) -> list[Answer] | None:
        """Answer predictions in this thread, those of one moment together; None when that would keep others waiting."""
        is_quick = self._slowest_lately < _QUICK and not self._since and max(map(len, bodies)) < _SMALL
        if self.model is None or self.ending or not is_quick:
            return None
        if self.model.joins:
            return self._together(self.model, bodies)
        return [self._timed(self.model, body) for body in bodies]

    def _health(self) -> Answer:
        if self.model is None:
            return error_answer(503, "The model is being loaded.")
        if self.ending:
            return error_answer(503, "The server ends.")
        now = time.monotonic()
        if sum(now - since > STUCK_AFTER for since in self._since.values()) >= self._threads:
            return error_answer(503, "All threads are stuck.")
        problem = self.model.unhealthy()
        return error_answer(503, problem) if problem else Answer(200, b'{"status": "healthy"}')

    # -- predictions --

    def _enqueue(self, body: bytes) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._queue.append((body, future))
        self._call(loop)
        return future

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the queue looked at when all that has arrived by now is in it."""
        if not self._called:
            self._called = True
            loop.call_soon(self._take, loop)

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer what waits, unless every thread is busy: then with the first that is free."""
        self._called = False
        assert self.model is not None
        while self._queue and len(self._since) < self._threads:
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_JOINED))]
            bodies = [body for body, _ in taken]
            if self._slowest_lately < _QUICK and not self._since:
                _settle(taken, self._together(self.model, bodies))
                continue
            number = self._begin()
            work = loop.run_in_executor(self._pool, self._together, self.model, bodies)
            work.add_done_callback(functools.partial(self._finish, loop, number, taken))

    def _finish(self, loop: asyncio.AbstractEventLoop, number: int, taken: Any, work: Any) -> None:
        del self._since[number]
        _settle(taken, work.result())
        self._call(loop)

    def _together(self, model: Model, bodies: Sequence[bytes]) -> list[Answer]:
        if len(bodies) > 1:
            started = time.perf_counter()
            answers = model.answer_together(bodies)
            if answers is not None:
                self._remember(time.perf_counter() - started)
                return answers
        return [self._timed(model, body) for body in bodies]

    def _begin(self) -> int:
        self._requests += 1
        self._since[self._requests] = time.monotonic()
        return self._requests

    def _in_thread(self, model: Model, body: bytes) -> Answer:
        number = self._begin()
        try:
            return self._timed(model, body)
        finally:
            del self._since[number]

    def _timed(self, model: Model, body: bytes) -> Answer:
        started = time.perf_counter()
        answer = model.answer(body)
        self._remember(time.perf_counter() - started)
        return answer

    def _remember(self, seconds: float) -> None:
        # A slow one is forgotten by and by.
        self._slowest_lately = max(seconds, self._slowest_lately / 2)


def _settle(taken: list[tuple[bytes, asyncio.Future[Answer]]], answers: list[Answer]) -> None:
    for (_, future), one in zip(taken, answers, strict=True):
        if not future.done():
            future.set_result(one)
