"""The one call of Cloud Logging that reads the log of a job, or of what an endpoint serves.

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
from edge_tasks.emulator.services import log_filter

if TYPE_CHECKING:
    from edge_tasks.emulator.http.exchange import Request
    from edge_tasks.emulator.services.jobs import Jobs
    from edge_tasks.emulator.serving.model_server import ModelServers

FIELDS = frozenset({"resourceNames", "filter", "orderBy", "pageSize", "pageToken"})
DEFAULT_PAGE = 1000
LARGEST_PAGE = 10_000
ORDERS = {"": False, "timestamp": False, "timestamp asc": False, "timestamp desc": True}


class Logging:
    """Answers entries:list for custom jobs and endpoints."""

    def __init__(self, jobs: Jobs, servers: ModelServers) -> None:
        self._jobs = jobs
        self._servers = servers

    async def list_entries(self, request: Request) -> Reply:
        """Return the log entries of one job or endpoint in the order of time, or backwards."""
        body = request.json()
        for name in body:
            if name not in FIELDS:
                raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        project = _project(body.get("resourceNames"))
        wanted = log_filter.parse(body.get("filter", ""))
        order = body.get("orderBy", "")
        if order not in ORDERS:
            raise invalid('orderBy must be "timestamp asc" or "timestamp desc".')
        size = body.get("pageSize") or DEFAULT_PAGE
        if not isinstance(size, int) or size < 0:
            raise invalid("pageSize must be a positive number.")
        size = min(size, LARGEST_PAGE)
        offset = _read_token(body.get("pageToken") or "", wanted.resource_id)
        owner = str(project_number(project))
        paths = self._jobs.logs_of(owner, wanted.resource_id) if wanted.kind == log_filter.JOB else []
        printed = self._servers.printed(owner, wanted.resource_id) if wanted.kind == log_filter.ENDPOINT else []
        if not paths and not printed:
            return json_reply({})
        following: int | None
        if len(paths) == 1 and not ORDERS[order]:
            entries, following = job_log.read(paths[0], offset=offset, since=wanted.since, limit=size)
            entries = [entry for entry in entries if wanted.passes(entry)]
        else:
            # Backwards, or of several files, a page continues after so many entries.
            found = [entry for entry in (*printed, *job_log.read_all(paths, wanted.since)) if wanted.passes(entry)]
            found.sort(key=lambda entry: (entry.microseconds, entry.offset), reverse=ORDERS[order])
            entries = found[offset : offset + size]
            following = offset + size if offset + size < len(found) else None
        reply: dict[str, Any] = {"entries": [_entry(entry, project, wanted) for entry in entries]}
        if following is not None:
            reply["nextPageToken"] = f"{wanted.resource_id}.{following}"
        return json_reply(reply)


def _project(names: Any) -> str:
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise invalid('resourceNames must name one project, as in ["projects/my-project"].')
    kind, _, project = names[0].partition("/")
    if kind != "projects" or not re.fullmatch(r"[\w.:-]+", project):
        raise invalid(f'Invalid resource name {names[0]!r}: this emulator knows logs of "projects/PROJECT" only.')
    return project_id(project)


def _read_token(token: Any, job_id: str) -> int:
    if not token:
        return 0
    owner, _, offset = str(token).partition(".")
    if owner != job_id or not re.fullmatch(r"[0-9]{1,15}", offset):
        raise invalid("Invalid pageToken: it belongs to a list with another filter.")
    return int(offset)


def _entry(entry: job_log.Entry, project: str, wanted: log_filter.LogFilter) -> dict[str, Any]:
    seconds, rest = divmod(entry.microseconds, 1_000_000)
    time = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    log, labels, of_entry = entry.replica, {"job_id": wanted.resource_id, "project_id": project}, {}
    if wanted.kind == log_filter.JOB:
        labels["task_name"] = entry.replica
    else:
        log = "aiplatform.googleapis.com%2Fprediction_container"
        labels = {"endpoint_id": wanted.resource_id, "resource_container": project}
        of_entry = {"labels": {"deployed_model_id": entry.replica}}
    payload = "textPayload" if isinstance(entry.payload, str) else "jsonPayload"
    return {
        "insertId": log_filter.insert_id(entry),
        "timestamp": f"{time}.{rest:06d}Z",
        "severity": entry.severity,
        "logName": f"projects/{project}/logs/{log}",
        "resource": {"type": wanted.kind, "labels": labels},
        **of_entry,
        payload: entry.payload,
    }
