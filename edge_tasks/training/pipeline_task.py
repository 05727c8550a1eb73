"""What runs inside a task of a pipeline: `python -m edge_tasks.training.pipeline_task STAGE --executor_input JSON`.

The task's packages hold the model's folder and the order (see `edge_tasks.jobs.package`). They are laid out as in the
repository, with the data and the other artifacts that the stage depends on. A stage's commands run there as DVC runs
them, and what they make goes into DVC's remote; the training runs as in a job, for a run whose id follows from the
pipeline job. Everything may run more than once: what is there already is kept.

What is told and answered is kfp's: https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto
(ExecutorInput, ExecutorOutput).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_tasks.domain.config import FILE_NAME as CONFIG_FILE
from edge_tasks.domain.job_spec import PIPELINE_FILE, TrainingSpec
from edge_tasks.domain.pipeline_order import PipelineOrder, StageOrder
from edge_tasks.domain.provenance import Provenance, hash_of
from edge_tasks.repo import layout
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.training.data import fetched
from edge_tasks.training.stage_outputs import keep
from edge_tasks.training.travelled import announce, unpack

# The names of a parameter and of artifacts, as the pipeline has them.
PARAMETERS, MODEL, METRICS = "parameters", "model", "metrics"


def main() -> None:
    """Do one task, and tell what it gave."""
    arguments = arguments_of_task("stage")
    # It would lead a model out of the folder of its run.
    os.environ.pop("AIP_MODEL_DIR", None)
    with tempfile.TemporaryDirectory(prefix="edge-task-") as folder:
        root = Path(folder).resolve()
        order = PipelineOrder.model_validate_json(unpack(root, PIPELINE_FILE))
        stage = order.stages[arguments.stage]
        given = arguments.executor_input
        if stage.commands:
            _put_inputs(root, stage, given)
            run_commands(root, stage)
            found = {key: _version(root, path, order.store) for key, path in stage.outputs.items()}
        else:
            run_id = pipeline_run_id(arguments.job, arguments.created)
            found = _train(root, order, stage, given, run_id, arguments.job)
        answer(given, found)


def arguments_of_task(subject: str) -> argparse.Namespace:
    """Read what every task is started with: its `subject`, the pipeline job and its time, and kfp's ExecutorInput."""
    parser = argparse.ArgumentParser()
    parser.add_argument(subject)
    parser.add_argument("--job", required=True)
    parser.add_argument("--created", required=True)
    parser.add_argument("--executor_input", required=True, type=json.loads)
    return parser.parse_args()


def pipeline_run_id(job: str, created: str) -> str:
    """Return the id of the run of a pipeline job: the same for all attempts, and sorted by time as others are."""
    moment = datetime.fromisoformat(created[:19]).replace(tzinfo=timezone.utc)
    return f"{moment:%Y%m%d-%H%M%S}-{hashlib.sha256(job.encode()).hexdigest()[:8]}"


