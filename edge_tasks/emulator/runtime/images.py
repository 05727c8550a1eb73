"""Which container images can stand for the local Python environment, and which model files they serve."""

from __future__ import annotations

import re
from typing import NamedTuple

# https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
PREBUILT_TRAINING = re.compile(r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai/training/[\w./-]+(?::[\w.-]+)?")
PLAIN_PYTHON = re.compile(
    r"(?:(?:docker\.io|mirror\.gcr\.io)/)?(?:library/)?python(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?"
)
# https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers
PREBUILT_PREDICTION = re.compile(
    r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai/prediction/(tf2?|sklearn|xgboost|pytorch)-[\w./-]+(?::[\w.-]+)?"
)
# The images that `edge_tasks.serving` builds: here their program runs in the local environment.
PREDICTOR = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev/[\w.:-]+/edge-serving/predictor(?::[\w.-]+)?")


class Framework(NamedTuple):
    """What a prebuilt prediction image serves: https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts."""

    name: str
    files: tuple[str, ...]
    module: str
    package: str
    # Whether a process that has imported it can be forked: TensorFlow and PyTorch have their own threads by then.
    forks: bool = True


_TENSORFLOW = Framework("tensorflow", ("saved_model.pb", "saved_model.pbtxt"), "tensorflow", "tensorflow", forks=False)
FRAMEWORKS = {
    "sklearn": Framework("sklearn", ("model.joblib", "model.pkl"), "sklearn", "scikit-learn joblib"),
    "xgboost": Framework("xgboost", ("model.bst", "model.joblib", "model.pkl"), "xgboost", "xgboost"),
    "tf": _TENSORFLOW,
    "tf2": _TENSORFLOW,
    "pytorch": Framework("pytorch", ("model.mar",), "torch", "torch", forks=False),
}


def runs_local_python(image: str) -> bool:
    """Whether a job with this image can run in the local Python environment."""
    return bool(PREBUILT_TRAINING.fullmatch(image) or PLAIN_PYTHON.fullmatch(image))


_PREDICTOR = Framework("predictor", (), "edge_tasks.serving", "'vertex-edge[local]'", forks=False)


def framework_of(image: str) -> Framework | None:
    """Return the framework of a prebuilt prediction image, or what stands for it with a predictor's image."""
    if PREDICTOR.fullmatch(image):
        return _PREDICTOR
    match = PREBUILT_PREDICTION.fullmatch(image)
    return FRAMEWORKS[match.group(1)] if match else None
