"""What some tests need of the machine: `@pytest.mark.needs("docker")`.

Where it is missing they are skipped, and say how to get it. EDGE_TESTS_REQUIRE=chromium,docker makes that a failure: a
pipeline that has everything must not pass because something was lost.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# Where Debian's package dataset-fashion-mnist puts the images.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# An image with Python, which no registry is asked for: scripts/docker-image makes it.
DOCKER_IMAGE = "vertex-edge-tests/python:2"

NODE_CLIENT = "@google-cloud/aiplatform"

# What `make javascript` fetches from npm, and nothing of ours ships.
AXE = Path(__file__).parent.parent / "scripts" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# uv, as a command: on the PATH, or in this environment.
_UV_HERE = Path(sys.executable).with_name("uv")
# It keeps what it installed below the home that the tests were started with, which some of them change.
ENVIRONMENT = dict(os.environ)
UV = [str(_UV_HERE)] if _UV_HERE.exists() else ["uv"]

# Libraries of models that are too large for `[dev]` (500 MB): uv puts them into a folder, once for each machine and
# list, and without what they require of what is installed here. PyTorch comes to them where there is a wheel without
# CUDA, which makes it 3 GB; EDGE_TESTS_LIBRARIES names a folder (`pip install --target`) with what else is to be tried.
MODEL_LIBRARIES = (
    *(
        "xgboost-cpu==3.2.0",
        "lightgbm==4.7.0",
        "narwhals==2.29.0",
        "catboost==1.2.10",
        "graphviz==0.21",
        "statsmodels==0.15.0",
        "patsy==1.0.3",
    ),
    *("onnx==1.23.2", "onnxruntime==1.32.0", "skl2onnx==1.20.0", "flatbuffers==25.12.19", "ml-dtypes==0.6.0"),
)

# What PyTorch requires and `[dev]` lacks; and Keras, which computes with it.
TORCH_LIBRARIES = (
    *("sympy==1.14.0", "mpmath==1.3.0"),
    *("keras==3.15.1", "absl-py==2.5.1", "h5py==3.16.0", "namex==0.1.0", "optree==0.20.0"),
)


def torch_wheel() -> Path | None:
    """Return a wheel of PyTorch without CUDA in a folder that pip or uv looks into; that from an index is 3 GB."""
    folders = " ".join(ENVIRONMENT.get(name, "") for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS")).split()
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = [path for folder in folders for path in Path(folder).glob(f"torch-*+cpu-{tag}-*{platform.machine()}.whl")]
    return found[0] if found else None


@functools.cache
def index() -> str:
    """Return the package index that pip is told to use here, which uv is not; empty when it is the usual one."""
    pip = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    found = ENVIRONMENT.get("UV_DEFAULT_INDEX") or ENVIRONMENT.get("PIP_INDEX_URL")
    return found or subprocess.run(pip, env=ENVIRONMENT, check=False, capture_output=True, text=True).stdout.strip()


def environment() -> dict[str, str]:
    """Return the environment for uv: with the index, and the system's certificates."""
    more = {"UV_DEFAULT_INDEX": index()} if index() else {}
    return {**ENVIRONMENT, **more, "UV_NATIVE_TLS": "true", "UV_SYSTEM_CERTS": "true"}


def _no_chromium() -> str | None:
    return None if CHROMIUM else "Chromium is not installed: apt-get install chromium"


def _no_axe() -> str | None:
    return None if AXE.is_file() else "axe-core is not there: make javascript"


def _no_fashion_mnist() -> str | None:
    return None if FASHION_MNIST.is_dir() else f"{FASHION_MNIST} is not there: apt-get install dataset-fashion-mnist"


@functools.cache
def _no_docker() -> str | None:
    if shutil.which("docker") is None:
        return "there is no docker program: apt-get install docker.io"
    try:
        done = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Id}}", DOCKER_IMAGE],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer within 30 s"
    if done.returncode == 0:
        return None
    return f"{(done.stderr.strip().splitlines() or ['docker failed'])[-1]}; see scripts/docker-image"


def _no_gcloud() -> str | None:
    return None if shutil.which("gcloud") else "gcloud is not installed: https://cloud.google.com/sdk/docs/install"


def _no_uv() -> str | None:
    return None if shutil.which(UV[0]) else "uv is not installed: pip install uv"


def _no_uv_cache() -> str | None:
    installer = (importlib.metadata.distribution("vertex-edge").read_text("INSTALLER") or "").strip()
    if shutil.which(UV[0]) is None or installer != "uv":
        return "this environment was not made by uv, whose cache can make another one: make test"
    return None


