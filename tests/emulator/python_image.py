"""An image with Python, pip and a folder of wheels: what `python:3.11-slim` and an index are elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.needs import DOCKER_IMAGE, wheels

DOCKERFILE = f"""\
FROM {DOCKER_IMAGE}
COPY wheels /wheels
COPY pip.conf /etc/pip.conf
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s /usr/bin/python3 /usr/local/bin/python \\
    && PYTHONPATH=$(echo /wheels/pip-*.whl) python -m pip install pip
"""
# What pip is told where there is no index.
PIP_CONF = "[global]\nno-index = true\nfind-links = /wheels\nroot-user-action = ignore\n"


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def build(folder: Path, name: str, *requirements: str) -> None:
    """Build it, with wheels of the requirements."""
    shutil.copytree(wheels(*requirements), folder / "wheels")
    (folder / "pip.conf").write_text(PIP_CONF)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    docker("build", "--quiet", "--tag", name, str(folder))


def build_on(base: str, folder: Path, name: str) -> None:
    """Build what a folder's Dockerfile says on this base; the line that names its own takes a registry."""
    file = folder / "Dockerfile"
    lines = file.read_text().splitlines(keepends=True)
    (first,) = (line for line in lines if line.startswith("FROM "))
    file.write_text("".join(f"FROM {base}\n" if line == first else line for line in lines))
    docker("build", "--quiet", "--tag", name, str(folder))
