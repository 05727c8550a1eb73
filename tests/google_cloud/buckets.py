"""Cloud Storage as target gcp meets it: buckets have owners, a place and settings. The emulator keeps the objects.

The emulator lets everybody do everything, so bucket requests are answered here, by
https://cloud.google.com/storage/docs/json_api/v1/buckets, and all others are passed on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

BUCKETS = "/storage/v1/b"


@dataclass
class Buckets:
    """The buckets by name; of those in `taken` nothing may be seen."""

    storage_url: str
    url: str = ""
    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    # Buckets of which only the objects may be used, as with roles/storage.objectAdmin.
    objects_only: set[str] = field(default_factory=set)
    # Buckets that are made while the answer gets lost: 503 once.
    lose_answer: bool = False

    def answer(self, method: str, name: str, body: Any) -> tuple[int, Any] | None:
        """Answer a request about a bucket, or return None to pass it on."""
        if name in self.taken:
            return (409, _error(409, "The requested bucket name is not available.")) if method == "POST" else _denied()
        if method == "POST" and name in self.buckets:
            return 409, _error(
                409, "Your previous request to create the named bucket succeeded and you already own it."
            )
        if method == "POST":
            self.buckets[name] = {"kind": "storage#bucket", "name": name, "metageneration": "1", **body}
            return None
        if name in self.objects_only:
            return _denied()
        if name not in self.buckets:
            return 404, _error(404, "The specified bucket does not exist.")
        return 200, self.buckets[name]


def _denied() -> tuple[int, Any]:
    return 403, _error(
        403, "ada@example.com does not have storage.buckets.get access to the Google Cloud Storage bucket."
    )


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "errors": [{"message": message}]}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    buckets: Buckets

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        answered = None
        if path == BUCKETS and self.command == "POST":
            settings = json.loads(body)
            answered = self.buckets.answer("POST", settings["name"], settings)
            lost, self.buckets.lose_answer = self.buckets.lose_answer, False
            if answered is None and lost:
                self._pass_on(body)
                answered = 503, _error(503, "Service unavailable.")
        elif path.startswith(f"{BUCKETS}/"):
            name, _, rest = path.removeprefix(f"{BUCKETS}/").partition("/")
            if not rest:
                answered = self.buckets.answer(self.command, name, None)
            elif name in self.buckets.taken:
                answered = _denied()
        status, headers, content = self._pass_on(body) if answered is None else _json(*answered)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815  the base class wants these names

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        host = self.buckets.storage_url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=60)
        headers = _end_to_end(self.headers.items())
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, {**headers, "Host": host})
            response = connection.getresponse()
            return response.status, _end_to_end(response.headers.items()), response.read()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "date", "server"}


def _end_to_end(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _HOP_BY_HOP}


def _json(status: int, value: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextlib.contextmanager
def serve(storage_url: str) -> Iterator[Buckets]:
    """Answer for the block on a free port of this machine."""
    buckets = Buckets(storage_url)
    handler = type("Handler", (_Handler,), {"buckets": buckets})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    buckets.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield buckets
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
