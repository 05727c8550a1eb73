"""What runs inside the last task of a pipeline: `python -m edge_tasks.pipelines.register MODEL --executor_input JSON`.

The model of a run goes into the registry as after a training job: once for each run, served by what fits its artifact.
The record of the run tells of the version.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import connect_from_job
from edge_tasks.cloud.jobs import Job
from edge_tasks.domain.job_spec import PIPELINE_FILE, TrainingSpec
from edge_tasks.domain.pipeline_plan import MODEL_KEY, VERSION_KEY
from edge_tasks.jobs.job_record import JobRecord
from edge_tasks.jobs.registration import registered
from edge_tasks.repo import layout
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.results import read_results
from edge_tasks.training.pipeline_task import answer, arguments_of_task, artifacts_of
from edge_tasks.training.travelled import unpack


class _Told:
    """Progress as lines of the task's log."""

    def step(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def log(self, text: str) -> None:
        self.step(text)

    def waiting(self, text: str, elapsed: float) -> None:
        """Say nothing: a log is not a terminal."""


def main() -> None:
    """Register the model, and tell its version."""
    arguments = arguments_of_task("model")
    given = arguments.executor_input
    run_id = str(artifacts_of(given, "inputs")[MODEL_KEY]["metadata"]["run_id"])
    with tempfile.TemporaryDirectory(prefix="edge-register-") as folder:
        root = Path(folder)
        unpack(root, PIPELINE_FILE)
        answer(given, {VERSION_KEY: register(root, arguments.model, run_id)})


def register(root: Path, model_name: str, run_id: str) -> tuple[str, dict[str, Any]]:
    """Put the model of a run into the registry; return the version's address and what is said of it."""
    config, progress = load_config(root), _Told()
    cloud = connect_from_job(config)
    order = layout.job_spec(config, model_name, run_id)
    spec = TrainingSpec.from_json(storage.read(cloud, f"gs://{cloud.bucket_name}/{order}").decode())
    place = root / "results"
    storage.download_folder(cloud, spec.output_uri, place)
    results = read_results(place)
    labels = {**config.models[model_name].labels, **layout.run_labels(model_name, spec, spec.chosen)}
    version = registered(lambda call: call(cloud), config, spec, results, labels, progress)
    job = Job(spec.pipeline or "", "SUCCEEDED", None, labels, datetime.now(timezone.utc))
    trained = results.trained(
        config.target,
        model_name,
        spec.provenance,
        job=job.name,
        model=version.versioned_name,
        artifact_uri=version.artifact_uri,
        labels=labels,
    )
    JobRecord(cloud, config, spec, job, progress).succeeded(trained)
    progress.step(f"`{model_name}`: run {run_id} is version {version.version} in the registry")
    # As Google's own components tell it: https://google-cloud-pipeline-components.readthedocs.io (google.VertexModel).
    uri = f"https://{cloud.region}-aiplatform.googleapis.com/v1/{version.versioned_name}"
    return uri, {"resourceName": version.versioned_name}


if __name__ == "__main__":
    main()
