"""What a job or a deployed model prints, read from Cloud Logging while it runs.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import CloudError

_PAGE_SIZE = 1000


@dataclass(frozen=True)
class LogLine:
    """One line that was printed. `severity` is Cloud Logging's: INFO, ERROR, ..."""

    text: str
    severity: str
    time: str = ""


class Log:
    """The log of one resource, read on from where the last look ended. `conditions` say which resource it is."""

    def __init__(self, *conditions: str):
        self._conditions = conditions
        self._since = ""
        self._seen: set[str] = set()

    def new_lines(self, cloud: Cloud) -> Iterator[LogLine]:
        """Yield the lines that came since the last call, oldest first, each one once."""
        # The pages of one answer must be asked for with the very same filter.
        for page in rest.pages(partial(_page, cloud), self._request(cloud.project)):
            for entry in page.get("entries", ()):
                yield from self._line(entry)

    def _line(self, entry: dict[str, Any]) -> Iterator[LogLine]:
        timestamp, insert_id = entry.get("timestamp", ""), entry.get("insertId", "")
        if insert_id in self._seen:
            return
        if timestamp > self._since:
            # Later looks ask for entries from this time on, so only ids of this very time can come again.
            self._since, self._seen = timestamp, set()
        self._seen.add(insert_id)
        payload = entry.get("jsonPayload") or {}
        text = entry.get("textPayload") or payload.get("message") or ""
        yield LogLine(str(text).rstrip("\n"), entry.get("severity", "DEFAULT"), timestamp)

    def _request(self, project: str) -> dict[str, Any]:
        conditions = [*self._conditions]
        if self._since:
            conditions.append(f'timestamp>="{self._since}"')
        return {
            "resourceNames": [f"projects/{project}"],
            "filter": " AND ".join(conditions),
            "orderBy": "timestamp asc",
            "pageSize": _PAGE_SIZE,
        }


def job_log(job_id: str) -> Log:
    """Return the log of a custom job, or that of all trials of a tuning job."""
    return Log('resource.type="ml_job"', f'resource.labels.job_id="{job_id}"')


def endpoint_log(endpoint: str, since: str = "") -> Log:
    """Return the log of the models on an endpoint, from the time `since` (ISO 8601) on.

    https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging
    """
    endpoint_id = endpoint.rpartition("/")[2]
    later = [f'timestamp>="{since}"'] if since else []
    return Log(
        'resource.type="aiplatform.googleapis.com/Endpoint"', f'resource.labels.endpoint_id="{endpoint_id}"', *later
    )


def _page(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    with sdk_errors("read the log"):
        response = cloud.session.post(f"{cloud.logging_url}/v2/entries:list", json=request, timeout=30)
    if not response.ok:
        raise CloudError(f"Cloud Logging answered {response.status_code}", "check the role roles/logging.viewer")
    page: dict[str, Any] = response.json()
    return page
