"""The loop that people go round all day, compared with MLflow's: change a parameter, train, serve, ask.

MLflow's is what its documentation shows: a script that trains and calls `log_model`, `mlflow models serve` of what it
logged, and a request: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/. It versions no data, and has
no job and no lock; what is compared is how long people wait.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.laboratory import Laboratory
from benchmarks.load import Target, answer
from benchmarks.peers import SAME, PeerError, free_ports, peer_environment, run_peer
from benchmarks.row import Peer, RatioRow, Row
from benchmarks.sample import Sample, timed

ROUNDS = 5
# How much of MLflow's time the whole loop may take.
AT_MOST = 0.5
SECONDS_TO_ANSWER = 60.0
STEPS = {"dvc repro": ("dvc", "repro"), "invoke model.deploy": ("invoke", "model.deploy")}

# The digits as the example has them, with a parameter that changes.
MLFLOW_TRAINING = """\
import sys
import mlflow
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
with mlflow.start_run():
    mlflow.log_param("C", float(sys.argv[1]))
    model = SVC(C=float(sys.argv[1]), gamma=0.001).fit(x_train, y_train)
    predicted = model.predict(x_test)
    mlflow.log_metric("accuracy", accuracy_score(y_test, predicted))
    mlflow.log_metric("f1", f1_score(y_test, predicted, average="macro"))
    print(mlflow.sklearn.log_model(model, name="model").model_uri)
"""


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Go round both loops by turns, with a parameter that no round had before; then say where our time goes."""
    laboratory.deployed()
    with tempfile.TemporaryDirectory(prefix="edge-mlflow-", dir=laboratory.folder) as name:
        try:
            peer: _MLflow | None = _MLflow(Path(name))
        except PeerError as error:
            print(f"  mlflow is left out: {error}", file=sys.stderr)
            peer = None
        steps: dict[str, list[float]] = {step: [] for step in (*STEPS, "test_endpoint.sh")}
        theirs: list[float] = []
        for number in range(ROUNDS + 1):  # the first one warms up
            parameter = 5 + number / 10
            taken = _round(laboratory, parameter)
            others = timed(lambda parameter=parameter: peer.loop(parameter)) if peer else 0.0  # type: ignore[misc]
            if number:
                theirs.append(others)
                for step, took in taken.items():
                    steps[step].append(took)
    whole = Sample(tuple(map(sum, zip(*steps.values(), strict=True))))
    what = "a parameter changed, trained as a job, deployed, asked"
    if peer:
        yield RatioRow(what, whole, Peer("mlflow: train, log_model, serve, ask", Sample(tuple(theirs))), AT_MOST)
    else:
        yield Row(what, whole)
    for step, seconds in steps.items():
        yield Row(f"of it, {step}", Sample(tuple(seconds)))


def _round(laboratory: Laboratory, parameter: float) -> dict[str, float]:
    """Go round once; return what each step took, in seconds."""
    params = laboratory.repository / "models" / "digits" / "params.yaml"
    lines = [f"C: {parameter}" if line.startswith("C:") else line for line in params.read_text().splitlines()]
    params.write_text("\n".join(lines) + "\n", encoding="utf-8")
    taken = {step: timed(laboratory.runner(*command)) for step, command in STEPS.items()}
    taken["test_endpoint.sh"] = timed(laboratory.runner("./test_endpoint.sh", "digits"))
    return taken


class _MLflow:
    """MLflow in its own environment, with its default store in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "venv" / "bin"
        run_peer(sys.executable, "-m", "venv", str(folder / "venv"))
        run_peer(str(self._programs / "python"), "-m", "pip", "install", "--quiet", "mlflow", *SAME)

    def loop(self, parameter: float) -> None:
        """Train, log the model, serve it until it has answered once, and end the server."""
        training = [str(self._programs / "python"), "-c", MLFLOW_TRAINING, str(parameter)]
        uri = self._run(training).split()[-1]
        (port,) = free_ports(1)
        serve = [
            str(self._programs / "mlflow"),
            "models",
            "serve",
            "-m",
            uri,
            "--env-manager",
            "local",
            "-p",
            str(port),
        ]
        target = Target(f"http://127.0.0.1:{port}/invocations", json.dumps({"inputs": [[0.0] * 64]}).encode())
        with subprocess.Popen(serve, start_new_session=True, **self._options(subprocess.DEVNULL)) as server:
            try:
                self._ask(target, server)
            finally:
                os.killpg(server.pid, signal.SIGKILL)

    def _ask(self, target: Target, server: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while time.monotonic() < deadline and server.poll() is None:
            if answer(target):
                return
            time.sleep(0.02)
        raise PeerError("mlflow models serve did not answer")

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, check=False, **self._options(subprocess.PIPE))
        if done.returncode:
            raise PeerError(f"mlflow's training ended with {done.returncode}: {done.stderr}")
        return str(done.stdout)

    def _options(self, output: int) -> dict[str, Any]:
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        environment = {**peer_environment(), "PATH": path}
        return {"cwd": self._folder, "env": environment, "stdout": output, "stderr": output, "text": True}
