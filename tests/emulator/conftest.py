"""Fixtures: a real emulator as a separate process, one for each test worker, and the SDK connected to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.docker_engine import Engine
from tests.emulator.harness import Emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator that most tests of a worker share."""
    running = Emulator(tmp_path_factory.mktemp("emulator"))
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log_text(), running.log_text()


@pytest.fixture
def not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulators are started by their command, as users start them; else they are forked: see tests/forking."""
    monkeypatch.setenv("EDGE_TESTS_FORK", "no")


@pytest.fixture
def own_emulator(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Starts emulators that a test may end as it likes."""
    started: list[Emulator] = []

    def start(data: Path | None = None, *arguments: str, **options: Any) -> Emulator:
        started.append(Emulator(data or tmp_path / "data", *arguments, **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator whose clock nobody else reads."""
    emulator = Emulator(tmp_path_factory.mktemp("clocked") / "data")
    yield emulator
    assert emulator.stop() == 0
    assert "Traceback" not in emulator.log_text(), emulator.log_text()


@pytest.fixture
def without_docker(own_emulator: Callable[..., Emulator]) -> Emulator:
    """An emulator that reaches no engine, whatever this machine has."""
    return own_emulator(environment={"DOCKER_HOST": "unix:///nowhere"})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = Engine(tmp_path)
    yield found
    assert found.pids() == []


@pytest.fixture
def running(own_emulator: Callable[..., Emulator], engine: Engine) -> Iterator[Emulator]:
    emulator = own_emulator(environment=engine.environment)
    yield emulator
    if emulator.process.poll() is None:
        emulator.stop()


@pytest.fixture
def bucket(emulator: Emulator) -> str:
    return emulator.new_bucket()


@pytest.fixture(scope="session")
def _storage_host(emulator: Emulator) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", emulator.storage_url)
        yield


@pytest.fixture
def aiplatform(emulator: Emulator, bucket: str, _storage_host: None) -> Any:
    """The real SDK, connected as any client connects."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    aiplatform.init(
        project="test-project",
        location="us-central1",
        api_endpoint=emulator.url,
        api_transport="rest",
        credentials=AnonymousCredentials(),
        staging_bucket=f"gs://{bucket}",
    )
    return aiplatform
