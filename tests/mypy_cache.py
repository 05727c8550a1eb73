"""What mypy finds in the libraries that a generated repository imports, kept on this machine: it takes six seconds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.needs import ENVIRONMENT
from tests.repositories import BIN, bake


@functools.cache
def kept() -> Path:
    """Return the folder, made once for each machine and set of packages: to be copied, never changed."""
    packages = sorted(f"{each.name}=={each.version}" for each in importlib.metadata.distributions())
    name = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:16]
    cache = Path(ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT.get("HOME") or "/") / ".cache")
    folder = cache / "vertex-edge-tests" / f"mypy-{name}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        repository = bake(new / "baked", example="digits")
        command = [str(BIN / "mypy"), "--cache-dir", str(new / "mypy")]
        subprocess.run(command, cwd=repository, env=ENVIRONMENT, check=True, capture_output=True)
        # Another process of the tests may have been quicker.
        with contextlib.suppress(OSError):
            (new / "mypy").rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    return folder
