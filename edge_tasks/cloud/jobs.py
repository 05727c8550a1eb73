"""Every call to Vertex AI's jobs: those that all kinds have in common, and custom jobs.

Values in, values out: the SDK's classes stay inside this module, and its errors become EdgeError here. Waiting is our
own (`edge_tasks.jobs.waiter`), because the SDK polls a job every 5 s, has no limits, and never ends on some states.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.domain.machines import machine_spec
from edge_tasks.domain.prices import TRAINING, Machine, Use
from edge_tasks.domain.runs import utc_now
from edge_tasks.repo import layout

_Job = TypeVar("_Job", bound="Job")

DONE_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "PAUSED", "EXPIRED", "PARTIALLY_SUCCEEDED"})

# The prefixes of Google's prebuilt training images, which alone may run a Python package.
# https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
_PREBUILT_TRAINING = tuple(f"{area}-docker.pkg.dev/vertex-ai/training/" for area in ("us", "europe", "asia"))


# ABORTED, INTERNAL and UNAVAILABLE: what ran the job failed, not what it ran.
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_NOT_ITS_OWN = frozenset({10, 13, 14})


@dataclass(frozen=True)
class Job:
    """A job as it is now. `state` is Vertex AI's, without `JOB_STATE_`; `uses` are its machines until now.

    With `platform_failed` it is what ran the job that failed, and the same may succeed the next time.
    """

    name: str
    state: str
    error: str | None
    labels: Mapping[str, str]
    created: datetime
    platform_failed: bool = field(default=False, kw_only=True)
    started: datetime | None = field(default=None, kw_only=True)
    ended: datetime | None = field(default=None, kw_only=True)
    uses: tuple[Use, ...] = field(default=(), kw_only=True)

    @property
    def job_id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def done(self) -> bool:
        """Whether the state is final."""
        return self.state in DONE_STATES

    @property
    def may_succeed_again(self) -> bool:
        """Whether nothing is to be fixed before the next try: it was cancelled, or what ran it failed."""
        return self.platform_failed or self.state == "CANCELLED"


@dataclass(frozen=True)
class JobApi(Generic[_Job]):
    """Vertex AI's calls for the jobs of one kind, which are the same but for the kind's name in them.

    `noun` is what messages call such a job, `kind` what the API does, and `convert` makes a job of the SDK's message.
    """

    noun: str
    kind: str
    convert: Callable[[Any], _Job]

    def create(self, cloud: Cloud, job: Mapping[str, Any]) -> _Job:
        """Create a job."""
        with sdk_errors(f"start the {self.noun}"):
            return self.convert(self._call(cloud, f"create_{self.kind}", parent=cloud.parent, **{self.kind: job}))

    def get(self, cloud: Cloud, name: str) -> _Job:
        """Return the job `name` as it is now."""
        with sdk_errors(f"look at the {self.noun} {name}"):
            return self.convert(self._call(cloud, f"get_{self.kind}", name=name))

    def find(self, cloud: Cloud, label: str, value: str) -> list[_Job]:
        """Return the jobs that carry the label, newest first."""
        request = {"parent": cloud.parent, "filter": f'labels.{label}="{value}"'}
        with sdk_errors(f"look for earlier {self.noun}s"):
            found = [self.convert(message) for message in self._call(cloud, f"list_{self.kind}s", request=request)]
        return sorted(found, key=lambda job: job.created, reverse=True)

    def of_model(self, cloud: Cloud, model_name: str) -> list[_Job]:
        """Return all jobs of a model, newest first."""
        return self.find(cloud, layout.MODEL_LABEL, layout.label_value(model_name))

    def cancel(self, cloud: Cloud, name: str) -> None:
        """Ask for the end of the job `name`, which comes some time later."""
        with sdk_errors(f"cancel the {self.noun} {name}"):
            self._call(cloud, f"cancel_{self.kind}", name=name)

    def _call(self, cloud: Cloud, rpc: str, **request: Any) -> Any:
        return getattr(cloud.jobs, rpc)(**request)


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
    machine = machine_spec(plan.machine_type, plan.accelerator_type, plan.accelerator_count)
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
    arguments = [bootstrap(plan.packages, plan.module), plan.module]
    return {"container_spec": {"image_uri": plan.image, "command": ["sh", "-c"], "args": arguments}}


def bootstrap(packages: Sequence[str], module: str) -> str:
    """Return the shell line that installs `packages` from the mounted bucket and becomes `python -m module`."""
    paths = " ".join(shlex.quote(uri.replace("gs://", "/gcs/", 1)) for uri in packages)
    return f'python3 -m pip install --no-cache-dir --quiet {paths} && exec python3 -m {shlex.quote(module)} "$@"'


def create_job(cloud: Cloud, display_name: str, plan: JobPlan, labels: Mapping[str, str]) -> Job:
    """Create a custom job that runs `plan`."""
    return CUSTOM_JOBS.create(cloud, {"display_name": display_name, "labels": dict(labels), "job_spec": job_spec(plan)})


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
        "platform_failed": message.error.code in _NOT_ITS_OWN,
        "labels": dict(message.labels),
        "created": message.create_time,
        "started": message.start_time or None,
        "ended": message.end_time or None,
    }


def hours_run(message: Any) -> float:
    """Return for how long a job or a trial has run until now: 0 before it starts."""
    if not message.start_time:
        return 0.0
    end = message.end_time or utc_now()
    return max(0.0, float((end - message.start_time).total_seconds()) / 3600)


def machines(use: str, spec: Any, count: int, *, spot: bool = False) -> Machine:
    """Return machines from the SDK's MachineSpec."""
    accelerator = spec.accelerator_type.name if spec.accelerator_type else None
    return Machine(use, spec.machine_type, accelerator, spec.accelerator_count or 1, count, spot)


def pool_machines(spec: Any) -> list[Machine]:
    """Return the machines of the SDK's CustomJobSpec."""
    spot = spec.scheduling.strategy.name == "SPOT"
    pools = [pool for pool in spec.worker_pool_specs if pool.replica_count]
    return [machines(TRAINING, pool.machine_spec, pool.replica_count, spot=spot) for pool in pools]


def _custom_job(message: Any) -> Job:
    ran = hours_run(message)
    return Job(**job_fields(message), uses=tuple(Use(one, ran) for one in pool_machines(message.job_spec)))


CUSTOM_JOBS = JobApi("training job", "custom_job", _custom_job)
