"""A server that takes a connection and says nothing holds up no call, no matter which code makes it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud import client
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import NoAnswerError
from tests import threads
from tests.json_service import Asked, served

NAME = "projects/my-project/locations/europe-west1/models/1"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A cloud whose server never answers, and limits that a test can wait for."""
    monkeypatch.setattr(client, "CALL_TIMEOUT", 0.3)
    monkeypatch.setattr(client, "RETRY_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield Cloud(
            project="my-project",
            region="europe-west1",
            bucket_name="my-bucket",
            vertex_url=url,
            logging_url=url,
            storage_url=url,
            credentials=AnonymousCredentials(),
            console_url=None,
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda cloud: cloud.models.get_model(name=NAME),
        lambda cloud: list(cloud.jobs.list_custom_jobs(parent=cloud.parent)),
        lambda cloud: cloud.endpoints.get_operation(request={"name": f"{NAME}/operations/1"}),
        lambda cloud: cloud.metadata.get_metadata_store(name=f"{cloud.parent}/metadataStores/default"),
        lambda cloud: cloud.session.get(f"{cloud.vertex_url}/v1/{NAME}"),
        lambda cloud: cloud.objects.read("an/object"),
        lambda cloud: cloud.objects.write("an/object", b"content", generation=0),
        lambda cloud: list(cloud.objects.list("an/")),
        lambda cloud: cloud.objects.delete("an/object"),
    ],
)
def test_no_call_waits_for_ever(silent: Cloud, call: Callable[[Cloud], Any]) -> None:
    started = time.monotonic()
    with pytest.raises(NoAnswerError), sdk_errors("ask"):
        call(silent)
    assert time.monotonic() - started < 20


def test_a_read_asks_for_the_object_and_for_nothing_else(silent: Cloud) -> None:
    asked = []

    def answer(request: Asked) -> tuple[int, Any]:
        asked.append(request.path)
        return 200, b"content"

    with served(answer) as url:
        before = threading.enumerate()
        assert replace(silent, storage_url=url).objects.read("an/object") == b"content"
        threads.wait_for_the_end_of([thread for thread in threading.enumerate() if thread not in before])
    assert asked == ["/download/storage/v1/b/my-bucket/o/an%2Fobject"]


def test_a_call_may_have_another_limit(silent: Cloud) -> None:
    with pytest.raises(NoAnswerError), sdk_errors("ask"):
        silent.models.get_model(name=NAME, timeout=0.01)
