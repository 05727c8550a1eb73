"""Releases: which version of a model an endpoint serves, changed safely and reversibly.

Every change reads the world first and makes a plan of steps, which `--dry-run` shows. It is carried out under the
state's lock, each step recorded when it has happened, so that an interrupted release continues from what is there.
A version gets traffic only after it has answered the model's test_payload.json.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from edge_tasks.cloud import managed_monitoring, model_registry, storage
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.serving_choice import ArtifactFacts, Serving, choose
from edge_tasks.domain.state import Deployment, ModelState, Origin
from edge_tasks.errors import NotFoundError
from edge_tasks.readiness import artifact
from edge_tasks.readiness.complaints import refuse
from edge_tasks.releases import lineage, model_upload, preflight, serving, serving_image
from edge_tasks.releases.model_upload import ModelUpload
from edge_tasks.releases.plan import (
    Options,
    Outcome,
    Release,
    ReleaseError,
    Rollout,
    delete_endpoint,
    take_all_off,
    version_of,
)
from edge_tasks.repo import layout
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, TrainedModel, load_trained_model

__all__ = ["Options", "Outcome", "Release", "ReleaseError", "deploy", "promote", "remove", "rollback", "undeploy"]


@contextlib.contextmanager
def _rollout(release: Release) -> Iterator[Rollout]:
    with StateStore(release.cloud).locked(release.options.lock_timeout, release.progress.step) as locked:
        rollout = Rollout(release, locked)
        rollout.read_world()
        yield rollout


def deploy(release: Release, traffic: int = 100, until: datetime | None = None) -> Outcome:
    """Serve the trained model with `traffic` percent of the requests; with 100 it replaces what serves.

    A model that was trained in process, or against another target, is uploaded first. Made again after an interruption,
    it continues from what is there. Raises ReleaseError when the new version does not answer the model's payload; what
    served before then keeps all the traffic. `until` is recorded for `edge_tasks.models.endings`, which ends it then.
    """
    name = release.name
    if not 1 <= traffic <= 100:
        raise ReleaseError(f"{traffic} % of the traffic is not possible", "--traffic takes a number from 1 to 100")
    trained = load_trained_model(release.folder, name)
    for doubt in lineage.doubts(release.folder, trained):
        release.progress.step(f"warning: {doubt}")
    if release.cloud.notice:
        release.progress.step(f"warning: {release.cloud.notice}")
    if release.options.smoke_test and not (release.folder / PAYLOAD_FILE).is_file():
        release.progress.step(
            f"warning: models/{name} has no {PAYLOAD_FILE}, so this version gets requests untried: write "
            '{"instances": [...]} into it'
        )
    facts = serving.of_trained(release.cloud, release.config, release.folder, trained)
    chosen = choose(release.config, name, facts)
    preflight.check(release.config, trained, chosen)
    if release.options.checks and preflight.is_artifact(release.folder, trained):
        found = artifact.complaints(name, release.folder / ARTIFACT_FOLDER, facts, chosen)
        refuse(found, f"the deployment of `{name}`", "--no-checks")
    key = f"models.{name}.serving_machine_type"
    preflight.check_region(release.cloud, key, release.settings.serving_machine_type)
    preflight.check_quota(release.cloud, key, preflight.serving_machines(release.settings))
    with _rollout(release) as rollout:
        if traffic < 100 and rollout.state.deployed is None:
            raise ReleaseError(
                f"nothing serves yet, so `{name}` cannot get {traffic} %", f"invoke model.deploy --name {name}"
            )
        if traffic < 100:
            rollout.refuse_part(traffic)
        rollout.model = _find_registered(release, trained, chosen)
        rollout.origin = _origin(trained)
        if traffic < 100 and rollout.model and rollout.deployed_under(rollout.model) == rollout.serving_id:
            raise ReleaseError(
                f"{rollout.version} of `{name}` serves all the traffic already", "train a new version: dvc repro"
            )
        rollout.applies_settings, rollout.until = True, until
        if rollout.model is None:
            _check_artifact(release, trained, facts)
            text = f"upload the artifact to the registry{_for_another_container(release, trained, chosen)}"
            rollout.plan(text, lambda: _register(rollout, trained, chosen, facts))
        if release.options.dry_run:
            release.progress.step(f"would {serving.described(chosen)}")
        rollout.plan_to_serve(traffic)
        return rollout.carry_out()


def promote(release: Release) -> Outcome:
    """Give the version that has a part of the traffic all of it, and take off what served with it."""
    with _rollout(release) as rollout:
        candidate = rollout.state.candidate
        if candidate is None:
            raise ReleaseError(
                f"`{release.name}` has no version with a part of the traffic",
                f"invoke model.deploy --name {release.name} --traffic 10",
            )
        rollout.model, rollout.origin, rollout.until = candidate.model, candidate.origin, candidate.until
        rollout.plan_to_serve(100)
        return rollout.carry_out()


def rollback(release: Release, to: str | None = None) -> Outcome:
    """Go back: to the version that served before, or to the version `to`; from a part of the traffic, to none of it."""
    with _rollout(release) as rollout:
        target = _target(rollout, to)
        rollout.model, rollout.origin = target.model, target.origin
        rollout.until = target.until if target is rollout.state.deployed else None
        rollout.plan_to_serve(100)
        return rollout.carry_out()


def _target(rollout: Rollout, to: str | None) -> Deployment:
    """Return what is gone back to. Raises ReleaseError when there is nothing of that kind."""
    name, now = rollout.release.name, rollout.state.deployed
    if to is not None:
        # Also when nothing serves: a deployment that failed may have left the endpoint empty.
        target = rollout.state.served(to)
        if target is None:
            known = ", ".join(dict.fromkeys(item.version for item in rollout.state.history))
            raise ReleaseError(
                f"version {to} of `{name}` never served",
                f"there are: {known}" if known else f"invoke model.deploy --name {name}",
            )
        return target
    if now is None:
        raise ReleaseError(f"`{name}` is not deployed", f"invoke model.deploy --name {name}")
    if rollout.state.candidate is not None:
        return now
    target = rollout.state.before(now.version)
    if target is None:
        raise ReleaseError(
            f"nothing served before version {now.version} of `{name}`",
            f"invoke model.undeploy --name {name} stops it",
        )
    return target


def take_candidate_off(release: Release, expected: ModelState) -> bool:
    """Give what serves all the traffic again, unless the shared state says something else than `expected` by now."""
    with _rollout(release) as rollout:
        now = rollout.state.deployed
        if rollout.state != expected or now is None:
            return False
        rollout.model, rollout.origin, rollout.until = now.model, now.origin, now.until
        rollout.plan_to_serve(100)
        return rollout.carry_out().changed


def undeploy(release: Release, expected: ModelState | None = None) -> bool:
    """Take everything off the endpoint of the model, which stays. False when nothing was deployed.

    With `expected` nothing is done, either, when the shared state says something else by now.
    """
    with _rollout(release) as rollout:
        if expected is not None and rollout.state != expected:
            return False
        _plan_to_end_what_was_begun(rollout)
        endpoint = rollout.endpoint
        if endpoint is not None and endpoint.deployed:
            versions = " and ".join(version_of(model) for model in endpoint.deployed.values())
            rollout.plan(f"take {versions} off the endpoint", lambda: take_all_off(release.cloud, endpoint.name))
        if rollout.state.deployed is not None or rollout.state.candidate is not None:
            rollout.plan(
                "record that nothing serves",
                lambda: rollout.locked.save(rollout.locked.state.without_deployment(release.name)),
            )
        return rollout.carry_out().changed


def remove(release: Release) -> None:
    """Delete the endpoint and all registered versions of the model. Its folder and its edge.yaml stay."""
    cloud, name = release.cloud, release.name
    with _rollout(release) as rollout:
        _plan_to_end_what_was_begun(rollout)
        endpoint = rollout.state.endpoint
        for watcher in managed_monitoring.find(cloud, name, rollout.state):
            rollout.plan(
                f"delete the {watcher.kind} {watcher.name}", partial(managed_monitoring.delete, cloud, watcher)
            )
        if endpoint:
            kept = rollout.endpoint is not None and layout.by_terraform(rollout.endpoint.labels)
            what = "take everything off the endpoint {}, which Terraform keeps" if kept else "delete the endpoint {}"
            rollout.plan(what.format(endpoint), lambda: delete_endpoint(cloud, endpoint))
        for known_as in (name, *rollout.state.former_names):
            model = registered_model(release, known_as)
            rollout.plan(
                f"delete the registered versions of `{known_as}`", partial(model_registry.delete_model, cloud, model)
            )
        if name in rollout.locked.state.models:
            rollout.plan(
                "record that it is gone", lambda: rollout.locked.save(rollout.locked.state.without_model(name))
            )
        rollout.carry_out()


def registered_model(release: Release, name: str | None = None) -> str:
    """Return the resource name in this cloud's registry of all versions of the model, or of those of `name`."""
    model_id = layout.registry_model_id(release.cloud.bucket_name, name or release.name)
    return f"{release.cloud.parent}/models/{model_id}"


