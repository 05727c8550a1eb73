"""A test that needs what this machine lacks is skipped, and fails where it is required."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.repositories import ROOT

TEST = "tests/emulator/test_docker_engine.py"


def run(required: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a Docker engine where nothing is on the PATH."""
    environment = {**os.environ, "PATH": "/nowhere", "EDGE_TESTS_REQUIRE": required}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "entrypoint", TEST]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("required", "status", "words"),
    [
        ("", 0, "there is no docker program: apt-get install docker.io"),
        ("chromium", 0, "1 skipped"),
        ("chromium,docker", 1, "EDGE_TESTS_REQUIRE names docker, but there is no docker program"),
        ("dokcer", 4, "EDGE_TESTS_REQUIRE names dokcer; it may name axe, chromium, docker, fashion-mnist"),
    ],
)
def test_what_is_missing_is_skipped_unless_it_is_required(required: str, status: int, words: str) -> None:
    done = run(required)
    assert words in done.stdout + done.stderr
    assert done.returncode == status
