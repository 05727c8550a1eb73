"""This checkout as GitHub would have it: git is told to take a copy of it for https://github.com/fuzzylabs/vertex-edge."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.repositories import ROOT

OWNER = "https://github.com/fuzzylabs/"
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "demo", "dist", "build")


def publish(folder: Path) -> dict[str, str]:
    """Make the copy in `folder`, with one commit; return what leads git to it, as environment variables.

    The same files are the same commit, so that uv builds them once.
    """
    repository = folder / "fuzzylabs" / "vertex-edge.git"
    shutil.copytree(ROOT, repository, symlinks=True, ignore=_LEFT_OUT)
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    dates = {f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")}
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["config", "pack.window", "0"],  # a clone is made sooner when nothing is compared
        ["add", "--all"],
        [*author, "commit", "-qm", "All"],
    ):
        subprocess.run(["git", *command], cwd=repository, env=os.environ | dates, check=True, capture_output=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.parent.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": OWNER,
    }
