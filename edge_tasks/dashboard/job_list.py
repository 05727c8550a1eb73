"""The jobs of the models, batch predictions among them, and what each prints while it runs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.cloud.batch_jobs import BatchJob
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.job_logs import Log, job_log
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import NotFoundError
from edge_tasks.jobs.listing import ListedJob, find_job, list_jobs

# Logs that are kept, and lines of each.
_MOST_LOGS, _MOST_LINES = 20, 20_000


def jobs(cloud: Cloud, config: EdgeConfig, names: Iterable[str]) -> dict[str, Any]:
    """Return the jobs of these models, newest first."""
    wanted = set(names)
    return {"jobs": [_job(one) for one in list_jobs(cloud, config) if one.model in wanted]}


def _job(listed: ListedJob) -> dict[str, Any]:
    job = listed.job
    found = {
        **listed.document(),
        "started": job.started.isoformat() if job.started else None,
        "ended": job.ended.isoformat() if job.ended else None,
        "batch": None,
    }
    if isinstance(job, BatchJob):
        found["batch"] = {
            "version": job.version,
            "successful": max(0, job.successful),
            "failed": max(0, job.failed),
            "output": job.output_uri,
        }
    return found


@dataclass
class _Kept:
    log: Log
    lines: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class JobLogs:
    """The logs of jobs as far as they were read; pages ask for what is new."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def lines(self, cloud: Cloud, config: EdgeConfig, job_id: str, first: int) -> dict[str, Any]:
        """Return the lines from number `first` on. Raises NotFoundError when there is no such job, or it has no log."""
        found = find_job(cloud, config, job_id)
        if found.job.job_id != job_id:
            raise NotFoundError(f"there is no job `{job_id}`")
        if isinstance(found.job, BatchJob):
            return {"lines": [], "next": 0, "done": found.job.done}
        with self._lock:
            kept = self._kept.setdefault(job_id, _Kept(job_log(job_id)))
            self._kept.move_to_end(job_id)
            while len(self._kept) > _MOST_LOGS:
                self._kept.popitem(last=False)
        with kept.lock:
            for line in kept.log.new_lines(cloud):
                if len(kept.lines) < _MOST_LINES:
                    kept.lines.append({"text": line.text, "severity": line.severity, "time": line.time})
            lines = kept.lines[first:]
            return {"lines": lines, "next": len(kept.lines), "done": found.job.done}