def _plan_to_end_what_was_begun(rollout: Rollout) -> None:
    if rollout.state.operation:
        rollout.plan("end the deployment that was started", rollout.end_operation)
    if rollout.state.trial_endpoint:
        rollout.plan(f"delete the endpoint {rollout.state.trial_endpoint}, a trial's", rollout.remove_trial)


def _find_registered(release: Release, trained: TrainedModel, chosen: Serving) -> str | None:
    """Return the versioned resource name of the trained model in this cloud's registry, as it is to be served."""
    cloud = release.cloud
    if trained.model and trained.target == release.config.target:
        # It may have been removed since, or the registry was reset.
        with contextlib.suppress(NotFoundError):
            version = model_registry.get_model(cloud, trained.model)
            # In a team-mate's registry of target local the same name may be another run's.
            same_run = version.labels.get(layout.RUN_LABEL, trained.run_id) == trained.run_id
            if same_run and model_upload.is_served_by(version, chosen.container):
                return version.versioned_name
    found = model_upload.find(cloud, trained.model_name, trained.run_id, chosen.container)
    return found.versioned_name if found else None


def _for_another_container(release: Release, trained: TrainedModel, chosen: Serving) -> str:
    """Return why the run's model is uploaded once more; empty when it is not there yet."""
    found = model_upload.find(release.cloud, trained.model_name, trained.run_id)
    differences = found.container.differences(chosen.container) if found else []
    return f" again, for another container: {', '.join(differences)}" if differences else ""


