"""What the page shows next to runs: a section of JSON for each page, wherever it comes from (a Protocol)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from edge_tasks.dashboard.feed import to_json
from edge_tasks.dashboard.records import plain
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import EdgeError

# The pages that ask for what the server alone knows; Data is made of the runs.
SECTIONS = ("models", "endpoints", "jobs", "pipelines", "monitoring")


@dataclass(frozen=True)
class Section:
    """What a page is told. When it cannot be read, `problem` says why, and `content` is what was read before."""

    content: dict[str, Any] | None
    read_at: str | None
    problem: EdgeError | None = None

    def json(self) -> str:
        """Return the whole as JSON."""
        trouble = {"problem": self.problem.problem, "hint": self.problem.hint} if self.problem else None
        return to_json(
            {"now": utc_now().isoformat(), "read": self.read_at, "problem": trouble, "content": plain(self.content)}
        )


class Loop(Protocol):
    """Where models, endpoints, jobs, pipelines and what is asked of them are told."""

    def section(self, name: str) -> Section:
        """Return one of SECTIONS, as it was read at most a few seconds ago."""

    def job_log(self, job_id: str, first: int) -> dict[str, Any]:
        """Return the lines of a job's log from number `first` on, and whether the job has ended.

        Raises NotFoundError when there is no such job.
        """

    def watched(self, model: str) -> dict[str, Any]:
        """Return what a model's endpoint is asked, compared with its training. Raises EdgeError when it cannot be."""

    def traffic(self, model: str) -> dict[str, Any]:
        """Return of the last hour what each version on a model's endpoint has answered, and how fast."""

    def drifts(self, model: str) -> dict[str, Any]:
        """Return how far what each version on a model's endpoint is asked has gone from its own training."""

    def form(self, model: str) -> dict[str, Any]:
        """Return what a request to a model looks like: its signature, an example, and the address."""

    def ask(self, model: str, payload: bytes, explain: bool) -> dict[str, Any]:
        """Ask a model's endpoint; return the answer and how long it took. Raises EdgeError that says why it refused."""
