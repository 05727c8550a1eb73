"""Where things are: folders of a checkout, objects in the bucket, labels on Google's resources.

This module alone spells these names (`tests/test_architecture.py`), so that what writes and what reads cannot part.
Names of objects are without gs://BUCKET/. Nothing here looks whether a thing is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import SPEC_FILE
from edge_tasks.domain.provenance import Provenance, data_version, parameters_version

# --- the checkout ---

_MODELS, _SERVICES = "models", "services"

# What belongs to this machine: data of the emulator, results on their way. Git ignores it.
_OWN = ".edge"

# The folder that is DVC's remote with target `local`, relative to the root.
LOCAL_DVC_STORE = f"{_OWN}/dvcstore"


def model_folder(root: Path, model_name: str) -> Path:
    """Return the folder of a model: its code, and what its last training left."""
    return root / _MODELS / model_name


def model_folders(root: Path) -> Path:
    """Return the folder that holds the models' folders."""
    return root / _MODELS


def services_folder(root: Path) -> Path:
    """Return the folder that holds the web services' folders."""
    return root / _SERVICES


def service_names(root: Path) -> list[str]:
    """Return the names of the web services that there are: folders with an app.py."""
    return sorted(path.parent.name for path in services_folder(root).glob("*/app.py"))


def code_link(root: Path) -> Path:
    """Return the link to the models' folders by which DVC's stages depend on all the code in one of them."""
    return root / ".code"


def shared_code(root: Path) -> Path:
    """Return the folder with code for all models."""
    return root / "src"


def machine_folder(root: Path) -> Path:
    """Return the folder for what belongs to this machine and is not committed."""
    return root / _OWN


def output_dir(root: Path, run_id: str) -> Path:
    """Return the folder in which a training puts its results together."""
    return machine_folder(root) / "training" / run_id


def try_folder(root: Path, model_name: str) -> Path:
    """Return the folder with the results of a model's last try, which did not go into the model's folder."""
    return machine_folder(root) / "tries" / model_name


def reproduction_folder(root: Path, run_id: str) -> Path:
    """Return the git worktree in which a recorded run is done again."""
    return machine_folder(root) / "reproductions" / run_id


def outbox_folder(config: EdgeConfig, root: Path) -> Path:
    """Return the folder for runs that the bucket of `config` did not take."""
    return machine_folder(root) / "unsent" / config.target / config.storage_bucket.bucket_name


def emulator_data(root: Path) -> Path:
    """Return the folder with all data of the emulator."""
    return machine_folder(root) / "emulator"


def emulator_snapshot(root: Path, name: str) -> Path:
    """Return the folder of a snapshot of the emulator's data."""
    return machine_folder(root) / "snapshots" / name


def emulator_log(root: Path) -> Path:
    """Return the file that the emulator writes its own log to."""
    return machine_folder(root) / "emulator.log"


def price_list(root: Path) -> Path:
    """Return the file with the list prices that were fetched last."""
    return machine_folder(root) / "prices.json"


def emulator_start_lock(root: Path) -> Path:
    """Return the file by which one process alone starts the emulator."""
    return machine_folder(root) / "start.lock"


# The folder, among a machine's temporary ones, of the data that its jobs have fetched: HASH/NAME.
FETCHED_DATA = "edge-data"


# --- the bucket ---

STATE_OBJECT = ".edge_state/edge_state.yaml"
# Where Terraform keeps its own state.
TERRAFORM_STATE = ".edge_state/terraform"
LOCK_OBJECT = ".edge_state/lock"
# What tells of the dashboard on Cloud Run.
DASHBOARD_OBJECT = ".edge_state/dashboard.json"


def dvc_remote(config: EdgeConfig) -> str:
    """Return the gs:// address of DVC's remote."""
    return f"gs://{config.storage_bucket.bucket_name}/{config.storage_bucket.dvc_store_directory}"


def run_records(config: EdgeConfig) -> str:
    """Return the folder of the records of runs: MODEL/RUN_ID.json."""
    return f"{config.experiments.directory}/runs"


def run_files(config: EdgeConfig) -> str:
    """Return the folder of the files of runs: MODEL/RUN_ID/."""
    return f"{config.experiments.directory}/files"


def saved_views(config: EdgeConfig) -> str:
    """Return the folder of the views that the team has saved: NAME.json."""
    return f"{config.experiments.directory}/views"


def _model_objects(config: EdgeConfig, model_name: str) -> str:
    return f"{config.storage_bucket.vertex_jobs_directory}/{model_name}"


def job_spec(config: EdgeConfig, model_name: str, run_id: str) -> str:
    """Return the object with the specification of a job."""
    return f"{_model_objects(config, model_name)}/{run_id}/{SPEC_FILE}"


def job_package(config: EdgeConfig, model_name: str, run_id: str, file: str) -> str:
    """Return the object of a package of a job."""
    return f"{_model_objects(config, model_name)}/{run_id}/packages/{file}"


def run_output(config: EdgeConfig, model_name: str, run_id: str) -> str:
    """Return the folder for the results of a run: a job's, or those that were uploaded from a machine."""
    return f"{_model_objects(config, model_name)}/{run_id}/output"


def upload_note(config: EdgeConfig, model_name: str, run_id: str) -> str:
    """Return the object that names the operation which puts a run's model into the registry."""
    return f"{_model_objects(config, model_name)}/{run_id}/upload"


