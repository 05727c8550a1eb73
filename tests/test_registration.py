"""One version in the registry for each run: an upload that Google still works on is waited for, not made again.

The emulator's uploads are over at once, so a registry that takes its time stands for Google's.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.serving_choice import ContainerSpec
from edge_tasks.errors import CloudError
from edge_tasks.releases.model_upload import ModelUpload, register
from edge_tasks.repo.edge_yaml import load_config
from tests.buckets import bucket, emptied


@dataclass
class SlowRegistry:
    """Google's model registry with one model.

    Its uploads last as long as it is `working`; the first `failed` ones fail.
    """

    uploads: list[dict[str, Any]] = field(default_factory=list)
    working: bool = True
    failed: int = 0
    forgets: bool = False

    def let_go(self) -> None:
        """End what was started, and all that comes."""
        self.working = False

    @property
    def versions(self) -> list[dict[str, Any]]:
        done = [] if self.working else self.uploads[self.failed :]
        name = "projects/1/locations/us-central1/models/m"
        return [{**upload["model"], "name": name, "versionId": str(i)} for i, upload in enumerate(done, 1)]

    def answer(self, address: str, body: bytes) -> tuple[int, dict[str, Any]]:
        path, _, query = unquote(address).partition("?")
        if path.endswith("/models:upload"):
            self.uploads.append(json.loads(body))
            return self._operation(len(self.uploads))
        if "/operations/" in path:
            return self._operation(int(path.rpartition("/")[2]))
        if path.endswith(":listVersions"):
            wanted = parse_qs(query)["filter"][0]
            return 200, {
                "models": [v for v in self.versions if f'labels.edge-run="{v["labels"]["edge-run"]}"' == wanted]
            }
        found = self.versions[int(path.rpartition("@")[2]) - 1 :] if "@" in path else self.versions
        return (200, found[0]) if found else (404, {"error": {"code": 404, "message": "no such model"}})

    def _operation(self, number: int) -> tuple[int, dict[str, Any]]:
        operation = {"name": f"projects/1/locations/us-central1/models/m/operations/{number}"}
        if self.forgets:
            return 404, {"error": {"code": 404, "message": "no such operation"}}
        if number <= self.failed:
            return 200, {**operation, "done": True, "error": {"code": 8, "message": "no quota"}}
        if self.working:
            return 200, operation
        answer = {"model": self.versions[number - 1 - self.failed]["name"], "modelVersionId": str(number - self.failed)}
        response = {"@type": "type.googleapis.com/google.cloud.aiplatform.v1.UploadModelResponse", **answer}
        return 200, {**operation, "done": True, "response": response}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bucket(tmp_path_factory.mktemp("registration")) as root:
        yield root


@pytest.fixture
def google() -> Iterator[tuple[SlowRegistry, str]]:
    """A slow registry, and its address."""
    registry = SlowRegistry()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = registry.answer(self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle  # noqa: N815  the base class wants these names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass
class Command:
    """One command that registers the model of a run."""

    cloud: Cloud
    config: EdgeConfig

    def register(self, run_id: str = "run-1") -> str:
        wanted = ModelUpload(
            "digits", run_id, "gs://my-bucket/artifact", {"edge-run": run_id}, "", ContainerSpec("image")
        )
        return register(self.cloud, self.config, wanted, Silence()).version

    def interrupted(self) -> None:
        """Register, and press Ctrl-C while Google works on it."""
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        try:
            with pytest.raises(KeyboardInterrupt):
                self.register()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@pytest.fixture
def command(root: Path, google: tuple[SlowRegistry, str]) -> Iterator[Command]:
    config = load_config(root, {})
    with emptied(connect(config, root)) as cloud:
        yield Command(replace(cloud, vertex_url=google[1]), config)


@pytest.fixture
def registry(google: tuple[SlowRegistry, str]) -> SlowRegistry:
    return google[0]


@pytest.mark.slow
def test_an_upload_that_goes_on_is_waited_for(command: Command, registry: SlowRegistry) -> None:
    command.interrupted()
    threading.Timer(0.5, registry.let_go).start()
    assert command.register() == "1"
    assert len(registry.uploads) == 1


@pytest.mark.slow
def test_an_upload_that_ended_meanwhile_is_found(command: Command, registry: SlowRegistry) -> None:
    command.interrupted()
    registry.let_go()
    assert command.register() == "1"
    registry.forgets = True
    assert command.register() == "1"
    assert len(registry.uploads) == 1


@pytest.mark.slow
def test_several_who_register_the_same_run_get_the_same_version(command: Command, registry: SlowRegistry) -> None:
    threading.Timer(2.0, registry.let_go).start()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: command.register(), range(4))) == {"1"}
    assert len(registry.uploads) == 1


def test_an_upload_that_failed_is_begun_anew(command: Command, registry: SlowRegistry) -> None:
    registry.failed = 1
    with pytest.raises(CloudError, match="but it failed: no quota"):
        command.register()
    registry.let_go()
    assert command.register() == "1"


@pytest.mark.slow
def test_an_upload_that_google_forgot_without_a_version_is_begun_anew(command: Command, registry: SlowRegistry) -> None:
    command.interrupted()
    registry.forgets = True
    with pytest.raises(CloudError):
        command.register()
    assert len(registry.uploads) == 2


def test_another_run_is_another_version(command: Command, registry: SlowRegistry) -> None:
    registry.let_go()
    assert command.register("run-1") == "1"
    assert command.register("run-2") == "2"
    assert command.register("run-1") == "1"
    assert ["parentModel" in upload for upload in registry.uploads] == [False, True]
