"""The one call of Cloud Logging that reads a job's log.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.http.exchange import Reply, json_reply
from edge_tasks.emulator.projects import project_id, project_number
from edge_tasks.emulator.runtime import job_log

if TYPE_CHECKING:
    from edge_tasks.emulator.http.exchange import Request
    from edge_tasks.emulator.services.jobs import Jobs

FIELDS = frozenset({"resourceNames", "filter", "orderBy", "pageSize", "pageToken"})
TERM = re.compile(r'(resource\.type|resource\.labels\.job_id|timestamp)\s*(=|>=)\s*"([^"]*)"', re.IGNORECASE)
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
DEFAULT_PAGE = 1000
LARGEST_PAGE = 10_000
SUPPORTED = (
    'resource.type="ml_job" AND resource.labels.job_id="ID", and optionally AND timestamp>="2026-01-01T00:00:00Z"'
)


class Logging:
    """Answers entries:list for custom jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def list_entries(self, request: Request) -> Reply:
        """Return the log entries of one job, oldest first."""
        body = request.json()
        for name in body:
            if name not in FIELDS:
                raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        project = _project(body.get("resourceNames"))
        job_id, since = _read_filter(body.get("filter", ""))
        if body.get("orderBy", "timestamp asc") not in {"timestamp asc", "timestamp", ""}:
            raise invalid('This emulator lists log entries with orderBy "timestamp asc" only.')
        size = body.get("pageSize") or DEFAULT_PAGE
        if not isinstance(size, int) or size < 0:
            raise invalid("pageSize must be a positive number.")
        offset = _read_token(body.get("pageToken") or "", job_id)
        path = self._jobs.log_of(str(project_number(project)), job_id)
        if path is None:
            return json_reply({})
        entries, following = job_log.read(path, offset=offset, since=since, limit=min(size, LARGEST_PAGE))
        reply: dict[str, Any] = {"entries": [_entry(entry, project, job_id) for entry in entries]}
        if following is not None:
            reply["nextPageToken"] = f"{job_id}.{following}"
        return json_reply(reply)


def _project(names: Any) -> str:
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise invalid('resourceNames must name one project, as in ["projects/my-project"].')
    kind, _, project = names[0].partition("/")
    if kind != "projects" or not re.fullmatch(r"[\w.:-]+", project):
        raise invalid(f'Invalid resource name {names[0]!r}: this emulator knows logs of "projects/PROJECT" only.')
    return project_id(project)


def _read_filter(text: Any) -> tuple[str, int]:
    """Return (job id, earliest time in microseconds)."""
    found: dict[tuple[str, str], str] = {}
    for part in re.split(r"\s+AND\s+", text.strip()) if isinstance(text, str) else [""]:
        match = TERM.fullmatch(part.strip())
        if match is None:
            raise invalid(f"This emulator does not know the log filter {part!r}; it knows: {SUPPORTED}.")
        found[match.group(1).lower(), match.group(2)] = match.group(3)
    since = found.pop(("timestamp", ">="), "")
    kind = found.pop(("resource.type", "="), "")
    job_id = found.pop(("resource.labels.job_id", "="), "")
    if found or kind != "ml_job" or not re.fullmatch(r"[0-9]{1,20}", job_id):
        raise invalid(f"This emulator does not know the log filter {text!r}; it knows: {SUPPORTED}.")
    return job_id, _microseconds(since) if since else 0


def _microseconds(text: str) -> int:
    match = TIME.fullmatch(text)
    if match is None:
        raise invalid(f"Invalid timestamp {text!r} in the filter: write 2026-01-01T00:00:00Z.")
    try:
        whole = datetime.fromisoformat(f"{match.group(1)}+00:00")
    except ValueError:
        raise invalid(f"Invalid timestamp {text!r} in the filter.") from None
    # Nanoseconds are cut: an entry of the very microsecond is then shown again rather than lost.
    return int(whole.timestamp()) * 1_000_000 + int(f"{match.group(2) or '0':0<6}"[:6])


def _read_token(token: Any, job_id: str) -> int:
    if not token:
        return 0
    owner, _, offset = str(token).partition(".")
    if owner != job_id or not re.fullmatch(r"[0-9]{1,15}", offset):
        raise invalid("Invalid pageToken: it belongs to a list with another filter.")
    return int(offset)


def _entry(entry: job_log.Entry, project: str, job_id: str) -> dict[str, Any]:
    seconds, rest = divmod(entry.microseconds, 1_000_000)
    time = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    labels = {"job_id": job_id, "project_id": project, "task_name": entry.replica}
    payload = "textPayload" if isinstance(entry.payload, str) else "jsonPayload"
    return {
        "insertId": f"{entry.offset:012d}",
        "timestamp": f"{time}.{rest:06d}Z",
        "severity": entry.severity,
        "logName": f"projects/{project}/logs/{entry.replica}",
        "resource": {"type": "ml_job", "labels": labels},
        payload: entry.payload,
    }
