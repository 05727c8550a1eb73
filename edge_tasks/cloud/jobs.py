"""Every call to Vertex AI's custom jobs.

Values in, values out: the SDK's classes stay inside this module, and its errors become EdgeError here. Waiting is our
own (`edge_tasks.jobs.waiter`), because the SDK polls a job every 5 s, has no limits, and never ends on some states.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_tasks.cloud.client import CALL_TIMEOUT, Cloud, sdk_errors

DONE_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "PAUSED", "EXPIRED", "PARTIALLY_SUCCEEDED"})

# The prefixes of Google's prebuilt training images, which alone may run a Python package.
# https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
_PREBUILT_TRAINING = tuple(f"{area}-docker.pkg.dev/vertex-ai/training/" for area in ("us", "europe", "asia"))


@dataclass(frozen=True)
class Job:
    """A job as it is now. `state` is Vertex AI's, without `JOB_STATE_`."""

    name: str
    state: str
    error: str | None
    labels: Mapping[str, str]
    created: datetime

    @property
    def job_id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def done(self) -> bool:
        """Whether the state is final."""
        return self.state in DONE_STATES


@dataclass(frozen=True)
class JobPlan:
    """What a job runs (`python -m module`, with `packages` from the bucket installed), and on which machines."""

    image: str
    packages: Sequence[str]
    module: str
    output_uri: str
    timeout_seconds: int
    machine_type: str
    accelerator_type: str | None = None
    accelerator_count: int = 1
    replica_count: int = 1
    spot: bool = False
    service_account: str | None = None


def job_spec(plan: JobPlan) -> dict[str, Any]:
    """Return the CustomJobSpec of `plan`.

    A prebuilt training image gets a Python package spec; in any other image pip installs the packages from the bucket,
    which Vertex AI mounts at /gcs. https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec
    """
    scheduling: dict[str, Any] = {"timeout": {"seconds": plan.timeout_seconds}}
    if plan.spot:
        scheduling["strategy"] = "SPOT"
    spec: dict[str, Any] = {
        "worker_pool_specs": _pools(plan),
        "scheduling": scheduling,
        "base_output_directory": {"output_uri_prefix": plan.output_uri},
    }
    if plan.service_account:
        spec["service_account"] = plan.service_account
    return spec


def _pools(plan: JobPlan) -> list[dict[str, Any]]:
    """Return the pool of the primary replica, and that of the others if there are any.

    https://cloud.google.com/vertex-ai/docs/training/distributed-training
    """
    machine: dict[str, Any] = {"machine_type": plan.machine_type}
    if plan.accelerator_type:
        machine |= {"accelerator_type": plan.accelerator_type, "accelerator_count": plan.accelerator_count}
    pool = {"machine_spec": machine, "replica_count": 1, **_task(plan)}
    others = plan.replica_count - 1
    return [pool, {**pool, "replica_count": others}] if others else [pool]


def _task(plan: JobPlan) -> dict[str, Any]:
    if plan.image.startswith(_PREBUILT_TRAINING):
        package = {
            "executor_image_uri": plan.image,
            "package_uris": list(plan.packages),
            "python_module": plan.module,
        }
        return {"python_package_spec": package}
    # The word after the shell line is its $0; what a tuning job appends are the arguments of the module.
    arguments = [_bootstrap(plan.packages, plan.module), plan.module]
    return {"container_spec": {"image_uri": plan.image, "command": ["sh", "-c"], "args": arguments}}


def _bootstrap(packages: Sequence[str], module: str) -> str:
    """Return the shell line that installs `packages` from the mounted bucket and becomes the training."""
    paths = " ".join(shlex.quote(uri.replace("gs://", "/gcs/", 1)) for uri in packages)
    return f'python3 -m pip install --no-cache-dir --quiet {paths} && exec python3 -m {shlex.quote(module)} "$@"'


def create_job(cloud: Cloud, display_name: str, plan: JobPlan, labels: Mapping[str, str]) -> Job:
    """Create a custom job that runs `plan`."""
    job = {"display_name": display_name, "labels": dict(labels), "job_spec": job_spec(plan)}
    with sdk_errors("start the training job"):
        return _job(cloud.jobs.create_custom_job(parent=cloud.parent, custom_job=job, timeout=CALL_TIMEOUT))


def get_job(cloud: Cloud, name: str) -> Job:
    """Return the custom job `name` as it is now."""
    with sdk_errors(f"look at the training job {name}"):
        return _job(cloud.jobs.get_custom_job(name=name, timeout=CALL_TIMEOUT))


def find_jobs(cloud: Cloud, label: str, value: str) -> list[Job]:
    """Return the custom jobs that carry the label, newest first."""
    request = {"parent": cloud.parent, "filter": f'labels.{label}="{value}"'}
    with sdk_errors("look for earlier training jobs"):
        jobs = [_job(message) for message in cloud.jobs.list_custom_jobs(request=request, timeout=CALL_TIMEOUT)]
    return sorted(jobs, key=lambda job: job.created, reverse=True)


def cancel_job(cloud: Cloud, name: str) -> None:
    """Ask for the end of the custom job `name`, which comes some time later."""
    with sdk_errors(f"cancel the training job {name}"):
        cloud.jobs.cancel_custom_job(name=name, timeout=CALL_TIMEOUT)


def console_page(cloud: Cloud, job: Job) -> str | None:
    """Return the address of the page that shows `job` in Google's console; None where there is no console."""
    if cloud.console_url is None:
        return None
    return f"{cloud.console_url}/locations/{cloud.region}/training/{job.job_id}?project={cloud.project}"


def job_fields(message: Any) -> dict[str, Any]:
    """Return what jobs of every kind have in common, from the SDK's message."""
    return {
        "name": message.name,
        "state": message.state.name.removeprefix("JOB_STATE_"),
        "error": message.error.message or None,
        "labels": dict(message.labels),
        "created": message.create_time,
    }


def _job(message: Any) -> Job:
    return Job(**job_fields(message))
