"""Other servers of scikit-learn models, each in its own virtual environment that is thrown away."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.load import Target

# pip installs as it does for the caller, whose environment is replaced afterwards.
_CALLER = dict(os.environ)
# The very model is served, by the very library that it was made with.
SAME = [f"{name}=={version(name)}" for name in ("scikit-learn", "joblib", "numpy", "scipy")]

BENTO = """import bentoml
import joblib
import numpy as np


@bentoml.service
class Digits:
    def __init__(self):
        self.model = joblib.load({model!r})

    @bentoml.api
    def predict(self, instances: list[list[float]]) -> list[int]:
        return self.model.predict(np.asarray(instances)).tolist()
"""
SAVE = "import joblib, mlflow.sklearn; mlflow.sklearn.save_model(joblib.load({model!r}), {folder!r})"


class PeerError(Exception):
    """A peer that cannot be had here."""


@dataclass(frozen=True)
class Subject:
    """What every server gets: the model's file, and a row to predict for."""

    model: Path
    row: Any


@dataclass(frozen=True)
class Plan:
    """How a server is started, and what it is asked."""

    command: list[str]
    target: Target
    folder: Path


@dataclass(frozen=True)
class Program:
    """A server that others have made."""

    name: str
    packages: list[str]
    plan: Callable[[Path, Path, Subject], Plan]

    def install(self, folder: Path, subject: Subject) -> Plan:
        """Install it below a folder; PeerError when that fails."""
        environment = folder / "venv"
        run_peer(sys.executable, "-m", "venv", str(environment))
        run_peer(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *self.packages, *SAME)
        work = folder / "work"
        work.mkdir()
        return self.plan(environment / "bin", work, subject)


def mlserver(programs: Path, folder: Path, model: Mapping[str, object], body: object) -> Plan:
    """Serve by MLServer what the settings of a model say."""
    port, *others = free_ports(3)
    # Without workers: a small model is served faster in the process itself.
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": others[0], "metrics_port": others[1]}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0}))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return Plan(
        [str(programs / "mlserver"), "start", "."], target(port, f"/v2/models/{model['name']}/infer", body), folder
    )


def mlflow(programs: Path, folder: Path, save: str, model: Path, body: object) -> Plan:
    """Serve by MLflow a model that `save`, a program with places for `model` and `folder`, has saved."""
    saved = folder / "model"
    run_peer(str(programs / "python"), "-c", save.format(model=str(model), folder=str(saved)))
    (port,) = free_ports(1)
    command = [str(programs / "mlflow"), "models", "serve", "-m", str(saved), "--env-manager", "local"]
    return Plan([*command, "-p", str(port)], target(port, "/invocations", body), folder)


def bentoml(programs: Path, folder: Path, source: str, service: str, body: object) -> Plan:
    """Serve by BentoML a service with its source."""
    (folder / "service.py").write_text(source)
    (port,) = free_ports(1)
    command = [str(programs / "bentoml"), "serve", f"service:{service}", "-p", str(port), "--host", "127.0.0.1"]
    return Plan(command, target(port, "/predict", body), folder)


def target(port: int, path: str, body: object) -> Target:
    """Return a path of a server here, and what it is asked."""
    return Target(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())


def _mlserver(programs: Path, folder: Path, subject: Subject) -> Plan:
    uri = {"uri": str(subject.model)}
    model = {"name": "digits", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": uri}
    rows = {"name": "rows", "shape": [1, len(subject.row)], "datatype": "FP64", "data": subject.row}
    return mlserver(programs, folder, model, {"inputs": [rows]})


def _mlflow(programs: Path, folder: Path, subject: Subject) -> Plan:
    return mlflow(programs, folder, SAVE, subject.model, {"inputs": [subject.row]})


def _bentoml(programs: Path, folder: Path, subject: Subject) -> Plan:
    source = BENTO.format(model=str(subject.model))
    return bentoml(programs, folder, source, "Digits", {"instances": [subject.row]})


PROGRAMS = (
    # MLServer 1.7 does not start with a newer uvloop: https://github.com/MagicStack/uvloop/releases/tag/v0.22.0.
    Program("MLServer", ["mlserver", "mlserver-sklearn", "uvloop<0.22"], _mlserver),
    Program("mlflow models serve", ["mlflow"], _mlflow),
    Program("BentoML", ["bentoml"], _bentoml),
)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def peer_environment() -> dict[str, str]:
    """Return the caller's environment, with bytecode: what peers run in."""
    return {key: value for key, value in _CALLER.items() if key != "PYTHONDONTWRITEBYTECODE"}


def run_peer(*command: str, folder: Path | None = None) -> None:
    """Run a peer's command with the caller's environment; PeerError when it fails."""
    result = subprocess.run(command, cwd=folder, env=peer_environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise PeerError(f"{Path(command[0]).name} {' '.join(command[1:4])}: {lines[-1] if lines else 'no output'}")
