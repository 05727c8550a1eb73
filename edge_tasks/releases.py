"""Releases: which version of a model an endpoint serves, changed safely and reversibly.

Every change reads the world first and makes a plan of steps, which `--dry-run` shows. It is carried out under the
state's lock, each step recorded when it has happened, so that an interrupted release goes on from what is there.
A version gets traffic only after it has answered the model's test_payload.json.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from edge_tasks import lineage, preflight, storage, vertex
from edge_tasks.cloud import Cloud
from edge_tasks.config import EdgeConfig
from edge_tasks.errors import NotFoundError
from edge_tasks.progress import Progress
from edge_tasks.rollout import Options, Outcome, ReleaseError, Rollout, take_all_off, version_of
from edge_tasks.state import Deployment
from edge_tasks.store import StateStore, user_name
from edge_tasks.trained_model import ARTIFACT_FOLDER, TrainedModel, load_trained_model

__all__ = ["Options", "Outcome", "ReleaseError", "deploy", "promote", "remove", "rollback", "undeploy"]

_DEFAULT = Options()


@contextlib.contextmanager
def _release(
    cloud: Cloud, config: EdgeConfig, root: Path, name: str, progress: Progress, options: Options
) -> Iterator[Rollout]:
    with StateStore(cloud).locked(options.wait) as locked:
        release = Rollout(cloud, config, root / "models" / name, name, progress, options, locked)
        release.read_world()
        yield release


def deploy(
    cloud: Cloud,
    config: EdgeConfig,
    root: Path,
    name: str,
    progress: Progress,
    options: Options = _DEFAULT,
    traffic: int = 100,
) -> Outcome:
    """Serve the trained model `name` with `traffic` percent of the requests; with 100 it replaces what serves.

    A model that was trained in process, or against another target, is uploaded first. Run again after an interruption,
    it goes on from what is there. Raises ReleaseError when the new version does not answer the model's payload; what
    served before then keeps all the traffic.
    """
    if not 1 <= traffic <= 100:
        raise ReleaseError(f"{traffic} % of the traffic is not possible", "--traffic takes a number from 1 to 100")
    trained = load_trained_model(root / "models" / name, name)
    image = config.serving_image(config.models[name])
    preflight.check(config, trained)

    def source(model: str, deployed_model_id: str) -> Deployment:
        return _deployment(model, deployed_model_id, trained.run_id, trained.commit, trained.data)

    with _release(cloud, config, root, name, progress, options) as release:
        if traffic < 100 and release.state.deployed is None:
            raise ReleaseError(f"nothing serves beside which `{name}` could get {traffic} %", "invoke model.deploy")
        release.model = _find_registered(cloud, config, trained)
        if traffic < 100 and release.model and release.deployed_under(release.model) == release.serving_id():
            raise ReleaseError(
                f"{release.version} of `{name}` serves all the traffic already", "train a new version: dvc repro"
            )
        if release.model is None:
            preflight.check_artifact(release.folder, trained)
            release.plan("upload the artifact to the registry", lambda: _register(release, config, trained, image))
        release.plan_to_serve(source, traffic)
        return release.outcome(release.carry_out())


def promote(
    cloud: Cloud,
    config: EdgeConfig,
    root: Path,
    name: str,
    progress: Progress,
    options: Options = _DEFAULT,
) -> Outcome:
    """Give the version that has a part of the traffic all of it, and take off what served beside it."""
    with _release(cloud, config, root, name, progress, options) as release:
        candidate = release.state.candidate
        if candidate is None:
            raise ReleaseError(
                f"`{name}` has no version with a part of the traffic", "invoke model.deploy --traffic 10"
            )
        release.model = candidate.model
        release.plan_to_serve(_again(candidate), 100)
        return release.outcome(release.carry_out())


def rollback(
    cloud: Cloud,
    config: EdgeConfig,
    root: Path,
    name: str,
    progress: Progress,
    options: Options = _DEFAULT,
    to: str | None = None,
) -> Outcome:
    """Go back: to the version that served before, or to the version `to`; from a part of the traffic, to none of it."""
    with _release(cloud, config, root, name, progress, options) as release:
        now = release.state.deployed
        if now is None:
            raise ReleaseError(f"`{name}` is not deployed", f"invoke model.deploy --name {name}")
        if to is not None:
            target = release.state.served(to)
            if target is None:
                known = ", ".join(dict.fromkeys(item.version for item in release.state.history))
                raise ReleaseError(f"version {to} of `{name}` never served", f"there are: {known}")
        elif release.state.candidate is not None:
            target = now
        else:
            target = release.state.before(now.version)
            if target is None:
                raise ReleaseError(
                    f"nothing served before version {now.version} of `{name}`",
                    f"invoke model.undeploy --name {name} stops it",
                )
        release.model = target.model
        release.plan_to_serve(_again(target), 100)
        return release.outcome(release.carry_out())


def undeploy(cloud: Cloud, name: str, progress: Progress, options: Options = _DEFAULT) -> bool:
    """Take everything off the endpoint of the model `name`, which stays. False when nothing was deployed."""
    with StateStore(cloud).locked(options.wait) as locked:
        endpoint = _endpoint(cloud, locked.state.model(name).endpoint)
        for model in endpoint.deployed.values() if endpoint else ():
            progress.step(f"{'would take' if options.dry_run else 'taking'} {version_of(model)} off the endpoint")
        if endpoint and not options.dry_run:
            take_all_off(cloud, endpoint.name)
        if not options.dry_run and locked.state.model(name).deployed is not None:
            locked.save(locked.state.without_deployment(name))
    return bool(endpoint and endpoint.deployed)


def remove(cloud: Cloud, name: str, progress: Progress, options: Options = _DEFAULT) -> None:
    """Delete the endpoint and all registered versions of the model `name`. Its folder and its edge.yaml stay."""
    would = "would delete" if options.dry_run else "deleting"
    with StateStore(cloud).locked(options.wait) as locked:
        state = locked.state.model(name)
        for endpoint in (state.endpoint, state.trial_endpoint):
            if endpoint:
                progress.step(f"{would} the endpoint {endpoint}")
                if not options.dry_run:
                    take_all_off(cloud, endpoint)
                    vertex.delete_endpoint(cloud, endpoint)
        progress.step(f"{would} the registered versions of `{name}`")
        if options.dry_run:
            return
        model_id = lineage.registry_model_id(cloud.bucket_name, name)
        vertex.delete_model(cloud, f"{cloud.parent}/models/{model_id}")
        if name in locked.state.models:
            locked.save(locked.state.without_model(name))


def _find_registered(cloud: Cloud, config: EdgeConfig, trained: TrainedModel) -> str | None:
    """Return the versioned resource name of the trained model in this cloud's registry, or None."""
    if trained.model and trained.target == config.target:
        # It may have been removed since, or the registry was reset.
        with contextlib.suppress(NotFoundError):
            return vertex.get_model(cloud, trained.model).versioned_name
    model_id = lineage.registry_model_id(cloud.bucket_name, trained.model_name)
    found = vertex.find_version(cloud, model_id, "edge-run", trained.run_id)
    return found.versioned_name if found else None


