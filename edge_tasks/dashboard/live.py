"""The loop as it is now, from the repository's bucket and the API, read again at most every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.dashboard import drift, job_list, pipelines, served, traffic, trial
from edge_tasks.dashboard.loop import Section
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import EdgeError, NoAnswerError, NotFoundError

# Seconds for which an answer holds. One that took long holds longer: a page must not keep the API busy.
_HOLDS = {"models": 10.0, "endpoints": 4.0, "jobs": 3.0, "pipelines": 5.0, "monitoring": 20.0}
_WATCHED_HOLDS, _DRIFTS_HOLD, _TRAFFIC_HOLDS = 60.0, 300.0, 10.0
_PAUSE_FACTOR = 4.0


@dataclass
class _Held:
    """An answer that was read once, and when it has to be read again."""

    value: Any = None
    read_at: str | None = None
    until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, read: Callable[[], Any], holds: float) -> Any:
        with self.lock:
            if time.monotonic() >= self.until:
                begin = time.monotonic()
                self.value = read()
                self.read_at = utc_now().isoformat()
                self.until = time.monotonic() + max(holds, _PAUSE_FACTOR * (time.monotonic() - begin))
            return self.value


class LiveLoop:
    """Everything but the runs, of one repository, or of one of its models."""

    def __init__(
        self,
        cloud: Cloud,
        config: EdgeConfig,
        root: Path,
        model_name: str | None = None,
        reconnect: Callable[[], Cloud | None] = lambda: None,
    ):
        self._cloud = cloud
        self._config = config
        self._root = root
        self._names = [model_name] if model_name else list(config.models)
        self._reconnect = reconnect
        self._logs = job_list.JobLogs()
        self._held: dict[str, _Held] = {}
        self._guard = threading.Lock()

    def section(self, name: str) -> Section:
        """Return one of SECTIONS; a problem is told next to what was read before."""
        held = self._holding(name)
        try:
            content = held.get(lambda: self._read(name), _HOLDS[name])
        except EdgeError as error:
            return Section(held.value, held.read_at, error)
        return Section(content, held.read_at)

    def _read(self, name: str) -> dict[str, Any]:
        return self._asked(lambda cloud: self._content(cloud, name))

    def _content(self, cloud: Cloud, name: str) -> dict[str, Any]:
        if name == "models":
            return served.models(cloud, self._config, self._names)
        if name == "endpoints":
            return served.served(cloud, self._config, self._names)
        if name == "jobs":
            return job_list.jobs(cloud, self._config, self._names)
        if name == "pipelines":
            return pipelines.pipelines(cloud)
        return drift.monitoring(cloud, self._config, self._names)

    def job_log(self, job_id: str, first: int) -> dict[str, Any]:
        """Return the lines of a job's log from number `first` on."""
        return self._asked(lambda cloud: self._logs.lines(cloud, self._config, job_id, first))

    def watched(self, model: str) -> dict[str, Any]:
        """Return what a model's endpoint is asked, compared with its training."""
        self._check(model)
        held = self._holding(f"watched {model}")
        found: dict[str, Any] = held.get(
            lambda: self._asked(lambda cloud: drift.watched(cloud, self._config, model)), _WATCHED_HOLDS
        )
        return found

    def traffic(self, model: str) -> dict[str, Any]:
        """Return what each version on a model's endpoint has answered, and how fast."""
        self._check(model)
        held = self._holding(f"traffic {model}")
        found: dict[str, Any] = held.get(
            lambda: self._asked(lambda cloud: traffic.traffic(cloud, model)), _TRAFFIC_HOLDS
        )
        return found

    def drifts(self, model: str) -> dict[str, Any]:
        """Return how far what each version on a model's endpoint is asked has gone from its training."""
        self._check(model)
        held = self._holding(f"drifts {model}")
        found: dict[str, Any] = held.get(
            lambda: self._asked(lambda cloud: traffic.drifts(cloud, self._config, model)), _DRIFTS_HOLD
        )
        return found

    def form(self, model: str) -> dict[str, Any]:
        """Return what a request to a model looks like."""
        self._check(model)
        return self._asked(lambda cloud: trial.form(cloud, self._root, model))

    def ask(self, model: str, payload: bytes, explain: bool) -> dict[str, Any]:
        """Ask a model's endpoint."""
        self._check(model)
        return self._asked(lambda cloud: trial.ask(cloud, model, payload, explain=explain))

    def _check(self, model: str) -> None:
        """Refuse names that are of no model: they come from the address that a browser asks for."""
        if model not in self._names:
            raise NotFoundError(f"there is no model `{model}`")

    def _holding(self, name: str) -> _Held:
        with self._guard:
            return self._held.setdefault(name, _Held())

    def _asked(self, ask: Callable[[Cloud], dict[str, Any]]) -> dict[str, Any]:
        """Ask; when nothing answers, what is asked next goes to where the servers are now."""
        try:
            return ask(self._cloud)
        except NoAnswerError:
            if cloud := self._reconnect():
                self._cloud = cloud
            raise
