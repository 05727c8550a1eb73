"""One deployed model: its process, started when it is needed, and the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edge_tasks.emulator.errors import ApiError, Code, precondition, stopping
from edge_tasks.emulator.runtime import images
from edge_tasks.emulator.serving import loan
from edge_tasks.emulator.serving.connection import Answer, Pool, ServerGoneError, Stream
from edge_tasks.emulator.serving.launcher import Launcher
from edge_tasks.emulator.serving.server_log import ServerLog
from edge_tasks.emulator.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from edge_tasks.emulator.runtime import processes
    from edge_tasks.emulator.runtime.docker import Docker
    from edge_tasks.emulator.runtime.environments import Environments
    from edge_tasks.emulator.runtime.forks import Forks
    from edge_tasks.emulator.serving.loan import Given, Loan, Terms
    from edge_tasks.emulator.serving.plan import Address, ServerPlan
    from edge_tasks.emulator.store.database import Database

T = TypeVar("T")

# A variable may set another limit for a model to be healthy, in seconds.
LOAD_TIMEOUT = "VERTEX_EMULATOR_LOAD_TIMEOUT"
SECONDS_TO_LOAD = 300.0
SECONDS_TO_PREDICT = 60.0
SECONDS_TO_BE_HEALTHY = 5.0
SECONDS_TO_STOP = 2.0


class ModelServer:
    """The server of one deployed model. It starts on demand and comes back when it has died."""

    def __init__(self, plan: ServerPlan, launcher: Launcher) -> None:
        self.plan = plan
        self._launcher = launcher
        self._child: processes.Child | None = None
        self._log: ServerLog | None = None
        self._starting: asyncio.Task[None] | None = None
        self._resting: asyncio.Task[None] | None = None
        # Where the server is, once it has been started.
        self._address: Address = str(plan.socket)
        self._pool = Pool(self._address)
        self._ended = False
        # What became of its health checks, in words.
        self._seen = ""

    @property
    def _runs(self) -> bool:
        """Whether it runs and was healthy."""
        return not self._ended and self._child is not None and self._child.running and self._starting is None

    async def start(self) -> None:
        """Start the server unless it runs, and wait until it is healthy; callers share one start."""
        if self._ended:
            raise ApiError(Code.UNAVAILABLE, "The model is being undeployed.")
        if self._runs:
            return
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
            self._starting.add_done_callback(self._started)
        await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting = None
        # The waiting task has the exception; there may have been none.
        if not task.cancelled():
            task.exception()

    async def rest(self) -> None:
        """End the process; the next start makes another one. One that is just being started is left alone."""
        if self._child is None or self._starting is not None:
            return
        child, self._child = self._child, None
        self._pool.close()
        self._resting = asyncio.ensure_future(child.stop(SECONDS_TO_STOP))
        try:
            await asyncio.shield(self._resting)
        finally:
            self._resting = None

    async def stop(self) -> None:
        """End the server for good, also while it starts."""
        self._ended = True
        if self._resting is not None:
            await asyncio.shield(self._resting)
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._starting
        self._pool.close()
        if self._child is not None:
            await self._child.stop(SECONDS_TO_STOP)
            self._child = None
        await self._end_log()
        self._forget_sockets()

    async def predict(
        self, body: bytes, content_type: str = "application/json", limit: float = SECONDS_TO_PREDICT
    ) -> Answer:
        """Forward a prediction request; a server that has died is started again, once. `limit` is in seconds."""
        route = self.plan.predict_route
        deadline = asyncio.get_running_loop().time() + limit
        try:
            was_gone = False
            if self._runs:
                try:
                    return await self._pool.request("POST", route, body, content_type, limit)
                except ServerGoneError:
                    was_gone = True
                    await self._settle()
            async with time_limit(deadline - asyncio.get_running_loop().time()):
                return await self._twice(lambda: self._pool.request("POST", route, body, content_type), was_gone)
        except asyncio.TimeoutError:
            await self._end_if_stuck()
            raise ApiError(Code.DEADLINE_EXCEEDED, f"The model did not answer within {limit:g} s.") from None

    async def stream(self, body: bytes, content_type: str, limit: float) -> Stream:
        """Forward a request whose answer is passed on as it comes; `limit` is the seconds for each piece of it."""
        return await self._twice(lambda: self._pool.stream(self.plan.predict_route, body, content_type, limit))

    def lend(self, connection: int, terms: Terms, ended: Callable[[Loan, Given | None], None]) -> Loan | None:
        """Lend the server a client's connection; None when it does not run, or is a container, which takes none."""
        if not self._runs or not isinstance(self._address, str):
            return None
        return loan.lend(self._address, connection, terms, ended)

    async def _twice(self, ask: Callable[[], Awaitable[T]], was_gone: bool = False) -> T:
        """Ask the server; one that has died is started again, once, and not if it has died before this."""
        for last_try in (True,) if was_gone else (False, True):
            await self.start()
            try:
                return await ask()
            except ServerGoneError as error:
                if last_try:
                    raise ApiError(Code.UNAVAILABLE, f"The model server ended while it predicted: {error}.") from error
                await self._settle()
        raise AssertionError("unreachable")

    async def _end_if_stuck(self) -> None:
        """End a server that fails its health check, as Vertex AI does; the next prediction starts it again."""
        try:
            async with time_limit(SECONDS_TO_BE_HEALTHY):
                await self._pool.request("GET", self.plan.health_route, b"", "text/plain")
        except (asyncio.TimeoutError, ServerGoneError):
            if self._child is not None and self._starting is None:
                await self._child.stop(SECONDS_TO_STOP)

    async def _settle(self) -> None:
        """Wait a moment for a dying process to be dead, so that the next start sees it."""
        if self._child is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                async with time_limit(0.2):
                    await self._child.process.wait()

    async def _start(self) -> None:
        plan = self.plan
        if self._resting is not None:
            await asyncio.shield(self._resting)
        plan.socket.parent.mkdir(exist_ok=True)
        self._forget_sockets()
        self._pool.close()
        if self._child is not None:
            await self._child.stop(SECONDS_TO_STOP)
        await self._end_log()
        self._log = ServerLog(plan.log, plan.deployed_model_id, is_kept=plan.keeps_log)
        try:
            self._child, self._address = await self._launcher.start(plan, self._log.write_end)
        finally:
            self._log.release()
        self._pool = Pool(self._address)
        self._seen = "it never listened"
        limit = float(os.environ.get(LOAD_TIMEOUT) or SECONDS_TO_LOAD)
        try:
            async with time_limit(limit):
                await self._until_healthy(self._child)
        except asyncio.TimeoutError:
            await self._child.stop(0)
            raise precondition(
                f"Model server did not become healthy within {limit:g} s: {self._seen}. Its last lines:\n"
                f"{await self._log.last_lines()}"
            ) from None
        except asyncio.CancelledError:
            await self._child.stop(0)
            raise

    async def _until_healthy(self, child: processes.Child) -> None:
        while child.running:
            with contextlib.suppress(ServerGoneError):
                answer = await self._pool.request("GET", self.plan.health_route, b"", "text/plain")
                if answer.status == 200:
                    return
                self._seen = f"its health route {self.plan.health_route} answered {answer.status}"
            await asyncio.sleep(0.01)
        child.kill_tree()
        assert self._log is not None
        last_lines = await self._log.last_lines()
        raise precondition(f"Model server exited unexpectedly. Its last lines:\n{last_lines}")

    def _forget_sockets(self) -> None:
        self.plan.socket.unlink(missing_ok=True)
        Path(loan.address(str(self.plan.socket))).unlink(missing_ok=True)

    async def _end_log(self) -> None:
        """Take what is still in the pipe of a server that has ended."""
        if self._log is not None:
            await self._log.last_lines()
            self._log.close()
            self._log = None