def typed(chosen: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with whole numbers as such, but those that had a fraction before: a pipeline has one number."""

    def number(value: Any, old: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if isinstance(old, float):
            return float(value)
        return int(value) if float(value).is_integer() else value

    return {name: number(value, before.get(name)) for name, value in chosen.items()}


def run_commands(root: Path, stage: StageOrder) -> None:
    """Run a stage's commands as DVC does: by a shell, in the stage's folder, one after the other."""
    place = root / stage.folder
    for path in stage.outputs.values():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    python = Path(sys.executable).parent
    variables = {**os.environ, "PATH": f"{python}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    for command in stage.commands:
        sys.stderr.write(f"> {command}\n")
        status = subprocess.run(["/bin/sh", "-c", command], cwd=place, env=variables, check=False).returncode
        if status:
            raise SystemExit(status if status > 0 else 128 - status)


def artifacts_of(given: Mapping[str, Any], side: str) -> dict[str, dict[str, Any]]:
    """Return the artifacts of an ExecutorInput, `inputs` or `outputs`, by name."""
    lists = given.get(side, {}).get("artifacts", {})
    return {key: found["artifacts"][0] for key, found in lists.items() if found.get("artifacts")}


def answer(given: Mapping[str, Any], found: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
    """Tell the address and the metadata of each artifact that was made."""
    artifacts = {}
    for key, artifact in artifacts_of(given, "outputs").items():
        if key in found:
            uri, metadata = found[key]
            told = {"name": artifact.get("name", ""), "uri": uri, "metadata": dict(metadata)}
            artifacts[key] = {"artifacts": [told]}
    path = Path(given["outputs"]["outputFile"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"artifacts": artifacts}), encoding="utf-8")


def _put_inputs(root: Path, stage: StageOrder, given: Mapping[str, Any]) -> None:
    """Put what the stage depends on where it lies in the repository."""
    for path, address in stage.recorded.items():
        _put(root / path, path, address, {"hash": hash_of(address)})
    artifacts = artifacts_of(given, "inputs")
    for key, path in stage.inputs.items():
        artifact = artifacts[key]
        _put(root / path, path, artifact["uri"], artifact.get("metadata") or {})


def _put(place: Path, path: str, uri: str, metadata: Mapping[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if "hash" in metadata:
        place.symlink_to(fetched(path, uri))
        return
    from edge_tasks.cloud.client import connect_from_job
    from edge_tasks.cloud.storage import download_folder, has_objects, read

    cloud = connect_from_job(load_config(_root_of(place)))
    if has_objects(cloud, uri):
        download_folder(cloud, uri, place)
    else:
        place.write_bytes(read(cloud, uri))


def _root_of(place: Path) -> Path:
    return next(folder for folder in place.parents if (folder / CONFIG_FILE).is_file())


def _version(root: Path, path: str, store: str) -> tuple[str, dict[str, Any]]:
    address = keep(root, path, store)
    return address, {"path": path, "hash": hash_of(address)}


def _train(
    root: Path, order: PipelineOrder, stage: StageOrder, given: Mapping[str, Any], run_id: str, job: str
) -> dict[str, tuple[str, dict[str, Any]]]:
    from edge_tasks.cloud.client import connect_from_job
    from edge_tasks.cloud.storage import read, upload
    from edge_tasks.training.job import train

    config = load_config(root)
    cloud = connect_from_job(config)
    artifacts = artifacts_of(given, "inputs")
    made = {path: artifacts[key]["uri"] for key, path in stage.inputs.items()}
    inputs = given.get("inputs", {})
    chosen = inputs.get("parameterValues", {}).get(PARAMETERS) or {}
    origin = Provenance.model_validate_json(read(cloud, order.origin))
    parameters = {**order.parameters, **typed(chosen, order.parameters)}
    spec = origin.model_copy(update={"run_id": run_id, "parameters": parameters}).into(
        TrainingSpec,
        model_name=order.model_name,
        script=order.script,
        output_uri=f"gs://{cloud.bucket_name}/{layout.run_output(config, order.model_name, run_id)}",
        addresses={**stage.recorded, **made},
        pipeline=job,
    )
    upload(cloud, spec.to_json().encode(), layout.job_spec(config, order.model_name, run_id))
    announce(root, spec)
    train(root, spec)
    metrics = json.loads(read(cloud, f"{spec.output_uri}/metrics.json"))
    folder = f"{layout.model_folder(Path(), order.model_name).as_posix()}/"
    about: dict[str, dict[str, Any]] = {
        MODEL: {"run_id": run_id, "model": order.model_name, "tried": ",".join(sorted(chosen))},
        METRICS: {name: value for name, value in metrics.items() if isinstance(value, int | float)},
    }
    return {
        key: (f"{spec.output_uri}/{path.removeprefix(folder)}", {"path": path, **about.get(key, {})})
        for key, path in stage.outputs.items()
    }


if __name__ == "__main__":
    main()
