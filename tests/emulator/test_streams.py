"""StreamRawPredict: what a model answers is passed on as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulator.docker_engine import IMAGE
from tests.emulator.harness import PATIENCE, Emulator, eventually

SERVER = """
import http.server, json, os, pathlib, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = os.environ.get("PROTOCOL", "HTTP/1.1")

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(asked.get("status", 200))
        self.send_header("Content-Type", "text/event-stream")
        if self.protocol_version == "HTTP/1.1":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for step in asked["steps"]:
            if step == "die":
                os._exit(1)
            elif step.startswith("wait for "):
                while not pathlib.Path(step[9:]).exists():
                    time.sleep(0.01)
            elif step.startswith("until gone "):
                try:
                    while True:
                        self.write(b"x" * 1000)
                except OSError:
                    pathlib.Path(step[11:]).touch()
                    return
            else:
                self.write(step.encode())
        if self.protocol_version == "HTTP/1.1":
            self.wfile.write(b"0\\r\\n\\r\\n")

    def write(self, data):
        chunked = self.protocol_version == "HTTP/1.1"
        self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(data), data) if chunked else data)

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""


def serve(running: Emulator, protocol: str = "HTTP/1.1", **endpoint: Any) -> str:
    """Deploy the server on a new endpoint and return the address that streams."""
    environment = [{"name": "PROTOCOL", "value": protocol}]
    spec = {"imageUri": IMAGE, "command": ["python3", "-c", SERVER], "env": environment}
    name = running.create_endpoint(**endpoint)
    running.deployed(name, running.upload(None, model={"containerSpec": spec}))
    return f"{running.url}/v1/{name}:streamRawPredict"


@contextmanager
def stream(url: str, *steps: str, **asked: Any) -> Iterator[requests.Response]:
    with requests.post(url, json={"steps": steps, **asked}, stream=True, timeout=PATIENCE) as response:
        yield response


def test_each_chunk_comes_before_the_next_is_made(running: Emulator, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with stream(serve(running), "one", f"wait for {go}", "two") as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream")
        assert response.headers["X-Vertex-AI-Model-Version-Id"] == "1"
        chunks = response.iter_content(None)
        assert next(chunks) == b"one"
        go.touch()
        assert list(chunks) == [b"two"]


def test_an_answer_may_end_with_its_connection(running: Emulator) -> None:
    with stream(serve(running, "HTTP/1.0"), "one", "two") as response:
        assert response.content == b"onetwo"


def test_a_model_is_told_that_its_reader_has_gone(running: Emulator, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with stream(serve(running), f"until gone {gone}") as response:
        assert next(response.iter_content(10)) == b"x" * 10
    eventually(gone.exists, "the connection to the model is closed")


def test_a_stream_that_breaks_off_has_no_end(running: Emulator) -> None:
    url = serve(running)
    with (
        stream(url, "one", "die") as response,
        pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)),
    ):
        assert response.status_code == 200
        response.content  # noqa: B018
    with stream(url, "again") as response:
        assert response.content == b"again"


def test_a_model_that_refuses_or_says_nothing_is_an_error_of_the_api(running: Emulator, tmp_path: Path) -> None:
    url = serve(running, clientConnectionConfig={"inferenceTimeout": "1s"})
    for status, code, message, steps in [
        (400, 400, "Prediction failed: bad", ("bad",)),
        (503, 503, "busy", ("busy",)),
        (500, 504, "The model did not answer within 1 s.", (f"wait for {tmp_path / 'never'}",)),
    ]:
        with stream(url, *steps, status=status) as response:
            assert (response.status_code, response.json()["error"]["message"]) == (code, message)


def test_a_stream_that_stands_still_breaks_off(running: Emulator, tmp_path: Path) -> None:
    url = serve(running, clientConnectionConfig={"inferenceTimeout": "1s"})
    with (
        stream(url, "one", f"wait for {tmp_path / 'never'}") as response,
        pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)),
    ):
        list(response.iter_content(None))


def test_the_client_of_the_api_gets_a_message_for_each_chunk(running: Emulator, tmp_path: Path) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import PredictionServiceClient

    go = tmp_path / "go"
    endpoint = serve(running).partition("/v1/")[2].partition(":")[0]
    client = PredictionServiceClient(
        credentials=AnonymousCredentials(), transport="rest", client_options={"api_endpoint": running.url}
    )
    body = {
        "content_type": "application/json",
        "data": json.dumps({"steps": ["one", f"wait for {go}", "two"]}).encode(),
    }
    found = client.stream_raw_predict({"endpoint": endpoint, "http_body": body})
    go.touch()
    assert [(message.content_type, message.data) for message in found] == [
        ("text/event-stream", b"one"),
        ("text/event-stream", b"two"),
    ]