class ModelServers:
    """The servers of all deployed models, by the endpoint's name and the deployed model's id."""

    def __init__(self, database: Database, engine: Docker, environments: Environments, forks: Forks) -> None:
        self._launcher = Launcher(database, engine, environments, forks)
        self._servers: dict[tuple[str, str], ModelServer] = {}
        self._closed = False

    def add(self, endpoint: str, deployed_model_id: str, plan: ServerPlan) -> ModelServer:
        """Return a new server for a deployed model; it is not started yet."""
        if self._closed:
            raise stopping()
        server = ModelServer(plan, self._launcher)
        self._servers[endpoint, deployed_model_id] = server
        return server

    def prepare(self, serving_images: Collection[str]) -> None:
        """Get ready in the background for models with these serving images."""
        frameworks = map(images.framework_of, serving_images)
        self._launcher.prepare({each.name for each in frameworks if each is not None and each.forks})

    def find(self, endpoint: str, deployed_model_id: str) -> ModelServer | None:
        """Return the server of a deployed model, if it was added since the emulator started."""
        return self._servers.get((endpoint, deployed_model_id))

    async def remove(self, endpoint: str, deployed_model_id: str) -> None:
        """End a server and forget it."""
        server = self._servers.pop((endpoint, deployed_model_id), None)
        if server is not None:
            await server.stop()

    async def stop(self) -> None:
        """End all servers, and let no new one be added."""
        self._closed = True
        await asyncio.gather(*(server.stop() for server in self._servers.values()))
        self._servers.clear()