def feedback(config: EdgeConfig, model_name: str) -> str:
    """Return the folder of the true answers to what a model was asked."""
    return f"{_model_objects(config, model_name)}/feedback"


def drift_note(config: EdgeConfig, model_name: str, drift: str) -> str:
    """Return the object that says what a drift has led to."""
    return f"{_model_objects(config, model_name)}/drifts/{drift}.json"


def pipeline_package(config: EdgeConfig, model_name: str, digest: str, file: str) -> str:
    """Return the object of a package of a pipeline's tasks; `digest` is a hash over the packages."""
    return f"{_model_objects(config, model_name)}/pipeline/{digest}/{file}"


def pipeline_root(config: EdgeConfig) -> str:
    """Return the gs:// folder in which pipelines keep what their tasks tell each other."""
    return f"gs://{config.storage_bucket.bucket_name}/{config.storage_bucket.vertex_jobs_directory}/pipelines"


def image_source(config: EdgeConfig, tag: str) -> str:
    """Return the object with what an image is built from."""
    return f"{config.storage_bucket.vertex_jobs_directory}/images/{tag}.tar.gz"


def claim(config: EdgeConfig, model_name: str, what: str) -> str:
    """Return the claim on creating a job (`what` is its fingerprint) or on uploading a run's model (its id)."""
    return f"{_model_objects(config, model_name)}/claims/{what}"


def batch_input(config: EdgeConfig, model_name: str, job_id: str, file: str) -> str:
    """Return the object with the instances of a batch prediction."""
    return f"{_model_objects(config, model_name)}/batch/{job_id}/{file}"


def batch_output(config: EdgeConfig, model_name: str, job_id: str) -> str:
    """Return the folder for the results of a batch prediction."""
    return f"{_model_objects(config, model_name)}/batch/{job_id}/output"


def batch_claim(config: EdgeConfig, model_name: str, fingerprint: str) -> str:
    """Return the claim on creating the batch prediction with that fingerprint."""
    return f"{_model_objects(config, model_name)}/batch/claims/{fingerprint}"


# --- labels ---

MODEL_LABEL, RUN_LABEL, BUCKET_LABEL = "edge-model", "edge-run", "edge-bucket"

# Where a job or a version comes from.
COMMIT_LABEL, DIRTY_LABEL, DATA_LABEL = "edge-commit", "edge-dirty", "edge-data"

# What a version in the registry is served by: a hash over its container.
SERVING_LABEL = "edge-serving"

# By these the same job is found again. Trials carry the labels of their tuning job, so its label is not a training's.
TRAINING_LABEL, TUNING_LABEL, BATCH_LABEL = "edge-fingerprint", "edge-tuning", "edge-batch"

# The key of the custom metadata of a run's record that holds its summary.
SUMMARY_METADATA = "edge-run"

# https://cloud.google.com/resource-manager/docs/labels-overview
_LABEL_VALUE = re.compile(r"[^a-z0-9_-]")


def label_value(text: str) -> str:
    """Return `text` as a label's value: other characters than Google allows become hyphens, the rest is cut off."""
    return _LABEL_VALUE.sub("-", text.lower())[:63]


def run_labels(
    model_name: str, provenance: Provenance, chosen: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, str]:
    """Return the labels of a run's job and of its model version. `chosen` are the parameters somebody decided on."""
    values = {
        MODEL_LABEL: model_name,
        RUN_LABEL: provenance.run_id or "",
        COMMIT_LABEL: (provenance.commit or "")[:12],
        DIRTY_LABEL: "" if provenance.dirty is None else str(provenance.dirty),
        DATA_LABEL: data_version(provenance.data),
        "edge-parameters": parameters_version(chosen),
    }
    return {key: label_value(value) for key, value in values.items() if value}


def pipeline_labels(config: EdgeConfig, models: Sequence[str]) -> dict[str, str]:
    """Return the labels by which the pipeline jobs of a repository are found again."""
    found = {BUCKET_LABEL: label_value(config.storage_bucket.bucket_name)}
    return found | ({MODEL_LABEL: label_value(models[0])} if len(models) == 1 else {})


# The label by which a resource says that Terraform manages it; `init`, `doctor` and `teardown` leave it alone then.
MANAGED_LABEL, TERRAFORM = "edge-managed-by", "terraform"


def by_terraform(labels: Mapping[str, str]) -> bool:
    """Say whether Terraform manages the resource with these labels."""
    return labels.get(MANAGED_LABEL) == TERRAFORM


def endpoint_labels(model_name: str, bucket_name: str) -> dict[str, str]:
    """Return the labels by which the endpoint of a model is found again."""
    return {MODEL_LABEL: model_name, BUCKET_LABEL: label_value(bucket_name)}


def monitoring_title(model_name: str) -> str:
    """Return the display name of a model's monitoring job, of its model monitors and of their schedule."""
    return f"{model_name}-monitoring"


def dashboard_key(bucket_name: str) -> str:
    """Return what stands for the repository in the names of its dashboard on Cloud Run."""
    return hashlib.sha256(bucket_name.encode()).hexdigest()[:8]


def registry_model_id(bucket_name: str, model_name: str) -> str:
    """Return the id under which all versions of a model lie in the registry.

    It is fixed by the repository (whose bucket's name is unique in the world) and the model's name, so that two people
    who train the first version at once meet in one model, and two repositories in one project do not.
    """
    return f"{model_name}-{hashlib.sha256(bucket_name.encode()).hexdigest()[:8]}"
