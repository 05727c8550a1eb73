"""What each deployed model has answered, by Cloud Monitoring: how often, with what status, and how fast.

https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list with two metrics of
https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform. Their points come some minutes late. Errors are
answers whose class is not 2xx: `response_count` tells both, and so that they cannot disagree. Not tried on Google Cloud
yet.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from edge_tasks.cloud import clock, rest
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.domain.latencies import Latencies
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import CloudError, ForbiddenError

METRIC = "aiplatform.googleapis.com/prediction/online/response_count"
LATENCIES = "aiplatform.googleapis.com/prediction/online/prediction_latencies"

# Pages that no endpoint has: a page holds thousands of series.
_MOST_PAGES = 20
_GOOD = "2xx"


# The shortest time for which Cloud Monitoring sums up:
# https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies#Aggregation
_STEP = timedelta(minutes=1)


@dataclass
class Answers:
    """What one deployed model has answered: in all, by class of the status (`2xx`), and in each step of the time.

    `latencies` is None when nobody told how long it took.
    """

    requests: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    steps: list[int] = field(default_factory=list)
    latencies: Latencies | None = None

    @property
    def errors(self) -> int:
        """How many of the answers were errors."""
        return self.requests - self.by_status[_GOOD]


def requests(cloud: Cloud, endpoint: str, period: timedelta) -> Mapping[str, int]:
    """Return how many requests each deployed model of the endpoint answered in the last `period`; none: not there.

    Raises CloudError when nobody tells: ForbiddenError when this account may not know.
    """
    found: Counter[str] = Counter()
    period = max(period, _STEP)
    with _read():
        for series in _series(cloud, METRIC, endpoint, _now(cloud), period, period):
            count = sum(int(point["value"]["int64Value"]) for point in series["points"])
            found[series["metric"]["labels"]["deployed_model_id"]] += count
    return found


def answers(cloud: Cloud, endpoint: str, period: timedelta, steps: int) -> Mapping[str, Answers]:
    """Return what each deployed model of the endpoint answered in the last `period`, in that many steps of it.

    A step has a minute or more. A model that answered nothing is not there. Raises CloudError as `requests` does.
    """
    until, step = _now(cloud), period / steps
    found: dict[str, Answers] = {}
    with _read():
        for series in _series(cloud, METRIC, endpoint, until, period, step):
            labels = series["metric"]["labels"]
            one = found.setdefault(labels["deployed_model_id"], Answers(steps=[0] * steps))
            for point in series["points"]:
                count = int(point["value"]["int64Value"])
                back = (until - _moment(point["interval"]["endTime"])) / step
                one.steps[max(0, min(steps - 1, steps - 1 - round(back)))] += count
                one.requests += count
                one.by_status[labels.get("response_code", "")] += count
        for series in _series(cloud, LATENCIES, endpoint, until, period, period, 'metric.labels.latency_type="total"'):
            known = found.get(series["metric"]["labels"]["deployed_model_id"])
            for point in series["points"] if known else ():
                more = Latencies.from_distribution(point["value"]["distributionValue"])
                if known and more:
                    known.latencies = known.latencies.plus(more) if known.latencies else more
    return found


def _now(cloud: Cloud) -> datetime:
    """Return the time by which requests are counted."""
    return clock.now(cloud) if cloud.monitoring_url == cloud.vertex_url else utc_now()


def _series(
    cloud: Cloud, metric: str, endpoint: str, until: datetime, period: timedelta, step: timedelta, *terms: str
) -> Iterator[dict[str, Any]]:
    """Yield the series of a metric of an endpoint, with a sum for each step."""
    if cloud.monitoring_url is None:
        raise CloudError("nobody counts requests here")
    endpoint_id = endpoint.rpartition("/")[2]
    parameters = {
        "filter": " AND ".join([f'metric.type="{metric}"', f'resource.labels.endpoint_id="{endpoint_id}"', *terms]),
        "interval.startTime": _text(until - period),
        "interval.endTime": _text(until),
        "aggregation.alignmentPeriod": f"{int(step.total_seconds())}s",
        "aggregation.perSeriesAligner": "ALIGN_SUM",
    }
    url = f"{cloud.monitoring_url}/v3/projects/{cloud.project}/timeSeries"

    def ask(parameters: dict[str, Any]) -> dict[str, Any]:
        with sdk_errors("ask Cloud Monitoring for the number of requests"):
            answer = cloud.session.get(url, params=parameters)
        return _page(answer)

    for page in rest.pages(ask, parameters, _MOST_PAGES, "Cloud Monitoring's answer"):
        yield from page.get("timeSeries", ())


@contextlib.contextmanager
def _read() -> Iterator[None]:
    """Turn what is not as the API documents it into an error that says so."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CloudError(f"Cloud Monitoring's answer cannot be read: {error!r}", "try again later") from None


def _page(answer: Any) -> dict[str, Any]:
    page, reason = rest.read(answer)
    if answer.ok and page is not None:
        return page
    problem = f"Cloud Monitoring does not tell the number of requests: {reason or f'status {answer.status_code}'}"
    if answer.status_code in (401, 403):
        raise ForbiddenError(problem, "it takes roles/monitoring.viewer, and monitoring.googleapis.com enabled")
    raise CloudError(problem, "try again later")


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime:
    """Read a time of the API, whose fraction may have nine digits."""
    return datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text).replace("Z", "+00:00"))
