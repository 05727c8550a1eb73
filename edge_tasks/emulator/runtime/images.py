"""Which container images can stand for the local Python environment, and which model files they serve."""

from __future__ import annotations

import re
from typing import NamedTuple

# https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
PREBUILT_TRAINING = re.compile(r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai/training/[\w./-]+(?::[\w.-]+)?")
PLAIN_PYTHON = re.compile(
    r"(?:(?:docker\.io|mirror\.gcr\.io|public\.ecr\.aws/docker)/)?(?:library/)?python(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?"
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
    # The module of `emulator.serving` that loads the files; none for what serves itself.
    loader: str = ""
    # What most of its models import. A process that has imported it is forked for each of them; without any there is
    # no fork: TensorFlow and PyTorch have their own threads by then.
    preloaded: tuple[str, ...] = ()

    @property
    def forks(self) -> bool:
        """Whether its servers are forked."""
        return bool(self.preloaded)


SKLEARN = Framework(
    "sklearn",
    ("model.pkl", "model.joblib"),
    "sklearn",
    "scikit-learn joblib",
    "pickled",
    ("joblib", "sklearn.compose", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline"),
)
_XGBOOST = Framework(
    "xgboost", ("model.bst", "model.joblib", "model.pkl"), "xgboost", "xgboost", "pickled", ("joblib", "xgboost")
)
_TENSORFLOW = Framework(
    "tensorflow", ("saved_model.pb", "saved_model.pbtxt"), "tensorflow", "tensorflow", "saved_model"
)
_PYTORCH = Framework("pytorch", ("model.mar",), "torch", "torch", "torch_archive")
_PREDICTOR = Framework(
    "predictor",
    (),
    "edge_tasks.serving",
    "'vertex-edge[local]'",
    preloaded=("pandas", *SKLEARN.preloaded, "edge_tasks.serving.predictor_model"),
)

# By what stands in the name of an image.
FRAMEWORKS = {"sklearn": SKLEARN, "xgboost": _XGBOOST, "tf": _TENSORFLOW, "tf2": _TENSORFLOW, "pytorch": _PYTORCH}
BY_NAME = {framework.name: framework for framework in (*FRAMEWORKS.values(), _PREDICTOR)}


def runs_local_python(image: str) -> bool:
    """Whether a job with this image can run in the local Python environment."""
    return bool(PREBUILT_TRAINING.fullmatch(image) or PLAIN_PYTHON.fullmatch(image))


def framework_of(image: str) -> Framework | None:
    """Return the framework of a prebuilt prediction image, or what stands for it with a predictor's image."""
    if PREDICTOR.fullmatch(image):
        return _PREDICTOR
    match = PREBUILT_PREDICTION.fullmatch(image)
    return FRAMEWORKS[match.group(1)] if match else None
