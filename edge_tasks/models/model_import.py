"""Taking in a model that was trained elsewhere: a folder, a folder in Cloud Storage, or what MLflow has saved.

It becomes what a training leaves, so that everything else treats it as one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain import mlflow_model
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.model_formats import FORMATS, KIND_FILE, REQUIREMENTS_FILE, format_of
from edge_tasks.domain.provenance import Provenance, new_run_id
from edge_tasks.domain.signature import FILE_NAME as SIGNATURE_FILE
from edge_tasks.domain.signature import Signature
from edge_tasks.errors import TrainingError
from edge_tasks.repo import layout
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.payloads import remove_of_example
from edge_tasks.repo.results import ENVIRONMENT_FILE, METRICS_FILE, publish, read_results
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, TrainedModel
from edge_tasks.serving.pickle_scan import UnreadablePickleError, needed_names
from edge_tasks.tools.user import user_name

_PICKLES = ("joblib", "pickle")


def import_model(root: Path, config: EdgeConfig, cloud: Cloud, name: str, source: str) -> TrainedModel:
    """Put the model at `source` (a folder here, or a gs:// address of one) into the folder of the model `name`.

    Raises TrainingError when there is no model in it that can be served.
    """
    run_id = new_run_id()
    staging = layout.output_dir(root, run_id)
    staging.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edge-import-") as temporary:
        folder = _fetched(cloud, source, Path(temporary))
        try:
            environment = _taken(folder, staging / ARTIFACT_FOLDER, source)
            (staging / ENVIRONMENT_FILE).write_text(json.dumps(environment), encoding="utf-8")
            metrics = folder / METRICS_FILE
            (staging / METRICS_FILE).write_text(metrics.read_text() if metrics.is_file() else "{}", encoding="utf-8")
            results = read_results(staging)
            provenance = Provenance(run_id=run_id, user=user_name(), parameters={"imported_from": source})
            if not _take_payload(folder, staging):
                remove_of_example(layout.model_folder(root, name))
            labels = layout.run_labels(name, provenance)
            trained = results.trained(config.target, name, provenance, labels=labels)
            publish(results, layout.model_folder(root, name), trained)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return trained


def _fetched(cloud: Cloud, source: str, temporary: Path) -> Path:
    if source.startswith("gs://"):
        if storage.download_folder(cloud, source, temporary) == 0:
            raise TrainingError(f"there is nothing at {source}", "--artifact gs://BUCKET/FOLDER")
        return temporary
    if Path(source).is_file():
        form = next((form for form in FORMATS if Path(form.file).suffix == Path(source).suffix), FORMATS[0])
        raise TrainingError(
            f"`{source}` is a file, and an artifact is a folder",
            f"mkdir artifact && cp {source} artifact/{form.file}, then --artifact artifact",
        )
    if not Path(source).is_dir():
        raise TrainingError(f"there is no folder `{source}`", "--artifact FOLDER, or gs://BUCKET/FOLDER")
    return Path(source)


def _taken(folder: Path, artifact: Path, source: str) -> dict[str, str]:
    """Copy a model into the new folder `artifact`; return the versions that its requirements name."""
    if (folder / mlflow_model.FILE_NAME).is_file():
        python = _of_mlflow(folder, artifact, source)
    else:
        # What `save_results` wrote has the artifact in its own folder.
        inner = folder / ARTIFACT_FOLDER
        shutil.copytree(inner if inner.is_dir() else folder, artifact)
        python = _python(folder)
    form = format_of(path.name for path in artifact.iterdir())
    if form is None:
        raise _unknown(artifact, source)
    if form.name in _PICKLES:
        try:
            needed_names(artifact / form.file)
        except UnreadablePickleError as error:
            raise TrainingError(
                f"the model in `{source}` cannot be read: {error}", "save or download it again"
            ) from None
    return {**({"python": python} if python else {}), **_versions(artifact / REQUIREMENTS_FILE)}


def _take_payload(folder: Path, staging: Path) -> bool:
    """Write a payload for the imported model: its own, or the example of its signature. Return False without either."""
    payload = folder / PAYLOAD_FILE
    if payload.is_file():
        shutil.copyfile(payload, staging / PAYLOAD_FILE)
        return True
    try:
        example = Signature.from_json((staging / ARTIFACT_FOLDER / SIGNATURE_FILE).read_bytes()).example
    except (OSError, ValueError):
        return False
    if example is None:
        return False
    (staging / PAYLOAD_FILE).write_text(json.dumps({"instances": [example]}, indent=2) + "\n", encoding="utf-8")
    return True


def _unknown(artifact: Path, source: str) -> TrainingError:
    """Return what is said of a folder without a model's file; the one that may be it by its ending is named."""
    names = sorted(path.name for path in artifact.iterdir())
    endings = {Path(form.file).suffix: form.file for form in FORMATS}
    near = [name for name in names if Path(name).suffix in endings]
    return TrainingError(
        f"`{source}` holds no model of a known format; it holds {', '.join(names[:8]) or 'nothing'}",
        f"call {near[0]} {endings[Path(near[0]).suffix]}" if near else "docs/your-own-model.md lists the formats",
    )


def _of_mlflow(folder: Path, artifact: Path, source: str) -> str:
    import yaml

    try:
        model = mlflow_model.read(yaml.safe_load((folder / mlflow_model.FILE_NAME).read_text(encoding="utf-8")))
    except (ValueError, KeyError, yaml.YAMLError) as error:
        raise TrainingError(
            f"the MLflow model `{source}` cannot be taken: {error}",
            "sklearn, xgboost, lightgbm, catboost, onnx and statsmodels can; save others with save_results",
        ) from None
    artifact.mkdir(parents=True)
    shutil.copy(folder / model.data, artifact / model.file)
    if model.kind:
        (artifact / KIND_FILE).write_text(json.dumps({"class": model.kind}) + "\n", encoding="utf-8")
    if (folder / REQUIREMENTS_FILE).is_file():
        lines = (folder / REQUIREMENTS_FILE).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("mlflow")]  # it is not needed to serve
        (artifact / REQUIREMENTS_FILE).write_text("\n".join(kept) + "\n", encoding="utf-8")
    if model.signature is not None:
        (artifact / SIGNATURE_FILE).write_text(model.signature.to_json(), encoding="utf-8")
    return model.python


def _python(folder: Path) -> str:
    try:
        values: Any = json.loads((folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        return str(values.get("python", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _versions(requirements: Path) -> dict[str, str]:
    if not requirements.is_file():
        return {}
    pairs = (line.split("==") for line in requirements.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {pair[0].strip(): pair[1].partition(";")[0].strip() for pair in pairs if not pair[0].startswith("#")}
