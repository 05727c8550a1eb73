"""The models of a repository: adding one, deploying it, asking it, and removing it again.

What exists is read first; every change is made under the state's lock and recorded when it has happened.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks import lineage, storage, template, vertex
from edge_tasks.cloud import Cloud
from edge_tasks.config import EdgeConfig, ModelConfig, add_model, check_model_name, default_serving_image
from edge_tasks.errors import ConfigError, NotFoundError, TrainingError
from edge_tasks.files import folder_sha256
from edge_tasks.pipelines import add_model_to_report
from edge_tasks.progress import Progress
from edge_tasks.state import Deployment, EdgeState
from edge_tasks.store import StateStore, user_name
from edge_tasks.trained_model import TrainedModel, load_trained_model

ARTIFACT_FOLDER = "model"

# Google's prebuilt scikit-learn serving images carry the library's version in their name: sklearn-cpu.1-6.
_SKLEARN_IMAGE = re.compile(r"/prediction/sklearn-[a-z]+\.(\d+)-(\d+)(?::|$)")


@dataclass(frozen=True)
class Deployed:
    """What `deploy` made or found."""

    endpoint: str
    version: str
    url: str
    changed: bool


def model_folder(root: Path, name: str) -> Path:
    """Return the folder of the model `name`."""
    return root / "models" / name


def init_model(root: Path, config: EdgeConfig, name: str, example: str) -> Path:
    """Add the model `name` to the repository: its folder from the template, edge.yaml, and the root's dvc.yaml.

    Everything is checked first; when a step fails all the same, what the steps before it made is taken back.
    """
    check_model_name(name)
    template.check_example(example)
    folder = model_folder(root, name)
    if name in config.models or folder.exists():
        raise ConfigError(f"there is a model `{name}` already", "choose another name, or remove that one first")
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
        rendered = Path(temporary) / name
        template.render_model(example, {"model_name": name, "project_slug": root.name}, rendered)
        edge_yaml = (root / "edge.yaml").read_bytes()
        rendered.rename(folder)
        try:
            add_model(root, name, _settings(config, name))
            add_model_to_report(root, name)
        except BaseException:
            shutil.rmtree(folder)
            (root / "edge.yaml").write_bytes(edge_yaml)
            raise
    return folder


def _settings(config: EdgeConfig, name: str) -> dict[str, Any]:
    settings = ModelConfig(
        endpoint_name=f"{name}-endpoint",
        serving_container_image_uri=default_serving_image(config.google_cloud_project.region),
    )
    return settings.model_dump(exclude={"training_timeout_seconds"})


def deploy(cloud: Cloud, config: EdgeConfig, root: Path, name: str, progress: Progress, wait: float = 0.0) -> Deployed:
    """Serve the trained model `name` on its endpoint; the version before is taken off when the new one serves.

    `wait` is the number of seconds to wait for somebody else's lock. A model that was trained in process, or against
    another target, is uploaded first. Run again after an interruption, it goes on from what is there.
    """
    trained = load_trained_model(model_folder(root, name), name)
    settings = config.models[name]
    image = config.serving_image(settings)
    check_library_version(name, trained, image)
    store = StateStore(cloud)
    with store.locked(wait) as locked:
        model = _registered(cloud, config, root, trained, image, progress)
        state, endpoint = _endpoint(cloud, locked.state, name, settings.endpoint_name, progress)
        if state is not locked.state:
            locked.save(state)
        serving = _serving_id(endpoint, model)
        changed = serving is None
        if serving is None:
            progress.step(f"deploying version {model.rpartition('@')[2]} on {settings.serving_machine_type}")
            serving = vertex.deploy_model(
                cloud,
                endpoint.name,
                model=model,
                display_name=name,
                machine_type=settings.serving_machine_type,
                min_replica_count=settings.min_replica_count,
                max_replica_count=settings.max_replica_count,
                on_wait=lambda elapsed: progress.waiting("waiting for the model to serve", elapsed),
            )
        recorded = locked.state.model(name).deployed
        if recorded is None or recorded.deployed_model_id != serving:
            locked.save(locked.state.with_deployment(name, _deployment(model, serving, trained)))
        for old in endpoint.deployed.keys() - {serving}:
            progress.step(f"taking version {endpoint.deployed[old].rpartition('@')[2] or old} off the endpoint")
            vertex.undeploy_model(cloud, endpoint.name, old)
    return Deployed(endpoint.name, model.rpartition("@")[2], vertex.predict_url(cloud, endpoint.name), changed)


def check_library_version(name: str, trained: TrainedModel, image: str) -> None:
    """Raise TrainingError when the image's scikit-learn is not the one that the model was trained with.

    An artifact is a pickle: another version reads it wrongly, or not at all.
    """
    match = _SKLEARN_IMAGE.search(image)
    version = trained.environment.get("scikit-learn")
    if match and version and version.split(".")[:2] != [match[1], match[2]]:
        wanted = f"{match[1]}.{match[2]}"
        raise TrainingError(
            f"`{name}` was trained with scikit-learn {version}, but its serving image holds {wanted} ({image})",
            f"pip install 'scikit-learn=={wanted}.*', then train again: dvc repro --force models/{name}/dvc.yaml",
        )


def _registered(
    cloud: Cloud, config: EdgeConfig, root: Path, trained: TrainedModel, image: str, progress: Progress
) -> str:
    """Return the versioned resource name of the trained model in this cloud's registry, uploaded if need be."""
    if trained.model and trained.target == config.target:
        try:
            return vertex.get_model(cloud, trained.model).versioned_name
        except NotFoundError:
            pass  # removed since, or a registry that was reset: the artifact is still here
    name = trained.model_name
    model_id = lineage.registry_model_id(cloud.bucket_name, name)
    found = vertex.find_version(cloud, model_id, "edge-run", trained.run_id)
    if found is not None:
        return found.versioned_name
    artifact = model_folder(root, name) / ARTIFACT_FOLDER
    hint = f"dvc checkout models/{name}/{ARTIFACT_FOLDER}, or dvc pull, or train again: dvc repro"
    if not artifact.is_dir():
        raise TrainingError(f"the artifact of `{name}` is not on this machine (models/{name}/{ARTIFACT_FOLDER})", hint)
    if folder_sha256(artifact) != trained.artifact_sha256:
        raise TrainingError(f"models/{name}/{ARTIFACT_FOLDER} is not what trained_model.json tells of", hint)
    progress.step("uploading the artifact to the registry")
    prefix = f"{config.storage_bucket.vertex_jobs_directory}/{name}/{trained.run_id}/output/{ARTIFACT_FOLDER}"
    version = vertex.upload_model(
        cloud,
        model_id=model_id,
        display_name=name,
        artifact_uri=storage.upload_folder(cloud, artifact, prefix),
        image=image,
        labels=trained.labels,
    )
    return version.versioned_name


