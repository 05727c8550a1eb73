"""Where everything is measured: a new repository, an empty home, its own servers, and nothing left afterwards."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# What is kept of the caller's environment: nothing of theirs may show, and bytecode is written and used.
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")


class CommandError(Exception):
    """A command that is to be measured failed."""


@dataclass
class Laboratory:
    """A generated digits repository (`repository`), and a folder for everything else (`folder`)."""

    folder: Path
    repository: Path
    _done: set[str] = field(default_factory=set)

    def run(self, *command: str, folder: Path | None = None) -> str:
        """Run a command of the tested environment in the repository, or in `folder`; return its stdout."""
        result = subprocess.run(
            command,
            cwd=folder or self.repository,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if result.returncode:
            raise CommandError(f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def runner(self, *command: str, folder: Path | None = None) -> Callable[[], str]:
        """Return a function that runs a command."""
        return lambda: self.run(*command, folder=folder)

    def initialised(self) -> None:
        """Have the repository set up and its servers running."""
        self._once("invoke", "init")
        self.run("invoke", "local.start")

    def trained(self) -> None:
        """Have the digits model trained as a job."""
        self.initialised()
        self._once("dvc", "repro", "models/digits/dvc.yaml")

    def deployed(self) -> None:
        """Have the digits model served."""
        self.trained()
        self.run("invoke", "model.deploy")

    def _once(self, *command: str) -> None:
        key = " ".join(command)
        if key not in self._done:
            self.run(*command)
            self._done.add(key)


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Bake the repository; afterwards end its servers and remove everything.

    The environment of this process is replaced for good: what is measured in process gets no more than the commands.
    """
    compileall.compile_dir(ROOT / "edge_tasks", quiet=2)
    sys.dont_write_bytecode = False
    with tempfile.TemporaryDirectory(prefix="edge-benchmarks-") as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        _replace_environment(folder / "home")
        arguments = [
            "--no-input",
            "--output-dir",
            str(folder),
            str(ROOT),
            "project_slug=bench-digits",
            "example=digits",
        ]
        made = Laboratory(folder, folder / "bench-digits")
        made.run("cookiecutter", *arguments, folder=folder)
        try:
            yield made
        finally:
            made.run("invoke", "local.stop")


def _replace_environment(home: Path) -> None:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(HOME=str(home), PATH=path, NO_COLOR="1", DVC_NO_ANALYTICS="true", GIT_CONFIG_GLOBAL=os.devnull)
