"""How many predictions each deployed model has answered, by Cloud Monitoring's one metric that says so.

https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform names it `prediction/online/response_count`, and
https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list is the call. Of that API nothing else is
answered. The counts are those of minutes, lie in the data folder, and survive a restart.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import orjson

from edge_tasks.emulator.errors import invalid, unimplemented
from edge_tasks.emulator.http.exchange import Reply, json_reply
from edge_tasks.emulator.projects import project_id, project_number

if TYPE_CHECKING:
    from pathlib import Path

    from edge_tasks.emulator.clock import Clock
    from edge_tasks.emulator.http.exchange import Request

METRIC = "aiplatform.googleapis.com/prediction/online/response_count"
RESOURCE = "aiplatform.googleapis.com/Endpoint"
PATH_END = "/timeSeries"
FILE = "request_counts.json"
# As long as Cloud Monitoring keeps them: https://cloud.google.com/monitoring/quotas#data_retention_policy.
MINUTES_TO_KEEP = 42 * 24 * 60
_PARAMETERS = frozenset(
    {
        *("filter", "interval.startTime", "interval.endTime", "aggregation.alignmentPeriod"),
        *("aggregation.perSeriesAligner", "pageSize", "view", "alt", "$alt"),
    }
)
_TERM = re.compile(r'\s*(metric\.type|resource\.type|resource\.labels\.endpoint_id)\s*=\s*"([^"]*)"\s*')
_ALIGNER = "ALIGN_SUM"


class RequestCounts:
    """The counts, by endpoint, deployed model and class of the status."""

    def __init__(self, data: Path, clock: Clock) -> None:
        self._path = data / FILE
        self._clock = clock
        self._counts: dict[tuple[str, str, str], Counter[int]] = {}
        self._saved_at = -1
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            for endpoint, deployed, code, minutes in orjson.loads(self._path.read_bytes()):
                self._counts[endpoint, deployed, code] = Counter({int(key): int(value) for key, value in minutes})

    def add(self, endpoint: str, deployed_model_id: str, status: int) -> None:
        """Count one answer of a model; the file is written once a minute at most."""
        minute = int(self._clock.now().timestamp()) // 60
        self._counts.setdefault((endpoint, deployed_model_id, f"{status // 100}xx"), Counter())[minute] += 1
        if minute != self._saved_at:
            self.save()
            self._saved_at = minute

    def save(self) -> None:
        """Write what was counted; what cannot be written now is written with the next count, or at the end."""
        oldest = int(self._clock.now().timestamp()) // 60 - MINUTES_TO_KEEP
        for key, minutes in list(self._counts.items()):
            self._counts[key] = Counter({minute: count for minute, count in minutes.items() if minute >= oldest})
        rows = [[*key, list(minutes.items())] for key, minutes in self._counts.items() if minutes]
        if rows:
            with contextlib.suppress(OSError):
                new = self._path.with_suffix(".new")
                new.write_bytes(orjson.dumps(rows))
                new.replace(self._path)

    async def list_time_series(self, request: Request) -> Reply:
        """Answer timeSeries.list with the sum of an endpoint's answers in an interval, by deployed model and status."""
        if request.method != "GET":
            raise unimplemented(f"{request.method} {request.path[:100]} of Cloud Monitoring is not implemented here.")
        parameters = dict(parse_qsl(request.query, keep_blank_values=True))
        for name in parameters:
            if name not in _PARAMETERS:
                raise unimplemented(f"timeSeries.list with {name[:100]} is not implemented by this emulator.")
        if parameters.get("aggregation.perSeriesAligner", _ALIGNER) != _ALIGNER:
            raise unimplemented("timeSeries.list with another perSeriesAligner than ALIGN_SUM is not implemented here.")
        wanted = _filter(parameters.get("filter", ""))
        since = _moment(parameters, "interval.startTime") if "interval.startTime" in parameters else None
        until = _moment(parameters, "interval.endTime")
        project = unquote(request.path.split("/")[3])
        found = []
        for (endpoint, deployed, code), minutes in sorted(self._counts.items()):
            _, number, _, location, _, endpoint_id = endpoint.split("/")
            if number != str(project_number(project)) or endpoint_id != wanted:
                continue
            # A minute counts when any of it lies in the interval.
            count = sum(
                count
                for minute, count in minutes.items()
                if minute * 60 < until.timestamp() and (since is None or (minute + 1) * 60 > since.timestamp())
            )
            if count:
                labels = {"resource_container": project_id(project), "location": location, "endpoint_id": endpoint_id}
                interval = {"startTime": parameters.get("interval.startTime", parameters["interval.endTime"])}
                interval["endTime"] = parameters["interval.endTime"]
                found.append(
                    {
                        "metric": {"type": METRIC, "labels": {"deployed_model_id": deployed, "response_code": code}},
                        "resource": {"type": RESOURCE, "labels": labels},
                        "metricKind": "DELTA",
                        "valueType": "INT64",
                        "points": [{"interval": interval, "value": {"int64Value": str(count)}}],
                    }
                )
        reply: dict[str, Any] = {"timeSeries": found} if found else {}
        return json_reply(reply)


def _filter(text: str) -> str:
    """Return the endpoint that a filter names; a filter of another kind is refused."""
    terms = {}
    for part in re.split(r"\s+AND\s+", text.strip()):
        match = _TERM.fullmatch(part)
        if match is None:
            raise unimplemented(f"timeSeries.list with the filter {part[:200]!r} is not implemented by this emulator.")
        terms[match[1]] = match[2]
    if terms.get("metric.type") != METRIC or terms.get("resource.type", RESOURCE) != RESOURCE:
        raise unimplemented(f"Of Cloud Monitoring this emulator knows the metric {METRIC} only.")
    if "resource.labels.endpoint_id" not in terms:
        raise unimplemented("timeSeries.list without resource.labels.endpoint_id is not implemented by this emulator.")
    return terms["resource.labels.endpoint_id"]


def _moment(parameters: dict[str, str], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(parameters[name].replace("Z", "+00:00"))
    except (KeyError, ValueError):
        raise invalid(f"{name} must be a time such as 2026-11-28T12:00:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
