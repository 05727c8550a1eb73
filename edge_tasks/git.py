"""What git knows of the repository. A repository without git, or a machine without it, is no error."""

from __future__ import annotations

import subprocess
from pathlib import Path

from edge_tasks.lineage import Commit


def head(root: Path) -> Commit | None:
    """Return the commit checked out at `root`, or None without git, without a repository or before a first commit."""
    sha = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not sha:
        return None
    status = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Commit(sha=sha.strip(), dirty=bool(status and status.strip()))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None
