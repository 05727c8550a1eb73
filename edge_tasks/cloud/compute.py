"""Which machine types a region has, by Compute Engine's REST API: one call needs no further client library.

https://cloud.google.com/compute/docs/reference/rest/v1/machineTypes/aggregatedList
"""

from __future__ import annotations

from edge_tasks.cloud.client import Cloud

# Seconds. The answer spares a mistake; nobody waits long for it.
_LIMIT = 10.0


def regions_with(cloud: Cloud, machine_type: str) -> set[str] | None:
    """Return the regions with `machine_type` in one of their zones.

    None when nobody tells: the Compute Engine API need not be enabled, nor the account be allowed to ask it.
    """
    import requests
    from google.auth.exceptions import GoogleAuthError

    if cloud.compute_url is None:
        return None
    try:
        answer = cloud.session.get(
            f"{cloud.compute_url}/compute/v1/projects/{cloud.project}/aggregated/machineTypes",
            params={"filter": f'name="{machine_type}"', "maxResults": 500},
            timeout=_LIMIT,
        )
        page = answer.json() if answer.ok else {}
    except (requests.RequestException, GoogleAuthError, ValueError):
        return None
    if not isinstance(page, dict) or "items" not in page or "nextPageToken" in page:
        return None
    zones = [place.removeprefix("zones/") for place, found in page["items"].items() if found.get("machineTypes")]
    return {zone.rpartition("-")[0] for zone in zones}
