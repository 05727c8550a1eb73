"""What is in the images that the emulator stands for: a Python, and a list of packages.

Google's page lists the packages of the newest training images; of the prediction images, and of older ones, what is
known is their framework. What is not here is taken as not there.
https://cloud.google.com/vertex-ai/docs/training/pre-built-containers
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from edge_tasks.emulator.runtime import images

OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Of all of Google's images that can still be used, but for those of PyTorch that predict, which have 3.9: the program
# that stands for them here takes 3.10.
PREBUILT_PYTHON = "3.10"

# The training images of scikit-learn 1.6 and XGBoost 2.1.
TRAINING: tuple[str, ...] = (
    *("numpy==1.26.4", "pandas==2.2.3", "scipy==1.15.2", "scikit-learn==1.6.1", "xgboost==2.1.3", "joblib==1.4.2"),
    *("google-cloud-storage==2.19.0", "google-cloud-bigquery==3.29.0", "requests==2.32.3"),
)
# The prediction image of scikit-learn 1.6, and what those of other versions hold next to their framework.
SKLEARN: tuple[str, ...] = ("numpy==1.26.4", "pandas==2.2.3", "scipy==1.15.2", "scikit-learn==1.6.1", "joblib==1.4.2")
LIBRARIES = ("numpy", "pandas", "scipy", "joblib")
XGBOOST = {"2.1": ("xgboost==2.1.3", *SKLEARN)}
# What the program needs that stands for a prediction image: edge_tasks.emulator.serving.prebuilt.
SERVER = ("httptools>=0.6", "orjson>=3.10,<4", "uvloop>=0.21")
# What edge_tasks.serving needs: the requirements-server.txt of the image that is built for it.
PREDICTOR_SERVER = ("httptools==0.9.0", "orjson==3.13.0", "uvloop==0.23.0")

# Docker Hub's images of Python have these up to 3.11: https://github.com/docker-library/python
TOOLS = ("setuptools<80", "wheel")
LAST_WITH_TOOLS = (3, 11)

PYTHON_TAG = re.compile(r".*python:(?P<version>3\.\d+)[\w.-]*(?:@.*)?")
PREBUILT = re.compile(
    r".*/vertex-ai/(?P<purpose>training|prediction)/(?P<framework>[a-z0-9-]+?)-(?:cpu|gpu|tpu)\.(?P<version>\d+-\d+)"
    r"(?:\.py(?P<python>\d{2,3}))?(?::.*)?"
)
PACKAGES = {
    "sklearn": "scikit-learn",
    "scikit-learn": "scikit-learn",
    "xgboost": "xgboost",
    "pytorch": "torch",
    "tf": "tensorflow",
    "tf2": "tensorflow",
}


class Contents(NamedTuple):
    """What an environment is made of.

    `packages` are an image's own; `requirements` come afterwards, as pip installs into an image: what is there stays,
    unless it contradicts. `options` are pip's, which say where packages are looked for. `prebuilt` says that it is one
    of Google's images.
    """

    python: str
    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    prebuilt: bool = False


def of_training(image: str) -> Contents:
    """Return what is in an image for which a job runs in the local environment."""
    prebuilt = PREBUILT.fullmatch(image)
    if prebuilt is None:
        match = PYTHON_TAG.fullmatch(image)
        python = match["version"] if match else OWN_PYTHON
        return Contents(python, TOOLS if _numbers(python) <= LAST_WITH_TOOLS else ())
    framework, version = prebuilt["framework"], prebuilt["version"].replace("-", ".")
    if (framework, version) in {("sklearn", "1.6"), ("xgboost", "2.1")}:
        packages = TRAINING
    else:
        packages = (f"{PACKAGES.get(framework, framework)}=={version}.*", *LIBRARIES)
    return Contents(_python(prebuilt), (*packages, *TOOLS), prebuilt=True)


def of_prediction(image: str) -> Contents:
    """Return what is in a prebuilt prediction image, and what its program needs here."""
    prebuilt = PREBUILT.fullmatch(image)
    if prebuilt is None:
        return Contents(PREBUILT_PYTHON, (*SKLEARN, *SERVER))
    framework, version = prebuilt["framework"], prebuilt["version"].replace("-", ".")
    if (framework, version) == ("sklearn", "1.6"):
        packages = SKLEARN
    elif framework == "xgboost":
        packages = XGBOOST.get(version, (f"xgboost=={version}.*", "scikit-learn", *LIBRARIES))
    else:
        packages = (f"{PACKAGES.get(framework, framework)}=={version}.*", *LIBRARIES)
    return Contents(_python(prebuilt), (*packages, *SERVER), prebuilt=True)


def of_predictor(requirements: str) -> Contents:
    """Return what is in the image that is built for an artifact with this requirements.txt."""
    found = re.search(r"^# Python (3\.\d+)", requirements, flags=re.MULTILINE)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in requirements.splitlines())
    wanted = tuple(line for line in lines if line and not line.startswith("-"))
    return Contents(found[1] if found else OWN_PYTHON, (), (*wanted, *PREDICTOR_SERVER))


def of_image(image: str, requirements: str | None) -> Contents | None:
    """Return what is in a serving image; None for an image of which nothing is known."""
    framework = images.framework_of(image)
    if framework is None:
        return None
    return of_predictor(requirements or "") if framework.name == "predictor" else of_prediction(image)


def _python(prebuilt: re.Match[str]) -> str:
    digits = prebuilt["python"]
    named = f"{digits[0]}.{digits[1:]}" if digits else PREBUILT_PYTHON
    return max(named, PREBUILT_PYTHON, key=_numbers)


def _numbers(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split("."))
