"""A project's quotas of Vertex AI, by the Cloud Quotas API. Not tried on Google Cloud yet.

https://cloud.google.com/docs/quotas/reference/rest/v1/projects.locations.services.quotaInfos/list
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.quotas import SERVICE

# Seconds for each page, and the most pages. The answer spares a mistake; nobody waits long for it.
_LIMIT, _MOST_PAGES = 10.0, 10


def limits(cloud: Cloud) -> dict[str, int] | None:
    """Return the limit of each metric in the cloud's region; -1 is none.

    None when nobody tells: the Cloud Quotas API need not be enabled, nor the account be allowed to ask it.
    """
    import requests
    from google.auth.exceptions import GoogleAuthError

    if cloud.quotas_url is None:
        return None
    url = f"{cloud.quotas_url}/v1/projects/{cloud.project}/locations/global/services/{SERVICE}/quotaInfos"
    parameters = {"pageSize": "1000"}

    def ask(parameters: dict[str, Any]) -> dict[str, Any]:
        answer = cloud.session.get(url, params=parameters, timeout=_LIMIT)
        answer.raise_for_status()
        page: dict[str, Any] = answer.json()
        return page

    found: dict[str, int] = {}
    try:
        for page in itertools.islice(rest.pages(ask, parameters), _MOST_PAGES):
            for info in page.get("quotaInfos", ()):
                limit = _limit(info, cloud.region)
                if limit is not None:
                    found[str(info["metric"])] = limit
    except (requests.RequestException, GoogleAuthError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found


def _limit(info: Mapping[str, Any], region: str) -> int | None:
    """Return the limit of a quota in the region: its own, or that of all places; None for one of another dimension."""
    everywhere = None
    for one in info.get("dimensionsInfos", ()):
        dimensions = one.get("dimensions", {})
        value = one.get("details", {}).get("value")
        if value is None or set(dimensions) - {"region"}:
            continue
        if dimensions.get("region") == region:
            return int(value)
        if not dimensions and ({region, "global"} & set(one.get("applicableLocations", ("global",)))):
            everywhere = int(value)
    return everywhere
