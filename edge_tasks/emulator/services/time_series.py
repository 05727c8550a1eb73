"""Cloud Monitoring's timeSeries.list, for two metrics of what endpoints answer, summed or as they were counted.

https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list is the call, and
https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform names the metrics. Of that API nothing else is
answered. Points are of minutes, or of the alignment period; those of Cloud Monitoring come some minutes late.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from edge_tasks.emulator.errors import invalid, unimplemented
from edge_tasks.emulator.http.exchange import Reply, json_reply
from edge_tasks.emulator.projects import project_id, project_number
from edge_tasks.emulator.services.request_counts import BUCKETS, GROWTH, SCALE, Answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_tasks.emulator.http.exchange import Request
    from edge_tasks.emulator.services.request_counts import Counted, RequestCounts

RESPONSES = "aiplatform.googleapis.com/prediction/online/response_count"
LATENCIES = "aiplatform.googleapis.com/prediction/online/prediction_latencies"
RESOURCE = "aiplatform.googleapis.com/Endpoint"
PATH_END = "/timeSeries"
# Of the latencies that Vertex AI tells apart, the one that is always there.
LATENCY_TYPE = "total"
# Seconds: the shortest period, and how often a value is counted.
MINUTE = 60
_PARAMETERS = frozenset(
    {
        *("filter", "interval.startTime", "interval.endTime", "aggregation.alignmentPeriod"),
        *("aggregation.perSeriesAligner", "pageSize", "view", "alt", "$alt"),
    }
)
_TERM = re.compile(
    r'\s*(metric\.type|resource\.type|resource\.labels?\.endpoint_id|metric\.labels?\.latency_type)\s*=\s*"([^"]*)"\s*'
)
_ALIGNER = "ALIGN_SUM"


class TimeSeries:
    """Answers from the counts."""

    def __init__(self, counts: RequestCounts) -> None:
        self._counts = counts

    async def list_time_series(self, request: Request) -> Reply:
        """Answer timeSeries.list with a series for each deployed model (and status)."""
        if request.method != "GET":
            raise unimplemented(f"{request.method} {request.path[:100]} of Cloud Monitoring is not implemented here.")
        parameters = dict(parse_qsl(request.query, keep_blank_values=True))
        for name in parameters:
            if name not in _PARAMETERS:
                raise unimplemented(f"timeSeries.list with {name[:100]} is not implemented by this emulator.")
        metric, endpoint_id = _filter(parameters.get("filter", ""))
        period = _period(parameters)
        since = _moment(parameters, "interval.startTime") if "interval.startTime" in parameters else None
        until = _moment(parameters, "interval.endTime")
        project = unquote(request.path.split("/")[3])
        number = str(project_number(project))
        rows = [
            row
            for row in await self._counts.read(endpoint_id, since, until)
            if row.series.endpoint.split("/")[1] == number
        ]
        found = _series(rows, metric, project_id(project), _Intervals(since, until, period))
        reply: dict[str, Any] = {"timeSeries": found} if found else {}
        return json_reply(reply)


class _Intervals:
    """The intervals of the points: they end with the end of what is asked, and are counted backwards from there."""

    def __init__(self, since: datetime | None, until: datetime, period: int | None) -> None:
        self._since, self._until, self._period = since, until, period

    def place(self, minute: int) -> int:
        """Return which interval a minute lies in; 0 is the last one."""
        if self._period is None:
            return -minute
        place = max(0, math.floor((self._until.timestamp() - (minute + 1) * MINUTE) / self._period))
        if self._since is None:
            return place
        whole = math.ceil((self._until - self._since).total_seconds() / self._period)
        return min(place, max(0, whole - 1))

    def document(self, place: int) -> dict[str, str]:
        """Return an interval as JSON."""
        if self._period is None:
            begin = datetime.fromtimestamp(-place * MINUTE, timezone.utc)
            return _interval(begin, begin + timedelta(seconds=MINUTE))
        end = self._until - timedelta(seconds=place * self._period)
        return _interval(end - timedelta(seconds=self._period), end)


def _series(rows: Iterable[Counted], metric: str, project: str, intervals: _Intervals) -> list[dict[str, Any]]:
    """Return the series of a metric, each with its points, the newest first."""
    found: dict[tuple[str, str, str], dict[int, Answers]] = {}
    for (endpoint, deployed, code), minute, answers in rows:
        key = (endpoint, deployed, code if metric == RESPONSES else "")
        found.setdefault(key, {}).setdefault(intervals.place(minute), Answers()).take(answers)
    series = []
    for (endpoint, deployed, code), points in found.items():
        _, _, _, location, _, endpoint_id = endpoint.split("/")
        label = {"response_code": code} if metric == RESPONSES else {"latency_type": LATENCY_TYPE}
        labels = {"resource_container": project, "location": location, "endpoint_id": endpoint_id}
        series.append(
            {
                "metric": {"type": metric, "labels": {"deployed_model_id": deployed, **label}},
                "resource": {"type": RESOURCE, "labels": labels},
                "metricKind": "DELTA",
                "valueType": "INT64" if metric == RESPONSES else "DISTRIBUTION",
                "points": [
                    {
                        "interval": intervals.document(place),
                        "value": {"int64Value": str(answers.count)}
                        if metric == RESPONSES
                        else {"distributionValue": _distribution(answers)},
                    }
                    for place, answers in sorted(points.items())
                ],
                **({"unit": "ms"} if metric == LATENCIES else {}),
            }
        )
    return series


def _distribution(answers: Answers) -> dict[str, Any]:
    """Return latencies as https://cloud.google.com/monitoring/api/ref_v3/rest/v3/TypedValue#Distribution has them."""
    most = max(answers.buckets, default=-1)
    options = {"numFiniteBuckets": BUCKETS, "growthFactor": GROWTH, "scale": SCALE}
    return {
        "count": str(answers.count),
        "mean": answers.total / answers.count,
        "sumOfSquaredDeviation": max(0.0, answers.squares - answers.total**2 / answers.count),
        "bucketOptions": {"exponentialBuckets": options},
        "bucketCounts": [str(answers.buckets.get(place, 0)) for place in range(most + 1)],
    }


