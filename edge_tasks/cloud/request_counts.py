"""How many predictions each deployed model has answered, by Cloud Monitoring. Not tried on Google Cloud yet.

https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list with the metric
`prediction/online/response_count` of https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform. Its points
come some minutes late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from edge_tasks.cloud import clock, rest
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import CloudError, ForbiddenError

METRIC = "aiplatform.googleapis.com/prediction/online/response_count"

# Pages that no endpoint has: a page holds thousands of series.
_MOST_PAGES = 20


def requests(cloud: Cloud, endpoint: str, period: timedelta) -> Mapping[str, int]:
    """Return how many requests each deployed model of the endpoint answered in the last `period`; none: not there.

    Raises CloudError when nobody tells: ForbiddenError when this account may not know.
    """
    if cloud.monitoring_url is None:
        raise CloudError("nobody counts requests here")
    until = clock.now(cloud) if cloud.monitoring_url == cloud.vertex_url else utc_now()
    parameters = {
        "filter": f'metric.type="{METRIC}" AND resource.labels.endpoint_id="{endpoint.rpartition("/")[2]}"',
        "interval.startTime": _text(until - period),
        "interval.endTime": _text(until),
        "aggregation.alignmentPeriod": f"{int(period.total_seconds())}s",
        "aggregation.perSeriesAligner": "ALIGN_SUM",
    }
    url = f"{cloud.monitoring_url}/v3/projects/{cloud.project}/timeSeries"

    def ask(parameters: dict[str, Any]) -> dict[str, Any]:
        with sdk_errors("ask Cloud Monitoring for the number of requests"):
            answer = cloud.session.get(url, params=parameters)
        return _page(answer)

    found: Counter[str] = Counter()
    try:
        for page in rest.pages(ask, parameters, _MOST_PAGES, "Cloud Monitoring's answer"):
            for series in page.get("timeSeries", ()):
                count = sum(int(point["value"]["int64Value"]) for point in series["points"])
                found[series["metric"]["labels"]["deployed_model_id"]] += count
    except (KeyError, TypeError, ValueError) as error:
        raise CloudError(f"Cloud Monitoring's answer cannot be read: {error!r}", "try again later") from None
    return found


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
