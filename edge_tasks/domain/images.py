"""Google's prebuilt images: what they hold, and until when they can be used.

Read on 2026-11-22 from https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers and
https://cloud.google.com/vertex-ai/docs/training/pre-built-containers; what the two dates mean is told in
https://cloud.google.com/vertex-ai/docs/framework-support-policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

_IMAGE = re.compile(
    r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai/(?P<purpose>prediction|training)/"
    r"(?P<framework>[a-z0-9-]+?)-(?:cpu|gpu|tpu)\.(?P<version>\d+-\d+)(?:\.py\d+)?(?P<tag>:.+)?"
)

# The framework in the image's name, and the package that pip knows it by.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "scikit-learn": "scikit-learn",
    "xgboost": "xgboost",
    "pytorch": "torch",
    "tf": "tensorflow",
    "tf2": "tensorflow",
}


@dataclass(frozen=True)
class PrebuiltImage:
    """What the name of one of Google's images says."""

    purpose: str  # prediction or training
    framework: str
    version: tuple[int, int]

    @property
    def package(self) -> str:
        """The framework's package, such as `scikit-learn`."""
        return _PACKAGES.get(self.framework, self.framework)

    @property
    def shown_version(self) -> str:
        """The framework's version, such as `1.6`."""
        return f"{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True)
class Support:
    """How long an image can be used. After `patched_until` there are no new builds of it.

    After `available_until` it cannot be used any more, and Google may delete endpoints that do.
    """

    patched_until: date
    available_until: date


# What the prediction images of 2026 that serve pickles hold besides their framework. The page lists it for training
# images only; the prediction images hold less, so that what is not here is taken as not there.
# https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
_HELD = {
    "sklearn": frozenset({"scikit-learn", "numpy", "scipy", "joblib", "pandas", "threadpoolctl"}),
    "xgboost": frozenset({"xgboost", "scikit-learn", "numpy", "scipy", "joblib", "pandas", "threadpoolctl"}),
}

# What the training images of scikit-learn 1.6 and XGBoost 2.1 hold, from the same page.
_HELD_FOR_TRAINING = frozenset(
    {"numpy", "pandas", "scipy", "scikit-learn", "xgboost", "joblib", "google-cloud-storage", "google-cloud-bigquery"}
    | {"requests", "cloudml-hypertune"}
)
_PLAIN_PYTHON = re.compile(
    r"(?:(?:docker\.io|mirror\.gcr\.io|public\.ecr\.aws/docker)/)?(?:library/)?python:(?P<version>3\.\d+)[\w.-]*(?:@sha256:[0-9a-f]{64})?"
)

_SUPPORT = {
    ("prediction", "sklearn", (1, 6)): Support(date(2026, 10, 14), date(2027, 10, 14)),
    ("prediction", "sklearn", (1, 5)): Support(date(2026, 7, 14), date(2027, 1, 14)),
    ("prediction", "sklearn", (1, 4)): Support(date(2026, 1, 14), date(2027, 1, 14)),
    ("prediction", "xgboost", (2, 1)): Support(date(2026, 7, 14), date(2027, 1, 14)),
    ("prediction", "pytorch", (2, 4)): Support(date(2026, 7, 14), date(2027, 1, 14)),
    ("prediction", "tf2", (2, 15)): Support(date(2026, 7, 14), date(2027, 1, 14)),
    ("training", "sklearn", (1, 6)): Support(date(2025, 7, 11), date(2026, 7, 11)),
    ("training", "xgboost", (2, 1)): Support(date(2025, 7, 11), date(2026, 7, 11)),
    ("training", "tf", (2, 17)): Support(date(2025, 7, 11), date(2026, 7, 11)),
}


def prebuilt(uri: str) -> PrebuiltImage | None:
    """Return what the name of one of Google's prebuilt images says; None for any other image."""
    match = _IMAGE.fullmatch(uri)
    if match is None:
        return None
    major, minor = match["version"].split("-")
    return PrebuiltImage(match["purpose"], match["framework"], (int(major), int(minor)))


def support(image: PrebuiltImage) -> Support | None:
    """Return how long `image` can be used; None when it is not in the table (see `retired`)."""
    return _SUPPORT.get((image.purpose, image.framework, image.version))


def lacking(image: PrebuiltImage, environment: Mapping[str, str]) -> list[str]:
    """Return which libraries of `environment` (name to version) are not in `image`, as far as is known."""
    held = _HELD.get(image.framework)
    if held is None:
        return []
    return [name for name in environment if name != "python" and name not in held]


def held_for_prediction(image: PrebuiltImage) -> frozenset[str] | None:
    """Return the packages of a prediction image; None when they are not known."""
    return _HELD.get(image.framework)


def python_of(uri: str) -> tuple[int, int] | None:
    """Return the version of Python in an image for training, when its name is one of which that is known."""
    match = _PLAIN_PYTHON.fullmatch(uri)
    if match:
        return 3, int(match["version"].partition(".")[2])
    image = prebuilt(uri)
    return (3, 10) if image and image.framework in _HELD else None


def held_for_training(uri: str) -> set[str]:
    """Return the packages of an image for training, in addition to what is installed into it."""
    return set(_HELD_FOR_TRAINING) if prebuilt(uri) else set()


def retired(image: PrebuiltImage) -> bool:
    """Say whether `image` is older than all of its kind that Google still lists. A newer one may have come since."""
    listed = [key[2] for key in _SUPPORT if key[:2] == (image.purpose, image.framework)]
    return bool(listed) and image.version < min(listed)
