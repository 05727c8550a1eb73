"""The repository's own web services: a folder services/NAME with an `app.py`, and in that an ASGI application `app`.

A service asks a deployed model's endpoint through Google's SDK. Its environment leads it there: ENDPOINT_NAME is the
endpoint's resource name, and the other variables lead Google's clients to the target.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from edge_tasks.cloud.client import Cloud, client_environment
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import ConfigError, ServerError
from edge_tasks.models.predictions import endpoint_name
from edge_tasks.repo import layout

ENDPOINT_VARIABLE = "ENDPOINT_NAME"
HOST = "127.0.0.1"

_SERVER = "uvicorn"


@dataclass(frozen=True)
class Service:
    """A service, ready to be run: the command and the whole environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str

    def run(self) -> None:
        """Become the service. Does not return: this process is its process from here on."""
        os.execve(self.command[0], self.command, dict(self.environment))  # noqa: S606  (no shell is wanted)


def prepare(root: Path, config: EdgeConfig, cloud: Cloud, name: str | None, model: str | None, port: int) -> Service:
    """Check all that the service `name` needs to run, and return it; without a name it is the only one.

    Raises ConfigError when there is no such service, or several models and none is named, NotFoundError when the model
    is not deployed, and ServerError when packages are missing or the port is taken.
    """
    folder = _folder(root, name)
    _check_model_is_told(config, model)
    _check_requirements(root, folder)
    _check_port(port)
    model, _ = config.model(model)
    environment = {**os.environ, ENDPOINT_VARIABLE: endpoint_name(cloud, model)}
    for variable, value in client_environment(config, root).items():
        inherited = environment.get(variable) if variable == "PYTHONPATH" else None
        environment[variable] = f"{value}{os.pathsep}{inherited}" if inherited else value
    command = (sys.executable, "-m", _SERVER, "app:app", "--app-dir", str(folder), "--host", HOST, "--port", str(port))
    return Service(folder.name, command, environment, f"http://{HOST}:{port}")


def _folder(root: Path, name: str | None) -> Path:
    names = layout.service_names(root)
    known = ", ".join(f"`{name}`" for name in names)
    if not names:
        raise ConfigError(
            "there are no services here", "write one: services/NAME/app.py, with an ASGI application `app`"
        )
    if name is None and len(names) > 1:
        raise ConfigError(f"there are several services: {known}", "add `--name NAME`")
    if name is not None and name not in names:
        raise ConfigError(f"there is no service `{name}`; there are {known}", f"--name {names[0]}")
    return layout.services_folder(root) / (name or names[0])


def _check_model_is_told(config: EdgeConfig, model: str | None) -> None:
    if model is None and len(config.models) > 1:
        known = ", ".join(f"`{name}`" for name in config.models)
        raise ConfigError(f"there are several models: {known}", "say which one the service asks: `--model NAME`")


def _check_requirements(root: Path, folder: Path) -> None:
    file = folder / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    wanted = [line.partition("#")[0].strip() for line in (*lines, _SERVER)]
    missing = [requirement for requirement in wanted if not _is_installed(requirement)]
    if missing:
        hint = f"pip install -r {file.relative_to(root)}" if lines else f"pip install {_SERVER}"
        raise ServerError(f"the service needs packages that are not installed: {', '.join(missing)}", hint)


def _is_installed(requirement: str) -> bool:
    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:  # an empty line, or an option of pip
        return True
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    try:
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _check_port(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            problem = getattr(error, "strerror", None) or error
            raise ServerError(
                f"the service cannot listen on port {port}: {problem}", "choose another: `--port 8001`"
            ) from None