@functools.cache
def model_libraries() -> Path | None:
    """Return the folder with MODEL_LIBRARIES, made unless it is there; None when they cannot be had."""
    if given := os.environ.get("EDGE_TESTS_LIBRARIES"):
        return Path(given)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wheel = torch_wheel()
    wanted = (*MODEL_LIBRARIES, *((str(wheel), *TORCH_LIBRARIES) if wheel else ()))
    name = hashlib.sha256("\n".join((version, *wanted)).encode()).hexdigest()[:16]
    cache = Path(ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT.get("HOME") or "/") / ".cache")
    folder = cache / "vertex-edge-tests" / name
    if not folder.is_dir() and shutil.which(UV[0]):
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        command = [*UV, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", str(new)]
        done = subprocess.run([*command, *wanted], env=environment(), capture_output=True, check=False)
        # Another process of the tests may have been quicker.
        with contextlib.suppress(OSError):
            if done.returncode == 0:
                new.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    return folder if folder.is_dir() else None


# What compiled tests/emulator/pipelines, and runs their functions; alone, since a function needs nothing else of it.
KFP = "kfp==2.17.3"


@functools.cache
def kfp() -> Path | None:
    """Return a folder with kfp and nothing that it requires, made unless it is there; None when it cannot be had."""
    cache = Path(ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT.get("HOME") or "/") / ".cache")
    folder = cache / "vertex-edge-tests" / KFP
    if not folder.is_dir() and shutil.which(UV[0]):
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        command = [*UV, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", str(new), KFP]
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        with contextlib.suppress(OSError):
            if done.returncode == 0:
                new.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    return folder if folder.is_dir() else None


def _no_kfp() -> str | None:
    return None if kfp() else "kfp cannot be had: it takes `uv` and, once, a network"


def _no_model_libraries() -> str | None:
    return None if model_libraries() else "the libraries cannot be had: they take `uv` and, once, a network"


def _no_torch() -> str | None:
    found = model_libraries()
    if found is not None and (found / "torch").is_dir():
        return None
    return "there is no wheel of PyTorch without CUDA in a folder that PIP_FIND_LINKS names"


@functools.cache
def isolated_environments() -> dict[str, str] | str:
    """Return the variables of an emulator that makes environments from an index, or why there is none.

    What is made stays for the next run. The one like the image that serves models of scikit-learn is there already.
    """
    from edge_tasks.emulator.runtime.environments import Environments, MakeError
    from edge_tasks.emulator.runtime.image_contents import of_prediction

    cache = Path(ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT.get("HOME") or "/") / ".cache")
    variables = {
        **{name: value for name, value in environment().items() if name.startswith("UV_")},
        "UV_CACHE_DIR": ENVIRONMENT.get("UV_CACHE_DIR") or str(cache / "uv"),
        "XDG_CACHE_HOME": str(cache / "vertex-edge-tests"),
        "UV_PYTHON_DOWNLOADS": "never",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            Environments().ensure(of_prediction("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"))
        except MakeError as error:
            return f"packages cannot be had: {str(error).splitlines()[-1]}"
    return variables


# Of DOCKER_IMAGE, which is Debian 12.
DOCKER_PYTHON = "3.11"


@functools.cache
def wheels(*requirements: str) -> Path:
    """Return a folder with wheels of these packages for DOCKER_IMAGE, and of pip, fetched once for each machine."""
    name = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:16]
    cache = Path(ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT.get("HOME") or "/") / ".cache")
    folder = cache / "vertex-edge-tests" / f"wheels-{name}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(new), "--only-binary", ":all:"]
        command += ["--python-version", DOCKER_PYTHON, "--implementation", "cp"]
        for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):
            command += ["--platform", f"{tag}_{platform.machine()}"]
        subprocess.run([*command, "--platform", "any", "pip", *requirements], env=ENVIRONMENT, check=True)
        with contextlib.suppress(OSError):
            new.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    return folder


def _no_packages() -> str | None:
    found = isolated_environments()
    return found if isinstance(found, str) else None


def node_modules() -> Path | None:
    """Return the folder with Google's client for Node, which EDGE_TESTS_NODE_MODULES names: it has 115 MB."""
    given = Path(os.environ.get("EDGE_TESTS_NODE_MODULES") or "/nowhere")
    return given if (given / NODE_CLIENT).is_dir() else None


def _no_node() -> str | None:
    if shutil.which("node") is None:
        return "Node is not installed: apt-get install nodejs npm"
    if node_modules() is None:
        return f"EDGE_TESTS_NODE_MODULES names no folder with it: npm install {NODE_CLIENT}"
    return None


MISSING: dict[str, Callable[[], str | None]] = {
    "axe": _no_axe,
    "chromium": _no_chromium,
    "docker": _no_docker,
    "fashion-mnist": _no_fashion_mnist,
    "gcloud": _no_gcloud,
    "kfp": _no_kfp,
    "node": _no_node,
    "packages": _no_packages,
    "torch": _no_torch,
    "uv": _no_uv,
    "uv-cache": _no_uv_cache,
    "model-libraries": _no_model_libraries,
}


def required() -> set[str]:
    """Return what EDGE_TESTS_REQUIRE names; pytest.UsageError when it names something unknown."""
    names = {name.strip() for name in os.environ.get("EDGE_TESTS_REQUIRE", "").split(",")} - {""}
    unknown = sorted(names - MISSING.keys())
    if unknown:
        raise pytest.UsageError(f"EDGE_TESTS_REQUIRE names {unknown[0]}; it may name {', '.join(MISSING)}")
    return names


def check(item: pytest.Item) -> None:
    """Skip a test whose machine lacks what it needs; fail it where that is required."""
    for mark in item.iter_markers("needs"):
        (name,) = mark.args
        reason = MISSING[name]()
        if reason and name in required():
            pytest.fail(f"EDGE_TESTS_REQUIRE names {name}, but {reason}", pytrace=False)
        if reason:
            pytest.skip(reason)
