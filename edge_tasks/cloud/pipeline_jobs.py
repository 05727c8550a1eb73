"""Vertex AI's pipeline jobs, as far as they are shown: listed, with the state of each task.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

from __future__ import annotations

from typing import Any

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import CloudError

_PAGE_SIZE = 100


def list_pipeline_jobs(cloud: Cloud) -> list[dict[str, Any]] | None:
    """Return the location's pipeline jobs as the API's JSON; None where the API says UNIMPLEMENTED."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        with sdk_errors("list the pipeline jobs"):
            answer = cloud.session.get(
                f"{cloud.vertex_url}/v1/{cloud.parent}/pipelineJobs",
                params={"pageSize": _PAGE_SIZE, **({"pageToken": token} if token else {})},
            )
        if answer.status_code == 501:
            return None
        if not answer.ok:
            raise CloudError(f"cannot list the pipeline jobs: the API answered {answer.status_code}", "invoke doctor")
        page = answer.json()
        found += page.get("pipelineJobs", [])
        token = page.get("nextPageToken", "")
        if not token:
            return found