def _check_artifact(release: Release, trained: TrainedModel, facts: ArtifactFacts) -> None:
    """Raise TrainingError unless there is an artifact to upload: here, or in this cloud's bucket.

    With target `local` a team-mate's artifact may lie in a bucket of that name which only the other clone has.
    """
    here = (release.folder / ARTIFACT_FOLDER).is_dir()
    in_bucket = trained.artifact_uri and trained.target == release.config.target and facts.files
    if here or not in_bucket:
        preflight.check_artifact(release.folder, trained)


def _register(rollout: Rollout, trained: TrainedModel, chosen: Serving, facts: ArtifactFacts) -> None:
    release, name = rollout.release, trained.model_name
    config, cloud = release.config, release.cloud
    serving_image.ensure(cloud, config, name, chosen, facts, release.progress)
    prefix = f"{layout.run_output(config, name, trained.run_id)}/{ARTIFACT_FOLDER}"
    wanted = ModelUpload(
        model_name=name,
        run_id=trained.run_id,
        artifact_uri=_artifact_uri(release, trained, prefix),
        labels={**release.settings.labels, **trained.labels},
        description=trained.description(),
        container=chosen.container,
    )
    rollout.model = model_upload.register(cloud, config, wanted, release.progress).versioned_name


def _artifact_uri(release: Release, trained: TrainedModel, prefix: str) -> str:
    """Return where the artifact lies in the bucket; it is uploaded unless it is only there."""
    folder = release.folder / ARTIFACT_FOLDER
    if trained.artifact_uri and not folder.is_dir():
        return trained.artifact_uri
    return storage.upload_folder(release.cloud, folder, prefix)


def _origin(trained: TrainedModel) -> Origin:
    return trained.into(Origin, job=trained.job, metrics=trained.metrics)
