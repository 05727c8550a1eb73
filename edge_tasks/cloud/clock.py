"""The time by which requests are dated: the emulator's clock can be ahead of this machine's."""

from __future__ import annotations

from datetime import datetime, timezone

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import Cloud, sdk_errors


def now(cloud: Cloud) -> datetime:
    """Return the time of the target's servers."""
    if cloud.bigquery_url is None:
        with sdk_errors("ask the emulator for its time"):
            response = cloud.session.get(f"{cloud.vertex_url}/_emulator/clock")
        found, _ = rest.read(response)
        if response.ok and found and "now" in found:
            return datetime.fromisoformat(found["now"])
    return datetime.now(timezone.utc)
