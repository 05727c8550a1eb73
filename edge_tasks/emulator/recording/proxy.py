"""A proxy on 127.0.0.1 that passes requests on to Vertex AI, and writes down what was said."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.http import guard
from edge_tasks.emulator.recording.exchange import Exchange
from edge_tasks.emulator.recording.redaction import Redactor

SECONDS_TO_WAIT = 300.0
# Those of one connection, which are not passed on.
OF_THE_CONNECTION = frozenset(
    {"connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding", "accept-encoding"}
)


class Proxy:
    """Passes on what comes to `url`, until it is closed. The file grows by a line for each answer."""

    def __init__(self, target: str, output: Path, port: int = 0) -> None:
        self._redactor = Redactor()
        self._lock = threading.Lock()
        self._file = output.open("x", encoding="utf-8")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                proxy.answer(self, target)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer  # noqa: N815  (the names of the base class)

            def log_message(self, *_: Any) -> None:
                """Say nothing: what was asked is in the file."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except BaseException:
            self._file.close()
            output.unlink()
            raise
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        """Answer until `close` is called."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Answer no more, and end the file."""
        self._server.shutdown()
        self._server.server_close()
        self._file.close()

    def answer(self, handler: BaseHTTPRequestHandler, target: str) -> None:
        """Pass one request on, and its answer back; only an answer of the API is written down."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        try:
            # A page in a browser must not act in somebody's project.
            guard.check(headers)
        except ApiError as error:
            _send(handler, error.code.http_status, "text/plain", error.message.encode())
            return
        passed = {name: value for name, value in headers.items() if name not in OF_THE_CONNECTION}
        try:
            reply = requests.request(
                handler.command, f"{target}{handler.path}", data=body, headers=passed, timeout=SECONDS_TO_WAIT
            )
        except requests.RequestException as error:
            _send(handler, 502, "text/plain", f"{target} does not answer: {error}".encode())
            return
        self._write(handler, body, reply)
        _send(handler, reply.status_code, reply.headers.get("Content-Type", "application/json"), reply.content)

    def _write(self, handler: BaseHTTPRequestHandler, body: bytes, reply: requests.Response) -> None:
        path, _, query = handler.path.partition("?")
        with self._lock:
            redactor = self._redactor
            path = redactor.text(path)
            exchange = Exchange(
                handler.command,
                path,
                redactor.query(query),
                redactor.value(_json(body)),
                reply.status_code,
                redactor.value(_json(reply.content)),
            )
            self._file.write(exchange.line())
            self._file.flush()


def _send(handler: BaseHTTPRequestHandler, status: int, content_type: str, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
