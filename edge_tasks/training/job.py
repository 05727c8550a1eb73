"""What runs inside a training job: `python -m edge_tasks.training.job`.

The job's packages hold the model's folder and the spec (see `edge_tasks.jobs.package`). They are laid out as in
the repository, and the script runs as it does on a laptop, with the same parameters; a trial of a tuning job has some
of them from its arguments. Vertex AI may restart a worker, so everything here may run more than once: outputs that are
complete are kept, others are overwritten, metrics last.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sacred.run import Run

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import SPEC_FILE, TrainingSpec, TuningTarget
from edge_tasks.errors import CloudError
from edge_tasks.repo import layout
from edge_tasks.repo.results import METRICS_FILE, read_results
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER
from edge_tasks.tracking.backend import TrackingBackend
from edge_tasks.tracking.sacred_observer import Telling, recorded
from edge_tasks.training.context import job_root
from edge_tasks.training.hypertune import TRIAL_VARIABLE, trial_parameters
from edge_tasks.training.replica import this_replica
from edge_tasks.training.travelled import announce, unpack


def main() -> None:
    """Lay out the repository's part that travelled, and run the training script in it."""
    with tempfile.TemporaryDirectory(prefix="edge-job-") as folder:
        spec = lay_out(Path(folder), sys.argv[1:])
        train(Path(folder), spec)


def train(folder: Path, spec: TrainingSpec) -> None:
    """Run the training script in `folder`, where everything is as in the repository, unless that has been done."""
    if _is_delivered(spec):
        sys.stderr.write("an earlier attempt has delivered the results of this job: there is nothing left to do\n")
        return
    model_folder = layout.model_folder(folder, spec.model_name)
    parameters = folder / "parameters.json"
    parameters.write_text(json.dumps(spec.parameters), encoding="utf-8")
    os.chdir(model_folder)
    # The model's own modules come before those that it shares with other models.
    sys.path[:0] = [str(model_folder), str(folder / "src"), str(folder)]
    sys.argv = [spec.script, "with", str(parameters)]
    try:
        # By its whole path, as Python itself names a script: multiprocessing finds it from another folder, too.
        runpy.run_path(str(model_folder / spec.script), run_name="__main__")
    finally:
        os.chdir("/")


def lay_out(folder: Path, arguments: Sequence[str]) -> TrainingSpec:
    """Put edge.yaml and the model's folder into `folder`, as in the repository; return the spec.

    `arguments` are those of the job: the parameters of a trial.
    """
    spec = TrainingSpec.from_json(unpack(folder, SPEC_FILE))
    if spec.search is not None:
        spec = _spec_of_trial(spec, spec.search, arguments)
    announce(folder, spec)
    return spec


def _spec_of_trial(spec: TrainingSpec, search: TuningTarget, arguments: Sequence[str]) -> TrainingSpec:
    """Return the spec of one trial: with its parameters, and with an id and its own output folder."""
    trial = os.environ.get(TRIAL_VARIABLE, "0")
    return spec.model_copy(
        update={
            "run_id": f"{spec.run_id}-{trial}",
            "output_uri": f"{spec.output_uri}/{trial}",
            "parameters": {**spec.parameters, **trial_parameters(search, arguments)},
        }
    )


def _is_delivered(spec: TrainingSpec) -> bool:
    """Say whether the results are complete in the bucket; those of a trial must be made again to be reported again."""
    from edge_tasks.cloud.client import connect_from_job
    from edge_tasks.cloud.storage import read
    from edge_tasks.repo.edge_yaml import load_config

    if spec.search is not None:
        return False
    try:
        read(connect_from_job(load_config(job_root())), f"{spec.output_uri}/{METRICS_FILE}")
    except CloudError:
        return False
    return True


def deliver(config: EdgeConfig, spec: TrainingSpec, folder: Path) -> dict[str, Any]:
    """Check what the training wrote to `folder`, upload it to the job's output folder, and return the metrics.

    The metrics go last: a folder with metrics is complete. Of several replicas only the primary one delivers.
    """
    from edge_tasks.cloud.client import connect_from_job
    from edge_tasks.cloud.storage import split_uri, upload

    if this_replica().rank != 0:
        return {}
    results = read_results(folder)
    cloud = connect_from_job(config)
    _, prefix = split_uri(spec.output_uri)
    _, artifact_prefix = split_uri(os.environ.get("AIP_MODEL_DIR") or f"{spec.output_uri}/{ARTIFACT_FOLDER}")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files.sort(key=lambda path: path.name == METRICS_FILE)
    for path in files:
        relative = path.relative_to(folder)
        if relative.parts[0] == ARTIFACT_FOLDER:
            upload(cloud, path, f"{artifact_prefix.rstrip('/')}/{relative.relative_to(ARTIFACT_FOLDER).as_posix()}")
        else:
            upload(cloud, path, f"{prefix}/{relative.as_posix()}")
    return results.metrics


@contextlib.contextmanager
def recorded_job(run: Run, config: EdgeConfig, spec: TrainingSpec) -> Iterator[Telling]:
    """Record the Sacred `run` of a job: one record for all its replicas, and for all attempts that Vertex AI makes."""
    if this_replica().rank != 0:
        yield Telling()
        return
    job_id = os.environ.get("CLOUD_ML_JOB_ID")
    place = config.google_cloud_project
    parent = f"projects/{place.project_id}/locations/{place.region}"
    facts = {
        **spec.facts(),
        "script": spec.script,
        "target": config.target,
        "job": spec.pipeline or (f"{parent}/customJobs/{job_id}" if job_id else None),
        "tags": [f"tuning-{spec.run_id.rpartition('-')[0]}"] if spec.search else [],
    }
    with recorded(run, spec.run_id, spec.model_name, TrackingBackend(config, job_root(), in_job=True), facts) as note:
        yield note


if __name__ == "__main__":
    main()
