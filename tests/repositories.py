"""Repositories to test in: baked from the template, with their own home and servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.forking.commands import forked, with_forks

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# Children compile their bytecode once, whatever the machine's setting: it makes every command several times faster.
_DROPPED = (
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "EDGE_TARGET",
    "EDGE_LOCAL_ENVIRONMENTS",
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_CLOUD_PROJECT",
)


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the user's shows: an empty home, no Google settings."""
    environment = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    environment |= {
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "true",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    return with_forks(environment)


@dataclass(frozen=True)
class Repository:
    """A generated repository, and running commands in it as its user would."""

    root: Path
    environment: dict[str, str]
    limit: float = 240.0  # seconds for one command

    def run(self, *command: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; `changes` are added to the environment."""
        environment = with_forks({**self.environment, **changes})
        result = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=self.limit
        )
        if check and result.returncode:
            pytest.fail(f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in its own process group, as a shell does, so that Ctrl-C can be sent to it."""
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def fails(self, *command: str, **changes: str) -> tuple[str, str]:
        """Run a command that must fail as users see it: two lines on stderr, status 1. Returns problem and hint.

        The code of the error is left out.
        """
        result = self.run(*command, check=False, **changes)
        assert result.returncode == 1, result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        _, _, message = result.stderr.rpartition("error: ")
        problem, _, hint = message.partition("\n\nhint: ")
        return re.sub(r" \[E\d{3}\]$", "", problem.strip(), count=1, flags=re.MULTILINE), hint.strip()

    def set_parameter(self, model: str, key: str, value: str) -> None:
        """Change one line of a model's params.yaml."""
        path = self.root / "models" / model / "params.yaml"
        lines = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")


def another_environment(folder: Path) -> Path:
    """Make a virtual environment that finds all packages of this one after its own; return its Python."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/*/site-packages")
    places = [str(ROOT), *(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))]
    (site / "all.pth").write_text("\n".join(places))
    return folder / "bin" / "python"


def bake(folder: Path, **answers: str) -> Path:
    """Bake the template with `answers` into `folder`; return the repository's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    home.mkdir()
    command = ["cookiecutter", "--no-input", "--output-dir", str(folder), str(ROOT)]
    command += [f"{key}={value}" for key, value in answers.items()]
    command, environment = forked(BIN / command[0], *command[1:], environment=clean_environment(home))
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return next(path for path in folder.iterdir() if (path / "edge.yaml").exists())


def copy(baked: Path, folder: Path) -> Repository:
    """Copy a baked repository into `folder`, next to its own home."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    root = folder / "dépôt de Zoé"  # a path as people have them: with spaces, and not only of ASCII
    shutil.copytree(baked, root, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    return Repository(root, clean_environment(home))


def pip_beside(folder: Path) -> Path:
    """Make a `pip` in `folder` that takes this package for what requirements name by an address; return the folder.

    It is installed here, and pip would build it, for which it needs the network, and install it over this checkout.
    uv looks for what is missing, a hundred times quicker than pip. What was installed once is not looked at again:
    each job of a CI asks for the same.
    """
    script = """#!/bin/sh
        set -e
        copy="$(mktemp -d)"
        find . -name 'requirements*.txt' -not -path './.*' -exec cp --parents {} "$copy" ';'
        sed -i '/^vertex-edge/s/ @ .*//' "$copy"/requirements*.txt
        cd "$copy"
        asked="FOLDER/$({ echo "$@"; find . -type f | sort | xargs cat; } | sha256sum | cut -c 1-40).asked"
        [ -e "$asked" ] && exit
        "BIN/uv" pip "$@" --python "BIN/python" --offline --no-index --quiet
        touch "$asked"
    """
    folder.mkdir(parents=True)
    (folder / "pip").write_text(textwrap.dedent(script).replace("BIN", str(BIN)).replace("FOLDER", str(folder)))
    (folder / "pip").chmod(0o755)
    return folder


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small file system at `folder`. A test that needs it is skipped where that is forbidden."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free on `disk`; return the file to remove to have room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return filler
