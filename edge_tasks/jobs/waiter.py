"""Waiting for a job of any kind to end: its states are told, the network may come and go, and no wait is endless."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeAlias, TypeVar

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import Job, JobApi
from edge_tasks.domain.progress import Progress, duration
from edge_tasks.errors import CloudError, EdgeError, NoAnswerError
from edge_tasks.tools.signals import ASK, CANCEL, LEAVE, LeftRunningError, TerminatedError

# Seconds between two looks at a job: short while something happens, longer while nothing does.
_SHORT_PAUSE, _LONG_PAUSE = 0.1, 5.0

# Seconds that a job may wait for a machine, and by which it may overrun its limit (Vertex AI repeats attempts).
_QUEUE_LIMIT, _OVERRUN = 24 * 3600.0, 1800.0

# Seconds for which nothing may answer before the wait is given up; the job itself runs on.
PATIENCE = 600.0

# Seconds that a cancelled job may take to end, and a person to answer.
_CANCEL_LIMIT, _ANSWER_LIMIT = 60.0, 300.0

_Job = TypeVar("_Job", bound=Job)
_Answer = TypeVar("_Answer")

# Asks a question; the answer is one of the words, or None without a terminal. See `console.choose`.
Choose: TypeAlias = Callable[[str, tuple[str, ...], float], "str | None"]


class ReconnectingCloud:
    """A Cloud that is connected again when it does not answer: networks come back, and local servers are restarted."""

    def __init__(self, connect: Callable[[], Cloud], progress: Progress, patience: float = PATIENCE):
        self._connect = connect
        self._progress = progress
        self._patience = patience
        self.cloud = connect()

    def ask(self, call: Callable[[Cloud], _Answer]) -> _Answer:
        """Return what `call` returns; it is repeated while nothing answers, so it must be harmless to repeat."""
        lost = None
        while True:
            try:
                answer = call(self.cloud)
            except NoAnswerError as error:  # noqa: PERF203  the loop is there for it
                if lost is None:
                    lost = time.monotonic()
                    self._progress.step(f"{error.problem}; trying again for up to {duration(self._patience)}")
                elapsed = time.monotonic() - lost
                if elapsed > self._patience:
                    raise
                self._progress.waiting("no answer", elapsed)
                time.sleep(min(1.0 + elapsed / 10, _LONG_PAUSE))
                self.cloud = self._connect()
            else:
                if lost is not None:
                    self._progress.step(f"there is an answer again after {duration(time.monotonic() - lost)}")
                return answer


@dataclass(frozen=True)
class JobSession:
    """What all jobs of one command have in common: the way to Google, who is told, and what Ctrl-C does.

    `on_interrupt` is one of `signals`' words, `choose` asks a person (see `console.choose`), and `patience` is the
    number of seconds for which nothing may answer. Nothing is connected before it is needed.
    """

    connect: Callable[[], Cloud]
    progress: Progress
    on_interrupt: str
    choose: Choose
    patience: float = PATIENCE

    @cached_property
    def connection(self) -> ReconnectingCloud:
        """The connection, for calls that are repeated while nothing answers."""
        return ReconnectingCloud(self.connect, self.progress, self.patience)

    @property
    def cloud(self) -> Cloud:
        """The cloud as it is connected now."""
        return self.connection.cloud


@dataclass(frozen=True)
class JobWaiter(Generic[_Job]):
    """Waits for the end of one job.

    `timeout` is the job's own limit in seconds, and `later` tells how to come back to a running job. `on_look` is
    called with each state of the job, and says whether it showed something new.
    """

    session: JobSession
    api: JobApi[_Job]
    timeout: float
    later: str
    on_look: Callable[[_Job], bool] = lambda _: False

    def follow(self, job: _Job) -> _Job:
        """Return `job` as it is when it has ended. Ctrl-C cancels it or leaves it running, then continues upwards."""
        try:
            return self._wait(job)
        except KeyboardInterrupt as interrupt:
            if self._interrupted(job, interrupt) == LEAVE:
                raise LeftRunningError from interrupt
            raise
        except NoAnswerError as error:
            raise NoAnswerError(error.problem, f"{self._name(job)} is still running; {self.later}") from error

    def _wait(self, job: _Job) -> _Job:
        started = time.monotonic()
        running_since: float | None = None
        state, pause = "", _SHORT_PAUSE
        while True:
            news = self.on_look(job)
            if job.done:
                if state:
                    self.session.progress.step(f"{self._name(job)}: {job.state.lower()}{self._after(started)}")
                return job
            if job.state != state:
                state, news = job.state, True
                self.session.progress.step(f"{self._name(job)}: {state.lower()}")
            now = time.monotonic()
            if state == "RUNNING" and running_since is None:
                running_since = now
            self._check_limit(job, now, started, running_since)
            self.session.progress.waiting(f"{self._name(job)}: {state.lower()}", now - started)
            pause = _SHORT_PAUSE if news else min(pause * 1.2, _LONG_PAUSE)
            time.sleep(pause)
            job = self._look(job)

    def _look(self, job: _Job) -> _Job:
        return self.session.connection.ask(lambda cloud: self.api.get(cloud, job.name))

    def _check_limit(self, job: _Job, now: float, started: float, running_since: float | None) -> None:
        limit = _QUEUE_LIMIT if running_since is None else self.timeout + _OVERRUN
        if now - (running_since or started) > limit:
            self.session.connection.ask(lambda cloud: self.api.cancel(cloud, job.name))
            raise CloudError(f"{self._name(job)} did not end within {duration(limit)} and was cancelled")

    def _interrupted(self, job: _Job, interrupt: KeyboardInterrupt) -> str:
        """Leave or cancel `job`; return which of the two was done."""
        decision = self.session.on_interrupt
        if decision == ASK:
            decision = CANCEL if isinstance(interrupt, TerminatedError) else self._ask(job)
        if decision == LEAVE:
            self.session.progress.step(f"{self._name(job)} is still running; {self.later}")
            return LEAVE
        self.session.progress.step(f"cancelling {self._name(job)}")
        try:
            self._cancel(job)
        except EdgeError as error:
            self.session.progress.step(f"{error.problem}; {self._name(job)} may still be running")
        return CANCEL

    def _ask(self, job: _Job) -> str:
        """Ask what is to become of `job`. Without a terminal it is cancelled, and so it is by a second Ctrl-C."""
        self.session.progress.step(f"{self._name(job)} still runs")
        try:
            return self.session.choose("leave it, or cancel it?", (LEAVE, CANCEL), _ANSWER_LIMIT) or CANCEL
        except KeyboardInterrupt:
            return CANCEL

    def _cancel(self, job: _Job) -> None:
        self.api.cancel(self.session.cloud, job.name)
        deadline = time.monotonic() + _CANCEL_LIMIT
        while not job.done and time.monotonic() < deadline:
            time.sleep(0.2)
            job = self.api.get(self.session.cloud, job.name)
        self.session.progress.step(f"{self._name(job)}: {job.state.lower()}")

    def _name(self, job: _Job) -> str:
        return f"{self.api.noun} {job.job_id}"

    @staticmethod
    def _after(started: float) -> str:
        return f" after {duration(time.monotonic() - started)}"