def _endpoint(
    cloud: Cloud, state: EdgeState, name: str, display_name: str, progress: Progress
) -> tuple[EdgeState, vertex.Endpoint]:
    """Return the endpoint that the state names, or a new one with the state that names it."""
    known = state.model(name).endpoint
    endpoint = vertex.get_endpoint(cloud, known) if known else None
    if endpoint is not None:
        return state, endpoint
    progress.step(f"creating the endpoint `{display_name}`")
    labels = {"edge-model": name, "edge-bucket": lineage.label_value(cloud.bucket_name)}
    endpoint = vertex.create_endpoint(cloud, display_name, labels)
    return state.without_deployment(name).with_endpoint(name, endpoint.name), endpoint


def _serving_id(endpoint: vertex.Endpoint, model: str) -> str | None:
    """Return the deployed model id under which `model` already takes all the traffic, or None.

    Names are compared without the project, which Google answers as a number.
    """
    wanted = model.partition("/locations/")[2]
    for deployed_model_id, deployed in endpoint.deployed.items():
        if deployed.partition("/locations/")[2] == wanted and endpoint.traffic.get(deployed_model_id) == 100:
            return deployed_model_id
    return None


def _deployment(model: str, deployed_model_id: str, trained: TrainedModel) -> Deployment:
    return Deployment(
        model=model,
        deployed_model_id=deployed_model_id,
        deployed_at=datetime.now(timezone.utc),
        deployed_by=user_name(),
        run_id=trained.run_id,
        commit=trained.commit,
        data=trained.data,
    )


def undeploy(cloud: Cloud, name: str, progress: Progress, wait: float = 0.0) -> bool:
    """Take everything off the endpoint of the model `name`, which stays. False when nothing was deployed."""
    with StateStore(cloud).locked(wait) as locked:
        count = _take_all_off(cloud, locked.state.model(name).endpoint, progress)
        if locked.state.model(name).deployed is not None:
            locked.save(locked.state.without_deployment(name))
    return count > 0


def _take_all_off(cloud: Cloud, endpoint_name: str | None, progress: Progress) -> int:
    endpoint = vertex.get_endpoint(cloud, endpoint_name) if endpoint_name else None
    if endpoint is None:
        return 0
    # Those without traffic first: a model that has some may only go when it is the last, or its share goes elsewhere.
    left = sorted(endpoint.deployed, key=lambda deployed_id: endpoint.traffic.get(deployed_id, 0))
    while left:
        deployed_model_id = left.pop(0)
        progress.step(f"undeploying {endpoint.deployed[deployed_model_id]}")
        moved = {left[-1]: 100} if left and endpoint.traffic.get(deployed_model_id) else None
        vertex.undeploy_model(cloud, endpoint.name, deployed_model_id, traffic=moved)
    return len(endpoint.deployed)


def remove(cloud: Cloud, name: str, progress: Progress, wait: float = 0.0) -> None:
    """Delete the endpoint and all registered versions of the model `name`. Its folder and its edge.yaml stay."""
    with StateStore(cloud).locked(wait) as locked:
        endpoint = locked.state.model(name).endpoint
        _take_all_off(cloud, endpoint, progress)
        if endpoint:
            progress.step(f"deleting the endpoint {endpoint}")
            vertex.delete_endpoint(cloud, endpoint)
        model_id = lineage.registry_model_id(cloud.bucket_name, name)
        progress.step(f"deleting the registered versions of `{name}`")
        vertex.delete_model(cloud, f"{cloud.parent}/models/{model_id}")
        if name in locked.state.models:
            locked.save(locked.state.without_model(name))


def endpoint_name(cloud: Cloud, name: str) -> str:
    """Return the resource name of the endpoint that serves the model `name`.

    Raises NotFoundError when nothing is deployed.
    """
    model = StateStore(cloud).load().model(name)
    if model.endpoint is None or model.deployed is None:
        raise NotFoundError(f"the model `{name}` is not deployed", f"invoke model.deploy --name {name}")
    return model.endpoint


def predict(cloud: Cloud, name: str, payload: bytes) -> Any:
    """Ask the endpoint of the model `name` for predictions; `payload` is JSON: {"instances": [...]}."""
    return vertex.predict(cloud, endpoint_name(cloud, name), payload)