def _register(release: Rollout, config: EdgeConfig, trained: TrainedModel, image: str) -> None:
    cloud, name = release.cloud, trained.model_name
    prefix = f"{config.storage_bucket.vertex_jobs_directory}/{name}/{trained.run_id}/output/{ARTIFACT_FOLDER}"
    release.model = vertex.upload_model(
        cloud,
        model_id=lineage.registry_model_id(cloud.bucket_name, name),
        display_name=name,
        artifact_uri=storage.upload_folder(cloud, release.folder / ARTIFACT_FOLDER, prefix),
        image=image,
        labels=trained.labels,
        description=lineage.description(_commit(trained), trained.data, trained.parameters),
    ).versioned_name


def _commit(trained: TrainedModel) -> lineage.Commit | None:
    return lineage.Commit(trained.commit, bool(trained.dirty)) if trained.commit else None


def _deployment(
    model: str, deployed_model_id: str, run_id: str | None, commit: str | None, data: dict[str, str]
) -> Deployment:
    return Deployment(
        model=model,
        deployed_model_id=deployed_model_id,
        deployed_at=datetime.now(timezone.utc),
        deployed_by=user_name(),
        run_id=run_id,
        commit=commit,
        data=data,
    )


def _again(deployment: Deployment) -> Callable[[str, str], Deployment]:
    """Return what records that `deployment` serves once more, now, by this user."""

    def source(model: str, deployed_model_id: str) -> Deployment:
        return _deployment(model, deployed_model_id, deployment.run_id, deployment.commit, deployment.data)

    return source


def _endpoint(cloud: Cloud, name: str | None) -> vertex.Endpoint | None:
    return vertex.get_endpoint(cloud, name) if name else None
