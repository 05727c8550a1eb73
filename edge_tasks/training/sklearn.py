"""Saving what a scikit-learn training made."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, SupportsFloat

from edge_tasks.errors import TrainingError
from edge_tasks.repo.results import ENVIRONMENT_FILE, METRICS_FILE, PLOTS_FOLDER
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER

# The name that Vertex AI's prebuilt containers look for.
# https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
ARTIFACT_FILE = "model.joblib"

_RECORDED_LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib")


def save_results(
    model: Any,
    metrics: Mapping[str, SupportsFloat],
    model_output_dir: str | Path,
    plots: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Save a fitted `model` and its `metrics` into `model_output_dir`, where DVC and Vertex AI look for them.

    Writes `model/model.joblib`, `metrics.json`, and each of `plots` (file name to rows, all with the same keys) as CSV
    under `plots/`, for `dvc plots`. Raises TrainingError for metrics that are not finite numbers: they would break the
    comparison of runs later.
    """
    import joblib

    numbers = {name: _number(name, value) for name, value in metrics.items()}
    output = Path(model_output_dir)
    (output / ARTIFACT_FOLDER).mkdir(parents=True, exist_ok=True)
    joblib.dump(model, output / ARTIFACT_FOLDER / ARTIFACT_FILE)
    for name, rows in (plots or {}).items():
        _write_csv(output / PLOTS_FOLDER / name, rows)
    (output / ENVIRONMENT_FILE).write_text(json.dumps(_environment(), indent=2) + "\n", encoding="utf-8")
    (output / METRICS_FILE).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def _number(name: str, value: Any) -> int | float:
    try:
        number = value.item() if hasattr(value, "item") else value
    except ValueError:  # an array of several numbers
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise TrainingError(f"the metric `{name}` is {value!r}, not a finite number", "give save_results plain numbers")
    return number


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _environment() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in _RECORDED_LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
