"""The model server as a process, as a container runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Running:
    """A server that was started; it may not be ready yet."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """Return status and JSON of an answer; `body` is posted as JSON, bytes as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def predict(self, *instances: Any, **parameters: Any) -> Any:
        """Return the predictions for instances, or the error."""
        status, answer = self.ask("/predict", {"instances": list(instances), "parameters": parameters or None})
        return answer["predictions"] if status == 200 else answer["error"]

    def health(self) -> int:
        """Return the status of the health route; 0 while nobody listens."""
        try:
            return self.ask("/health")[0]
        except OSError:
            return 0

    def wait_until_ready(self) -> None:
        """Wait until it is healthy."""
        deadline = time.monotonic() + 60
        while self.health() != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(artifacts: Path | str, folder: Path, **environment: str) -> Iterator[Running]:
    """Start the server for an artifact; it is ended afterwards."""
    port, log = free_port(), folder / "server.log"
    variables = {
        **os.environ,
        "AIP_STORAGE_URI": str(artifacts),
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/predict",
        "EDGE_SERVING_HOST": "127.0.0.1",
        **environment,
    }
    with log.open("w") as output:
        command = [sys.executable, "-m", "edge_tasks.serving"]
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            yield Running(process, port, log)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


@contextmanager
def ready(artifacts: Path | str, folder: Path, **environment: str) -> Iterator[Running]:
    """Start the server for an artifact, and wait until it is ready."""
    with started(artifacts, folder, **environment) as server:
        server.wait_until_ready()
        yield server
