"""The page and its JSON over HTTP, on 127.0.0.1 and for reading only.

    GET /                                        the page
    GET /page/NAME                               its scripts and styles
    GET /api/runs?since=REVISION                 the runs that changed since
    GET /api/runs/MODEL/ID?output_from=BYTE      one run
    GET /api/runs/MODEL/ID/files/NAME            one of its files

Python's own server is enough for the few browsers of one machine, and a repository without the extra `[local]` has it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from edge_tasks.dashboard.assets import asset_names, content_type, read_asset
from edge_tasks.dashboard.feed import Feed, to_json
from edge_tasks.dashboard.records import Records, details_document
from edge_tasks.errors import EdgeError, NotFoundError, ServerError

HOST = "127.0.0.1"
# Tried first, so that a page that is still open finds the next dashboard by itself.
USUAL_PORT = 8765

_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})

# Seconds for which a connection may be silent.
_SILENCE = 60.0

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class DashboardServer(ThreadingHTTPServer):
    """Listens once it is made. Raises ServerError when the port is taken."""

    daemon_threads = True

    def __init__(self, records: Records, port: int = USUAL_PORT):
        """Listen on `port`; 0, or the usual one when it is taken: on any that is free."""
        self.records = records
        self.feed = Feed(records)
        self._connections: set[socket.socket] = set()
        for candidate in (port, 0) if port == USUAL_PORT else (port,):
            with contextlib.suppress(OSError, OverflowError):
                super().__init__((HOST, candidate), _Handler)
                return
        raise ServerError(f"port {port} of this machine is taken or not allowed", "--port 0 takes a free one")

    def server_bind(self) -> None:
        """Bind without looking up the machine's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answer requests in the background while the block runs, then close."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def wait_for_ctrl_c(self) -> None:
        """Wait until the user has had enough."""
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; remember the connection, which a browser keeps open."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening and end the connections that browsers keep open."""
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a browser goes away in the middle of an answer."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def open_browser(url: str) -> None:
    """Open `url` for the user where there is a desktop; a browser in the terminal would be in the way of Ctrl-C."""
    import os
    import webbrowser

    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


class _Handler(BaseHTTPRequestHandler):
    server: DashboardServer
    protocol_version = "HTTP/1.1"
    server_version = "edge-dashboard"
    sys_version = ""
    timeout = _SILENCE

    def do_GET(self) -> None:
        """Answer a request for reading."""
        try:
            if refusal := self._refusal():
                self._send(403, "text/plain", refusal.encode())
                return
            url = urlsplit(self.path)
            self._answer(url.path, {key: values[-1] for key, values in parse_qs(url.query).items()})
        except NotFoundError as error:
            self._send(404, "text/plain", str(error).encode())
        except EdgeError as error:
            self._send(502, "text/plain", str(error).encode())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def _refuse_method(self) -> None:
        self.close_connection = True
        self._send(405, "text/plain", b"The dashboard is for reading only.", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse_method  # noqa: N815

    def _answer(self, path: str, query: dict[str, str]) -> None:
        records = self.server.records
        name = path.removeprefix("/page/")
        if path == "/":
            self._send(200, content_type("index.html"), read_asset("index.html"))
        elif path.startswith("/page/") and name in asset_names():
            self._send(200, content_type(name), read_asset(name))
        elif path == "/api/runs":
            self._send_json(self.server.feed.update(query.get("since", "")).json())
        elif match := re.fullmatch(r"/api/runs/([^/]+)/([^/]+)", path):
            model, run_id = map(unquote, match.groups())
            begin = re.fullmatch(r"[0-9]{1,18}", query.get("output_from", ""))
            details = records.details(model, run_id, int(begin[0]) if begin else 0)
            self._send_json(to_json(details_document(details)))
        elif match := re.fullmatch(r"/api/runs/([^/]+)/([^/]+)/files/([^/]+)", path):
            model, run_id, name = map(unquote, match.groups())
            self._send_json(to_json({"text": records.file(model, run_id, name)}))
        else:
            raise NotFoundError("there is no such page")

    def _refusal(self) -> str | None:
        """Say why a request is refused that another web page in the user's browser could have sent, or None."""
        host = self.headers.get("Host", "")
        name, _, port = host.partition(":")
        if name.lower() not in _LOCAL_NAMES or port != str(self.server.server_port):
            return "The Host header is refused: use the address that the dashboard printed."
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            return "Requests of other web pages are refused."
        if self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return "Requests of other web pages are refused."
        return None

    def _send_json(self, text: str) -> None:
        self._send(200, "application/json", text.encode())

    def _send(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of what is overridden
        """Say nothing on stderr."""
