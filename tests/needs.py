"""What some tests need of the machine: `@pytest.mark.needs("docker")`.

Where it is missing they are skipped, and say how to get it. EDGE_TESTS_REQUIRE=chromium,docker makes that a failure: a
pipeline that has everything must not pass because something was lost.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# Where Debian's package dataset-fashion-mnist puts the images.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# An image with nothing but Python, which no registry is asked for: scripts/docker-image makes it.
DOCKER_IMAGE = "vertex-edge-tests/python:latest"

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


@functools.cache
def _no_index() -> str | None:
    if shutil.which("uv") is None:
        return "uv is not installed: https://docs.astral.sh/uv"
    # An environment is made of packages that uv has kept, or gets from an index.
    command = ["uv", "pip", "install", "--dry-run", "--target", "/tmp/none", "hatchling>=1.27"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "the index of packages does not answer within 60 s"
    return None if done.returncode == 0 else f"uv finds no packages: {(done.stderr.strip().splitlines() or ['?'])[-1]}"


MISSING: dict[str, Callable[[], str | None]] = {
    "chromium": _no_chromium,
    "docker": _no_docker,
    "fashion-mnist": _no_fashion_mnist,
    "gcloud": _no_gcloud,
    "index": _no_index,
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
