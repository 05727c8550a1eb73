"""Whether a region has a machine type is asked of Compute Engine, which may know nothing or not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud.client import Cloud
from edge_tasks.errors import ConfigError
from edge_tasks.releases.preflight import check_region

KEY = "models.m.serving_machine_type"
# As Google answers: every zone is named, those without such a machine with a warning.
ITEMS = {
    "zones/europe-west1-b": {"machineTypes": [{"name": "n1-standard-4"}]},
    "zones/europe-west4-a": {"machineTypes": [{"name": "n1-standard-4"}]},
    "zones/us-central1-a": {"machineTypes": [{"name": "n1-standard-4"}]},
    "zones/europe-west12-c": {"warning": {"code": "NO_RESULTS_ON_PAGE"}},
}


@contextmanager
def compute(status: int, answer: Any) -> Iterator[tuple[str, list[str]]]:
    """Answer every request so; give the address, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def cloud(region: str, url: str | None) -> Cloud:
    return Cloud(
        project="my-project", region=region, bucket_name="b", vertex_url="", logging_url="", storage_url=None,
        credentials=AnonymousCredentials(), console_url=None, compute_url=url,
    )  # fmt: skip


def test_a_machine_that_the_region_has_passes() -> None:
    with compute(200, {"items": ITEMS}) as (url, asked):
        check_region(cloud("europe-west1", url), KEY, "n1-standard-4")
    (path,) = asked
    assert urlsplit(path).path == "/compute/v1/projects/my-project/aggregated/machineTypes"
    assert parse_qs(urlsplit(path).query)["filter"] == ['name="n1-standard-4"']


def test_a_machine_that_the_region_does_not_have_is_refused_with_where_it_is() -> None:
    with compute(200, {"items": ITEMS}) as (url, _), pytest.raises(ConfigError) as caught:
        check_region(cloud("europe-west12", url), KEY, "n1-standard-4")
    assert caught.value.problem == f"`{KEY}` is `n1-standard-4`, which the region europe-west12 does not have"
    assert caught.value.hint == "choose another machine type; n1-standard-4 is in europe-west1, europe-west4"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, {"error": {"message": "Compute Engine API has not been used in project 4711 before or it is disabled."}}),
        (500, {}),
        (200, []),
        (200, {}),
        (200, {"items": {"zones/us-central1-a": {}}, "nextPageToken": "more"}),
    ],
)
def test_nothing_is_said_where_google_does_not_tell(status: int, answer: Any) -> None:
    with compute(status, answer) as (url, _):
        check_region(cloud("europe-west12", url), KEY, "n1-standard-4")


def test_nothing_is_said_without_an_answer_or_without_google() -> None:
    check_region(cloud("europe-west12", "http://127.0.0.1:9"), KEY, "n1-standard-4")
    check_region(cloud("europe-west12", None), KEY, "n1-standard-4")
