"""Pipeline jobs: their states, and their tasks with what comes before each.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs#PipelineTaskDetail
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.pipeline_jobs import list_pipeline_jobs


def pipelines(cloud: Cloud) -> dict[str, Any]:
    """Return the pipeline jobs, newest first; `served` says whether the API has such a service at all."""
    found = list_pipeline_jobs(cloud)
    if found is None:
        return {"served": False, "pipelines": []}
    return {
        "served": True,
        "pipelines": sorted((_pipeline(job) for job in found), key=lambda one: one["created"] or "", reverse=True),
    }


def _pipeline(job: Mapping[str, Any]) -> dict[str, Any]:
    specification = _mapping(job, "pipelineSpec")
    return {
        "id": str(job.get("name", "")).rpartition("/")[2],
        "name": job.get("displayName") or _mapping(specification, "pipelineInfo").get("name") or "",
        "state": str(job.get("state", "")).removeprefix("PIPELINE_STATE_").lower(),
        "created": job.get("createTime"),
        "started": job.get("startTime"),
        "ended": job.get("endTime"),
        "error": _mapping(job, "error").get("message"),
        "labels": dict(_mapping(job, "labels")),
        "parameters": _mapping(job, "runtimeConfig").get("parameterValues") or {},
        "tasks": _tasks(job, specification),
    }


def _tasks(job: Mapping[str, Any], specification: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tasks of the root graph: as the specification has them, with what came of each."""
    planned = _mapping(_mapping(_mapping(specification, "root"), "dag"), "tasks")
    details = {one.get("taskName", ""): one for one in _mapping(job, "jobDetail").get("taskDetails", ())}
    return [
        {
            "name": name,
            "title": _mapping(task, "taskInfo").get("name") or name,
            "after": sorted(str(before) for before in task.get("dependentTasks", ())),
            "state": str(_mapping(details, name).get("state", "pending")).lower(),
            "started": _mapping(details, name).get("startTime"),
            "ended": _mapping(details, name).get("endTime"),
            "error": _mapping(_mapping(details, name), "error").get("message"),
        }
        for name, task in planned.items()
        if isinstance(task, Mapping)
    ]


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
