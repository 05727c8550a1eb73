"""docs/emulator.md: its programs do in each language what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.emulator.harness import Emulator
from tests.repositories import ROOT, clean_environment

PAGE = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the block of a language that the tests run."""
    found = re.findall(rf"(?:^<!-- (not run).*? -->\n)?^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (code,) = (code for not_run, code in found if not not_run)
    return str(code)


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path) -> Callable[..., str]:
    """Run a command where the variables lead to the emulator; return what it prints."""
    environment = clean_environment(tmp_path)
    environment |= {"VERTEX_EMULATOR_URL": emulator.url, "STORAGE_EMULATOR_HOST": emulator.storage_url}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def job_of(emulator: Emulator, said: str) -> str:
    name = re.search(r"projects/\d+/locations/us-central1/customJobs/\d+", said)
    assert name, said
    emulator.wait_for_job(name[0])
    return name[0]


@pytest.mark.slow
def test_curl(emulator: Emulator, run: Callable[..., str]) -> None:
    said = run("bash", "-euc", block("sh"))
    assert emulator.output(job_of(emulator, said)) == ["hello from a job"]
    assert emulator.read("curl-bucket", "hello.txt") == b"hello"


@pytest.mark.slow
def test_node(emulator: Emulator, run: Callable[..., str], tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    (tmp_path / "hello.mjs").write_text(block("js"))
    assert emulator.output(job_of(emulator, run("node", "hello.mjs"))) == ["hello from a job"]
    assert emulator.read("node-bucket", "hello.json") == b'{"hello":"world"}'


@pytest.mark.slow
def test_java(emulator: Emulator, run: Callable[..., str], tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    (tmp_path / "Hello.java").write_text(block("java"))
    assert emulator.output(job_of(emulator, run("java", "Hello.java"))) == ["hello from a job"]
    assert emulator.read("java-bucket", "hello.json") == b"{}"
