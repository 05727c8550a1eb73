"""Isolated environments: what an image holds, and what is installed into it, made with `uv` in the user's cache.

A job or a model server that runs in one finds what it would find in its image, and nothing of the environment that the
emulator runs in. An environment is named by all that is in it, made once by one process, and complete when its card
is there; afterwards it takes neither uv nor a network.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from edge_tasks.emulator.runtime import watchers
from edge_tasks.emulator.runtime.image_contents import OWN_PYTHON, Contents

SHARED, ISOLATED = "shared", "isolated"
KINDS = (SHARED, ISOLATED)

# Of what an environment's name is a hash; a change of how they are made is another number.
FORMAT = 1
LAST_LINES = 15
SECONDS_BETWEEN_LOOKS = 0.05
# How long a Python that could not be downloaded is not asked for again.
SECONDS_WITHOUT_DOWNLOAD = 3600.0
OLDEST_MINOR, NEWEST_MINOR = 10, 14
# XGBoost asks for it, 200 MB of code for several GPUs.
OVERRIDES_FILE = "overrides.txt"
OVERRIDES = "nvidia-nccl-cu12; sys_platform == 'none'\n"
NETWORK = re.compile(
    r"dns error|error sending request|failed to fetch|could not connect|timed out|network", re.IGNORECASE
)
# What would lead uv, or the Python that it runs, to another environment.
MISLEADING = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT")
# Where managers of Pythons keep them: of their shims on the PATH only the version that is chosen works.
MANAGERS = (("PYENV_ROOT", "~/.pyenv", "versions"), ("ASDF_DATA_DIR", "~/.asdf", "installs/python"),
            ("MISE_DATA_DIR", "~/.local/share/mise", "installs/python"))  # fmt: skip
# uv does not read what pip reads; a user who has told pip alone where packages are means both.
PIPS = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS"}


class MakeError(Exception):
    """An environment cannot be made; the message ends with what the installer said."""


@dataclass(frozen=True)
class Environment:
    """An environment that is complete. `notice` says what it has not as its image has it."""

    folder: Path
    notice: str = ""

    @property
    def bin(self) -> Path:
        """The folder of its programs."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.bin / "python"


class Python(NamedTuple):
    """A Python that environments can be made from."""

    path: str
    minor: str
    notice: str = ""


