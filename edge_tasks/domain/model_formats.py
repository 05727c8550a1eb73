"""The file formats of models: each library's own where it has one, else a pickle.

Google's prebuilt images look for the names that stand here:
https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFormat:
    """One format: its name, the file of the artifact, the package that reads it, and the images that load it."""

    name: str
    file: str
    package: str
    prebuilt: tuple[str, ...] = ()


FORMATS = (
    ModelFormat("joblib", "model.joblib", "joblib", ("sklearn", "xgboost")),
    ModelFormat("pickle", "model.pkl", "", ("sklearn", "xgboost")),
    ModelFormat("xgboost", "model.bst", "xgboost", ("xgboost",)),
    ModelFormat("lightgbm", "model.lightgbm.txt", "lightgbm"),
    ModelFormat("catboost", "model.cbm", "catboost"),
    ModelFormat("torch", "model.pt", "torch"),
    ModelFormat("keras", "model.keras", "keras"),
    ModelFormat("onnx", "model.onnx", "onnxruntime"),
    ModelFormat("tensorflow", "saved_model.pb", "tensorflow", ("tf", "tf2")),
    ModelFormat("torchserve", "model.mar", "torch", ("pytorch",)),
)

# What lies next to the artifact's own file, written by save_results.
REQUIREMENTS_FILE = "requirements.txt"
CODE_FOLDER = "code"
PREDICTOR_FILE = "predictor.py"
# Which class of the library the file is of, for libraries with several.
KIND_FILE = "kind.json"


def format_of(files: Iterable[str]) -> ModelFormat | None:
    """Return the format of an artifact with `files` (names relative to its folder); None for another format."""
    names = set(files)
    return next((form for form in FORMATS if form.file in names), None)
