"""A repository whose target gcp leads to stand-ins: a gcloud with its own world, buckets with owners, our emulator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.tools import emulator_process
from tests.google_cloud.buckets import Buckets, serve
from tests.repositories import Repository, copy

PROJECT, REGION, BUCKET = "ada-project", "europe-west1", "ada-bucket"
STAND_INS = Path(__file__).parent

WORLD = {
    "account": "ada@example.com",
    "network": True,
    "configured_project": PROJECT,
    "projects": {
        PROJECT: {"number": "4711", "state": "ACTIVE", "billing": True, "services": ["storage.googleapis.com"]}
    },
}
# What `gcloud auth application-default login` writes.
CREDENTIALS = {"type": "authorized_user", "client_id": "id", "client_secret": "s3cret", "refresh_token": "t0ken"}


@dataclass
class Google:
    """A repository, and the Google Cloud that it meets."""

    repository: Repository
    buckets: Buckets

    @property
    def _world_file(self) -> Path:
        return Path(self.repository.environment["GCLOUD_WORLD"])

    @property
    def world(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self._world_file.read_text())
        return loaded

    def change(self, **changes: Any) -> None:
        """Change the world; keys of the project `ada-project` are told from the world's own."""
        world = self.world
        for key, value in changes.items():
            (world if key in world else world["projects"][PROJECT])[key] = value
        self._world_file.write_text(json.dumps(world))

    @property
    def credentials(self) -> Path:
        return Path(self.repository.environment["CLOUDSDK_CONFIG"], "application_default_credentials.json")

    def init(self, *flags: str, **keywords: Any) -> Any:
        """Run `invoke init --target gcp` with the project, region and bucket of the tests."""
        words = ["--target", "gcp", "--project", PROJECT, "--region", REGION]
        return self.repository.run("invoke", "init", *words, *(flags or ("--bucket", BUCKET, "--yes")), **keywords)


@pytest.fixture(scope="session")
def servers(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulator_process.Servers]:
    """One emulator that stands for Google in all these tests."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("google"))
    repository.run("invoke", "local.start")
    servers = emulator_process.running(repository.root)
    assert servers is not None
    yield servers
    emulator_process.stop(repository.root)


@pytest.fixture
def google(baked: dict[str, Path], tmp_path: Path, servers: emulator_process.Servers) -> Iterator[Google]:
    """A repository not initialised yet, on a machine where everything for Google Cloud is in order."""
    repository = copy(baked["hello-world"], tmp_path)
    world, config = tmp_path / "world.json", tmp_path / "gcloud"
    world.write_text(json.dumps(WORLD))
    config.mkdir()
    (config / "application_default_credentials.json").write_text(json.dumps(CREDENTIALS))
    with ExitStack() as stack:
        buckets = stack.enter_context(serve(servers.storage_url))
        environment = {
            **repository.environment,
            "PATH": f"{STAND_INS}{os.pathsep}{repository.environment['PATH']}",
            "GCLOUD_WORLD": str(world),
            "CLOUDSDK_CONFIG": str(config),
            "NO_GCE_CHECK": "true",
            "STORAGE_EMULATOR_HOST": buckets.url,
            "VERTEX_EMULATOR_URL": servers.vertex_url,
            # gcsfs asks over gRPC otherwise, which no emulator answers.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
        yield Google(replace(repository, environment=environment), buckets)
        _remove(servers, buckets.buckets)


def _remove(servers: emulator_process.Servers, names: Iterable[str]) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage  # type: ignore[attr-defined,unused-ignore]

    client = storage.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": servers.storage_url})
    for name in names:
        client.bucket(name).delete(force=True)