def _filter(text: str) -> tuple[str, str]:
    """Return the metric and the endpoint that a filter names; a filter of another kind is refused."""
    terms: dict[str, str] = {}
    for part in re.split(r"\s+AND\s+", text.strip()):
        match = _TERM.fullmatch(part)
        if match is None:
            raise unimplemented(f"timeSeries.list with the filter {part[:200]!r} is not implemented by this emulator.")
        terms[match[1].replace(".label.", ".labels.")] = match[2]
    metric = terms.get("metric.type", "")
    if metric not in (RESPONSES, LATENCIES) or terms.get("resource.type", RESOURCE) != RESOURCE:
        raise unimplemented(f"Of Cloud Monitoring this emulator knows the metrics {RESPONSES} and {LATENCIES} only.")
    wished: Mapping[str, str] = {"metric.labels.latency_type": LATENCY_TYPE} if metric == LATENCIES else {}
    if any(terms[name] != wished.get(name) for name in terms if name.startswith("metric.labels.")):
        raise unimplemented(
            f"timeSeries.list of latencies of another type than {LATENCY_TYPE} is not implemented here."
        )
    if "resource.labels.endpoint_id" not in terms:
        raise unimplemented("timeSeries.list without resource.labels.endpoint_id is not implemented by this emulator.")
    return metric, terms["resource.labels.endpoint_id"]


def _period(parameters: Mapping[str, str]) -> int | None:
    """Return the seconds over which points are added up; None for points as they were counted."""
    aligner = parameters.get("aggregation.perSeriesAligner")
    text = parameters.get("aggregation.alignmentPeriod")
    if aligner is None and text is None:
        return None
    if aligner != _ALIGNER:
        raise unimplemented(f"timeSeries.list with another perSeriesAligner than {_ALIGNER} is not implemented here.")
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0+)?s", text or "")
    if match is None or int(match[1]) < MINUTE:
        raise invalid(f"aggregation.alignmentPeriod must be {MINUTE}s or more.")
    return int(match[1])


def _moment(parameters: Mapping[str, str], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(parameters[name].replace("Z", "+00:00"))
    except (KeyError, ValueError):
        raise invalid(f"{name} must be a time such as 2026-11-28T12:00:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _interval(begin: datetime, end: datetime) -> dict[str, str]:
    return {"startTime": _text(begin), "endTime": _text(end)}


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
