"""Every call to Vertex AI Pipelines: values in, values out.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.jobs import Job, JobApi
from edge_tasks.errors import CloudError

_PREFIX = "PIPELINE_STATE_"
_PAGE_SIZE = 100


@dataclass(frozen=True)
class Artifact:
    """What a task made: where it lies, and what is said of it."""

    uri: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class TaskRun:
    """A task of a pipeline job. `state` is Vertex AI's; `job` is the custom job that ran it, if one did."""

    name: str
    state: str
    error: str | None
    job: str | None
    outputs: Mapping[str, Artifact]


@dataclass(frozen=True)
class PipelineJob(Job):
    """A pipeline job as it is now."""

    pipeline: str
    display_name: str
    tasks: tuple[TaskRun, ...] = ()


class _PipelineApi(JobApi[PipelineJob]):
    """The calls for pipeline jobs, which are like those for jobs, but of another service."""

    def _call(self, cloud: Cloud, rpc: str, **request: Any) -> Any:
        return getattr(cloud.pipelines, rpc)(**request)


def job_of(
    document: Mapping[str, Any],
    *,
    display_name: str,
    parameters: Mapping[str, Any],
    labels: Mapping[str, str],
    service_account: str | None = None,
) -> dict[str, Any]:
    """Return the PipelineJob that runs a compiled pipeline; its own folder for files is used."""
    job: dict[str, Any] = {
        "pipeline_spec": document,
        "labels": dict(labels),
        "runtime_config": {
            "gcs_output_directory": document["defaultPipelineRoot"],
            "parameter_values": dict(parameters),
        },
    }
    optional = {"display_name": display_name, "service_account": service_account}
    return job | {name: value for name, value in optional.items() if value}


def list_pipeline_jobs(cloud: Cloud) -> list[dict[str, Any]] | None:
    """Return the location's pipeline jobs as JSON, graphs included; None where the API has no such service."""

    def ask(parameters: dict[str, Any]) -> dict[str, Any]:
        with sdk_errors("list the pipeline jobs"):
            answer = cloud.session.get(f"{cloud.vertex_url}/v1/{cloud.parent}/pipelineJobs", params=parameters)
        if answer.status_code == HTTPStatus.NOT_IMPLEMENTED:
            raise NotImplementedError
        if not answer.ok:
            raise CloudError(f"cannot list the pipeline jobs: the API answered {answer.status_code}", "invoke doctor")
        page: dict[str, Any] = answer.json()
        return page

    try:
        return [job for page in rest.pages(ask, {"pageSize": _PAGE_SIZE}) for job in page.get("pipelineJobs", ())]
    except NotImplementedError:
        return None


def console_page(cloud: Cloud, job: PipelineJob) -> str | None:
    """Return the address of the page that shows `job` in Google's console; None where there is no console."""
    if cloud.console_url is None:
        return None
    return f"{cloud.console_url}/locations/{cloud.region}/pipelines/runs/{job.job_id}?project={cloud.project}"


def _convert(message: Any) -> PipelineJob:
    tasks = sorted(message.job_detail.task_details, key=lambda task: str(task.create_time or ""))
    info = dict(message.pipeline_spec or {}).get("pipelineInfo") or {}
    return PipelineJob(
        name=message.name,
        state=message.state.name.removeprefix(_PREFIX),
        error=message.error.message or None,
        labels=dict(message.labels),
        created=message.create_time,
        pipeline=str(dict(info).get("name", "")),
        display_name=message.display_name,
        tasks=tuple(_task(task) for task in tasks),
    )


def _task(message: Any) -> TaskRun:
    outputs = {key: found.artifacts[0] for key, found in message.outputs.items() if found.artifacts}
    return TaskRun(
        name=message.task_name,
        state=message.state.name,
        error=message.error.message or None,
        job=message.executor_detail.container_detail.main_job or None,
        outputs={key: Artifact(found.uri, dict(found.metadata or {})) for key, found in outputs.items()},
    )


PIPELINE_JOBS: JobApi[PipelineJob] = _PipelineApi("pipeline job", "pipeline_job", _convert)
