"""Removing all that this repository made in the cloud: what the shared state tells of, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tasks.cloud import (
    endpoints,
    hosted_dashboard,
    managed_monitoring,
    model_registry,
    pipeline_schedules,
    storage,
)
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.managed_monitoring import Watcher
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.state import EdgeState
from edge_tasks.releases.plan import ReleaseError, delete_endpoint, end_operation
from edge_tasks.repo import layout
from edge_tasks.repo.layout import registry_model_id

PIPELINE_SCHEDULE = "schedule of a pipeline"
REGISTERED_MODEL = "registered model"
BUCKET = "bucket, with all data, models and state in it:"
DASHBOARD = "dashboard on Cloud Run:"
_KEPT = "everything on the endpoint that Terraform keeps:"


@dataclass(frozen=True)
class Thing:
    """Something that is there and would be removed; `kind` is for people."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Return one line for the list that the user sees."""
        return f"{self.kind} {self.name}"


def find(cloud: Cloud, config: EdgeConfig, bucket: bool) -> list[Thing]:
    """Return what is there of all that was made, and with `bucket` the bucket.

    Schedules of pipelines, what watches models, endpoints, the dashboard, registered models.
    """
    return _find(cloud, config, StateStore(cloud).load(), bucket)


def _find(cloud: Cloud, config: EdgeConfig, state: EdgeState, bucket: bool) -> list[Thing]:
    things = [Thing(PIPELINE_SCHEDULE, one.name) for one in pipeline_schedules.of_bucket(cloud)]
    things += _watchers(cloud, config, state)
    things += _endpoints(cloud, state)
    if hosted := hosted_dashboard.find(cloud):
        things.append(Thing(DASHBOARD, str(hosted)))
    # A training registers versions before anything is in the state, under an id that holds a hash of the bucket's name.
    former = (name for model in state.models.values() for name in model.former_names)
    for name in dict.fromkeys((*state.models, *config.models, *former)):
        resource = f"{cloud.parent}/models/{registry_model_id(cloud.bucket_name, name)}"
        if model_registry.model_exists(cloud, resource):
            things.append(Thing(REGISTERED_MODEL, resource))
    if bucket and (settings := storage.find_bucket(cloud)) is not None:
        if settings.by_terraform:
            raise ReleaseError(
                f"Terraform manages the bucket gs://{cloud.bucket_name}",
                "invoke teardown, then terraform -chdir=infra destroy (README.md there says what it keeps)",
            )
        things.append(Thing(BUCKET, f"gs://{cloud.bucket_name}"))
    return things


def _watchers(cloud: Cloud, config: EdgeConfig, state: EdgeState) -> list[Thing]:
    names = dict.fromkeys((*state.models, *config.models))
    found = (one for name in names for one in managed_monitoring.find(cloud, name, state.model(name)))
    return [Thing(one.kind, one.name) for one in found]


def _endpoints(cloud: Cloud, state: EdgeState) -> list[Thing]:
    things = []
    for model in state.models.values():
        for resource in (model.endpoint, model.trial_endpoint):
            endpoint = endpoints.get_endpoint(cloud, resource) if resource else None
            if endpoint is not None:
                serving = ", ".join(_share(endpoint, deployed_id) for deployed_id in endpoint.deployed)
                if not layout.by_terraform(endpoint.labels):
                    things.append(Thing(f"endpoint with {serving or 'nothing on it'}:", endpoint.name))
                elif serving:
                    things.append(Thing(_KEPT, endpoint.name))
    return things


def _share(endpoint: endpoints.Endpoint, deployed_model_id: str) -> str:
    version = endpoint.deployed[deployed_model_id].rpartition("@")[2]
    return f"version {version} ({endpoint.traffic.get(deployed_model_id, 0)} % of the traffic)"


def remove(cloud: Cloud, config: EdgeConfig, shown: list[Thing], progress: Progress, lock_timeout: float) -> None:
    """Remove the things that `find` returned and the user was shown.

    Raises ReleaseError when others are there by now: nobody said yes to those.
    """
    bucket = any(thing.kind == BUCKET for thing in shown)
    with StateStore(cloud).locked(lock_timeout, progress.step) as locked:
        if _find(cloud, config, locked.state, bucket) != shown:
            raise ReleaseError("what is there has changed meanwhile", "invoke teardown, and look at the list again")
        for model in locked.state.models.values():
            if model.operation:
                end_operation(cloud, model.operation)
        for thing in shown:
            locked.check()
            progress.step(f"delete the {thing}")
            if thing.kind == REGISTERED_MODEL:
                model_registry.delete_model(cloud, thing.name)
            elif thing.kind == PIPELINE_SCHEDULE:
                pipeline_schedules.delete(cloud, thing.name)
            elif thing.kind in managed_monitoring.KINDS:
                managed_monitoring.delete(cloud, Watcher(thing.kind, thing.name))
            elif thing.kind == DASHBOARD:
                if hosted := hosted_dashboard.find(cloud):
                    hosted_dashboard.remove(cloud, hosted)
            elif thing.kind != BUCKET:
                delete_endpoint(cloud, thing.name)
        if bucket:
            storage.delete_bucket(cloud)
        else:
            locked.save(locked.state.without_models())


def forget(cloud: Cloud, config: EdgeConfig, progress: Progress, lock_timeout: float) -> None:
    """Write into the state that nothing is there, which a teardown that was cut off did not come to do."""
    if StateStore(cloud).load().models:
        remove(cloud, config, [], progress, lock_timeout)