def default_cache() -> Path:
    """Return the folder for environments in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "vertex-edge" / "environments"


def uv_command() -> list[str]:
    """Return how uv is run; MakeError when it is not there."""
    found = shutil.which("uv")
    if found is not None:
        return [found]
    if importlib.util.find_spec("uv") is None:
        raise MakeError(
            "Isolated environments are made with uv, which is not installed. Install it with: pip install uv"
        )
    return [sys.executable, "-m", "uv"]


class Environments:
    """Makes environments, and says whether jobs and models get one; by default they share the emulator's own."""

    def __init__(self, cache: Path | None = None, kind: str = SHARED) -> None:
        self.kind = kind
        self._cache = cache or default_cache()
        self._pythons: dict[str, Python] = {}
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = threading.Event()

    @property
    def isolated(self) -> bool:
        """Whether jobs and models that start now get an environment that is made for their image."""
        return self.kind == ISOLATED

    def ensure(self, contents: Contents) -> Environment:
        """Return the environment with these contents, made unless it is there. This may take minutes."""
        _check((*contents.packages, *contents.requirements))
        python = self._python(contents.python)
        folder = self._cache / _name(contents, python)
        if not (folder / "environment.json").is_file():
            with self._only_one(folder):
                if not (folder / "environment.json").is_file():
                    self._make(folder, contents, python)
        return Environment(folder, python.notice)

    def close(self) -> None:
        """End what is being made, and make nothing more."""
        self._closed.set()
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)

    def _make(self, folder: Path, contents: Contents, python: Python) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._make_empty(folder, python)
            (folder / OVERRIDES_FILE).write_text(OVERRIDES, encoding="utf-8")
            for name, wanted, options in (
                ("image", contents.packages, ()),
                ("requirements", contents.requirements, contents.options),
            ):
                if wanted:
                    (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
                    files = ["--requirement", f"{name}.txt", "--overrides", OVERRIDES_FILE]
                    python_here = str(folder / "bin" / "python")
                    self._install(["pip", "install", "--python", python_here, *files, *options], folder)
            card = {"format": FORMAT, "python": python.minor, "wanted": contents.python}
            (folder / "environment.new").write_text(json.dumps(card) + "\n", encoding="utf-8")
            (folder / "environment.new").replace(folder / "environment.json")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _make_empty(self, folder: Path, python: Python) -> None:
        status, lines = self._uv(["venv", "--no-project", "--python", python.path, str(folder)], folder.parent)
        if status:
            raise MakeError(f"An environment with Python {python.minor} cannot be made:\n{_end(lines)}")

    def _install(self, arguments: list[str], folder: Path) -> None:
        """Install packages; without a network, those that uv has kept."""
        status, lines = self._uv(arguments, folder)
        if status and NETWORK.search("\n".join(lines)):
            status, _ = self._uv([*arguments, "--offline"], folder)
        if status:
            raise MakeError(f"uv could not install what is required:\n{_end(lines)}")

    def _python(self, wanted: str) -> Python:
        if wanted not in self._pythons:
            self._pythons[wanted] = self._find_python(wanted)
        return self._pythons[wanted]

    def _find_python(self, wanted: str) -> Python:
        """Return the wanted Python: our own, one that is installed, one that uv downloads, or else the nearest."""
        if wanted == OWN_PYTHON:
            return Python(sys.executable, wanted)
        found = self._installed(wanted)
        if found is None and self._download(wanted):
            found = self._installed(wanted)
        if found is not None:
            return Python(found, wanted)
        for minor in _nearest(wanted):
            path = sys.executable if minor == OWN_PYTHON else self._installed(minor)
            if path is not None:
                notice = (
                    f"The image has Python {wanted}, which is not on this machine: Python {minor} takes its place."
                    f" Install it with: uv python install {wanted}"
                )
                return Python(path, minor, notice)
        raise MakeError(f"There is no Python {wanted} on this machine, and none near it.")

    def _installed(self, version: str) -> str | None:
        self._cache.mkdir(parents=True, exist_ok=True)
        status, lines = self._uv(
            ["python", "find", "--no-project", "--no-python-downloads", "--system", version],
            self._cache,
            {"PATH": os.pathsep.join([*_managed(version), os.environ.get("PATH", "")])},
        )
        return lines[-1] if not status and lines else None

    def _download(self, version: str) -> bool:
        """Let uv download a Python, as its user allows; not again for an hour when that did not work."""
        if os.environ.get("UV_PYTHON_DOWNLOADS", "automatic") in {"never", "manual"} or os.environ.get("UV_OFFLINE"):
            return False
        failed = self._cache / f"no-python-{version}"
        with contextlib.suppress(OSError):
            if time.time() - failed.stat().st_mtime < SECONDS_WITHOUT_DOWNLOAD:
                return False
        status, _ = self._uv(["python", "install", version], self._cache)
        if status:
            failed.touch()
        return status == 0

    @contextlib.contextmanager
    def _only_one(self, folder: Path) -> Iterator[None]:
        """Let one process at a time make an environment."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            while True:
                if self._closed.is_set():
                    raise MakeError("The emulator is being stopped.")
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
            yield

    def _uv(
        self, arguments: list[str], folder: Path, changes: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[int, list[str]]:
        """Run uv, with changed variables; return its status and what it said. It ends with the emulator."""
        if self._closed.is_set():
            raise MakeError("The emulator is being stopped.")
        command = [
            "/bin/sh",
            "-c",
            watchers.SUPERVISED_COMMAND,
            "sh",
            *uv_command(),
            *arguments,
            "--no-progress",
            "--color",
            "never",
        ]
        read_end, watch_pipe = os.pipe()
        try:
            process = subprocess.Popen(
                command,
                env={**_environment(), **changes},
                cwd=folder,
                stdin=read_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
            try:
                output, _ = process.communicate()
            finally:
                self._running.discard(process)
        finally:
            os.close(read_end)
            os.close(watch_pipe)
        if self._closed.is_set():
            raise MakeError("The emulator is being stopped.")
        return process.returncode, [line for line in output.splitlines() if line.strip()]


def _check(requirements: tuple[str, ...]) -> None:
    text = ""
    try:
        for text in requirements:
            Requirement(text)
    except InvalidRequirement as error:
        raise MakeError(f"{text!r} is not a requirement: {error}") from None


def _name(contents: Contents, python: Python) -> str:
    """Return the name of an environment: a hash over all that is in it."""
    what = [FORMAT, python.minor, platform.system(), platform.machine(), contents.packages]
    text = json.dumps([*what, sorted(contents.requirements), contents.options])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _managed(version: str) -> list[str]:
    """Return the folders of this version of Python that pyenv, asdf and mise have installed."""
    found: list[str] = []
    for variable, usual, folder in MANAGERS:
        place = Path(os.environ.get(variable) or usual).expanduser() / folder
        found += sorted(map(str, (*place.glob(f"{version}.*/bin"), *place.glob(f"{version}/bin"))), reverse=True)
    return found


def _nearest(wanted: str) -> list[str]:
    """Return the other versions of Python, the nearest first; of two that are as near, the newer one."""
    minor = int(wanted.partition(".")[2])
    others = [number for number in range(OLDEST_MINOR, NEWEST_MINOR + 1) if number != minor]
    return [f"3.{number}" for number in sorted(others, key=lambda number: (abs(number - minor), -number))]


def _environment() -> dict[str, str]:
    """Return the variables for uv: the user's, since they say where packages are."""
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    for pips, uvs in PIPS.items():
        if environment.get(pips):
            environment.setdefault(uvs, environment[pips])
    return environment


def _end(lines: list[str]) -> str:
    # Warnings of Pythons that uv has looked at are not what it failed of.
    told = [line for line in lines if not line.startswith("warning:")]
    return "\n".join((told or lines)[-LAST_LINES:])
