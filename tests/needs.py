"""What some tests need of the machine: `@pytest.mark.needs("docker")`.

Where it is missing they are skipped, and say how to get it. EDGE_TESTS_REQUIRE=chromium,docker makes that a failure: a
pipeline that has everything must not pass because something was lost.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Where Debian's package dataset-fashion-mnist puts the images.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# An image with nothing but Python, which no registry is asked for: scripts/docker-image makes it.
DOCKER_IMAGE = "vertex-edge-tests/python:latest"

# uv, as a command: on the PATH, or in this environment.
_UV_HERE = Path(sys.executable).with_name("uv")
# It keeps what it installed below the home that the tests were started with, which some of them change.
ENVIRONMENT = dict(os.environ)
UV = [str(_UV_HERE)] if _UV_HERE.exists() else ["uv"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _no_chromium() -> str | None:
    return None if CHROMIUM else "Chromium is not installed: apt-get install chromium"


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


def _no_uv_cache() -> str | None:
    installer = (importlib.metadata.distribution("vertex-edge").read_text("INSTALLER") or "").strip()
    if shutil.which(UV[0]) is None or installer != "uv":
        return "this environment was not made by uv, whose cache can make another one: make test"
    return None


MISSING: dict[str, Callable[[], str | None]] = {
    "chromium": _no_chromium,
    "docker": _no_docker,
    "fashion-mnist": _no_fashion_mnist,
    "gcloud": _no_gcloud,
    "uv-cache": _no_uv_cache,
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
