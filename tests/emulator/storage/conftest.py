"""Google's client, connected to the emulator as any program connects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from tests.emulator.harness import Emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Any]:
    from google.cloud import storage  # type: ignore[attr-defined,import-untyped,unused-ignore]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", emulator.storage_url)
        client = storage.Client(project="my-project", credentials=AnonymousCredentials())
        yield client
        client.close()


@pytest.fixture
def place(client: Any, bucket: str) -> Any:
    """An empty bucket, as the client has it."""
    return client.bucket(bucket)
