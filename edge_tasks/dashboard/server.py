"""The page and its JSON over HTTP, on 127.0.0.1; in an image of Cloud Run, which lets nobody else in, for others.

    GET /                                        the page
    GET /page/NAME                               its scripts and styles
    GET /api/runs?since=REVISION                 the runs that changed since
    GET /api/runs/MODEL/ID?output_from=BYTE      one run
    GET /api/runs/MODEL/ID/files/NAME            one of its source files
    GET /api/runs/MODEL/ID/plots/NAME            one of its plots; attachments/NAME: one of Sacred's artifacts
    GET /api/loop/SECTION                        models, endpoints, jobs, pipelines, monitoring
    GET /api/jobs/ID/log?first=LINE              what a job has printed since
    GET /api/models/NAME/WHAT                    watched (drift), drifts (of each version), traffic, form (of a request)
    GET /api/views                               the views that the team has saved
    GET /files/runs/MODEL/ID/artifact/PATH       a file of its model, to be saved; plots/NAME, attachments/NAME, too
    PATCH, DELETE /api/runs/MODEL/ID             name, notes and tags of a run; the run itself
    POST /api/models/NAME/predict                asks the endpoint; explain instead of predict: with an explanation
    POST /api/views; DELETE /api/views/NAME      saves a view for the team; removes one

Who changes or asks something shows the key of the printed address: others on this machine can read its pages, as
anybody can who may read the bucket, and must not act with the rights of the person who started it.

Python's own server is enough for the few browsers of one machine, and a repository without the extra `[local]` has it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from edge_tasks.dashboard import views
from edge_tasks.dashboard.assets import SCRIPTS, asset_names, content_type, read_asset, read_page, read_scripts
from edge_tasks.dashboard.feed import Feed, to_json
from edge_tasks.dashboard.loop import SECTIONS, Loop
from edge_tasks.dashboard.records import Described, Records, attached_document, details_document, plain
from edge_tasks.dashboard.views import Views
from edge_tasks.errors import CloudError, EdgeError, NotFoundError, ServerError

HOST = "127.0.0.1"
# Tried first, so that a page that is still open finds the next dashboard by itself.
USUAL_PORT = 8765

_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})

KEY_HEADER = "X-Edge-Key"

# What stands for the key where Cloud Run has let somebody in: a page of another origin cannot send the header.
_HOSTED_KEY = "hosted"

# Cloud Run's own addresses of a service: https://cloud.google.com/run/docs/triggering/https-request.
_OF_CLOUD_RUN = ".run.app"

# Seconds for which a hosted page waits for the records to be read: between two requests it may get no processor.
_HOSTED_WAIT = 20.0

# Bytes of a request's body.
_LONGEST_BODY = 2_000_000

# Seconds for which a connection may be silent.
_SILENCE = 60.0

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Hosting:
    """That the page is reached from elsewhere, through what lets only some people in (Cloud Run's IAM).

    With `changes` they may change runs and ask endpoints; `hosts` are names of it besides Cloud Run's own.
    """

    changes: bool = False
    hosts: frozenset[str] = frozenset()

    def knows(self, name: str) -> bool:
        """Say whether the page is reached under that name."""
        return name in _LOCAL_NAMES or name.endswith(_OF_CLOUD_RUN) or name in self.hosts


class DashboardServer(ThreadingHTTPServer):
    """Listens once it is made. Raises ServerError when the port is taken."""

    daemon_threads = True

    def __init__(
        self,
        records: Records,
        loop: Loop,
        port: int = USUAL_PORT,
        hosting: Hosting | None = None,
        views: Views | None = None,
        user: str = "",
    ):
        """Listen on `port`; 0, or the usual one when it is taken: on any that is free. With `hosting` for everybody.

        `user` is who started it.
        """
        self.records = records
        self.loop = loop
        self.views = views
        self.user = user
        self.hosting = hosting
        self.key = _HOSTED_KEY if hosting else secrets.token_urlsafe(16)
        self.feed = Feed(records, waits=_HOSTED_WAIT if hosting else 0.0)
        self._connections: set[socket.socket] = set()
        host = "0.0.0.0" if hosting else HOST  # noqa: S104  (a container's own network, behind Cloud Run)
        for candidate in (port, 0) if port == USUAL_PORT else (port,):
            with contextlib.suppress(OSError, OverflowError):
                super().__init__((host, candidate), _Handler)
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

    @property
    def address(self) -> str:
        """Where the page is for the person who started it: with the key, which a browser tells no server."""
        return f"{self.url}#key={self.key}"

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
        self._serve(self._answer)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def do_PATCH(self) -> None:
        """Change what people write about a run."""
        self._serve(self._change)

    do_POST = do_DELETE = do_PATCH  # noqa: N815

    def _refuse_method(self) -> None:
        self.close_connection = True
        self._send(405, "text/plain", b"There is nothing to be done so.", {"Allow": "GET, HEAD"})

    do_PUT = do_OPTIONS = _refuse_method  # noqa: N815

    def _serve(self, answer: Callable[[str, dict[str, str]], None]) -> None:
        try:
            if refusal := self._refusal():
                self.close_connection = True
                self._send(403, "text/plain", refusal.encode())
                return
            url = urlsplit(self.path)
            answer(url.path, {key: values[-1] for key, values in parse_qs(url.query).items()})
        except NotFoundError as error:
            self._send(404, "text/plain", str(error).encode())
        except CloudError as error:
            self._send(502, "text/plain", str(error).encode())
        except EdgeError as error:
            self._send(400, "text/plain", str(error).encode())

    def _answer(self, path: str, query: dict[str, str]) -> None:
        name = path.removeprefix("/page/")
        if path == "/":
            self._send(200, content_type("index.html"), self._index())
        elif path == f"/page/{SCRIPTS}":
            self._send(200, content_type(SCRIPTS), read_scripts())
        elif path.startswith("/page/") and name in asset_names():
            self._send(200, content_type(name), read_asset(name))
        elif path.startswith("/api/runs"):
            self._answer_runs(path, query)
        elif match := re.fullmatch(r"/api/loop/([a-z]+)", path):
            if match[1] not in SECTIONS:
                raise NotFoundError("there is no such page")
            self._send_json(self.server.loop.section(match[1]).json())
        elif match := re.fullmatch(r"/api/jobs/([^/]+)/log", path):
            self._send_json(to_json(self.server.loop.job_log(unquote(match[1]), _number(query, "first"))))
        elif match := re.fullmatch(r"/api/models/([^/]+)/(watched|drifts|traffic|form)", path):
            ask = {
                "watched": self.server.loop.watched,
                "drifts": self.server.loop.drifts,
                "traffic": self.server.loop.traffic,
                "form": self.server.loop.form,
            }
            self._send_json(to_json(plain(ask[match[2]](unquote(match[1])))))
        elif path == "/api/views":
            self._send_json(to_json(plain(views.document(self.server.views))))
        elif match := re.fullmatch(r"/files/runs/([^/]+)/([^/]+)/(artifact|plots|attachments)/(.+)", path):
            self._send_download(*map(unquote, match.groups()))
        else:
            raise NotFoundError("there is no such page")

    def _answer_runs(self, path: str, query: dict[str, str]) -> None:
        records = self.server.records
        if path == "/api/runs":
            self._send_json(self.server.feed.update(query.get("since", "")).json())
        elif match := re.fullmatch(r"/api/runs/([^/]+)/([^/]+)", path):
            model, run_id = map(unquote, match.groups())
            details = records.details(model, run_id, _number(query, "output_from"))
            self._send_json(to_json(details_document(details)))
        elif match := re.fullmatch(r"/api/runs/([^/]+)/([^/]+)/files/([^/]+)", path):
            model, run_id, name = map(unquote, match.groups())
            self._send_json(to_json({"text": records.file(model, run_id, name)}))
        elif match := re.fullmatch(r"/api/runs/([^/]+)/([^/]+)/(plots|attachments)/([^/]+)", path):
            model, run_id, kind, name = map(unquote, match.groups())
            self._send_json(to_json(attached_document(name, records.attached(model, run_id, kind, name))))
        else:
            raise NotFoundError("there is no such page")

    def _change(self, path: str, query: dict[str, str]) -> None:
        del query
        self.close_connection = True  # what is left of a body that is refused must not be read as a request
        if self.server.hosting and not self.server.hosting.changes:
            self._send(403, "text/plain", b"This page only shows: invoke dashboard.deploy --changes lets it change.")
            return
        if not secrets.compare_digest(self.headers.get(KEY_HEADER, "").encode(), self.server.key.encode()):
            self._send(403, "text/plain", b"Open the address that the dashboard printed: it has the key for changes.")
            return
        run = re.fullmatch(r"/api/runs/([^/]+)/([^/]+)", path)
        asked = re.fullmatch(r"/api/models/([^/]+)/(predict|explain)", path)
        view = re.fullmatch(r"/api/views/([^/]+)", path)
        if run and self.command == "PATCH":
            self.server.records.describe(unquote(run[1]), unquote(run[2]), _described(self._body()))
            self.server.feed.read()
            self._send_json("{}")
        elif run and self.command == "DELETE":
            self.server.records.remove(unquote(run[1]), unquote(run[2]))
            self.server.feed.read()
            self._send_json("{}")
        elif asked and self.command == "POST":
            found = self.server.loop.ask(unquote(asked[1]), self._body(), asked[2] == "explain")
            self._send_json(to_json(plain(found)))
        elif path == "/api/views" and self.command == "POST" and self.server.views:
            saved, replace = views.wanted(self._body(), self._who())
            self.server.views.save(saved, replace=replace)
            self._send_json("{}")
        elif view and self.command == "DELETE" and self.server.views:
            self.server.views.remove(unquote(view[1]))
            self._send_json("{}")
        else:
            self._refuse_method()

    def _who(self) -> str:
        """Return who asks: on this machine who started it; where it is hosted, whom Google has let in.

        https://cloud.google.com/iap/docs/identity-howto, and the claims of the token that Cloud Run has checked.
        """
        if self.server.hosting is None:
            return self.server.user
        if by_iap := self.headers.get("X-Goog-Authenticated-User-Email", ""):
            return by_iap.rpartition(":")[2][:200]
        claims = self.headers.get("Authorization", "").split(".")
        try:
            found = json.loads(base64.urlsafe_b64decode(claims[1] + "=" * (-len(claims[1]) % 4)))
            return str(found["email"])[:200]
        except (IndexError, KeyError, TypeError, ValueError):
            return "somebody"

    def _body(self) -> bytes:
        if self.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise EdgeError("the body must be JSON")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > _LONGEST_BODY:
            raise EdgeError(f"the body may have {_LONGEST_BODY:,} bytes")
        return self.rfile.read(int(length))

    def _send_download(self, model: str, run_id: str, kind: str, name: str) -> None:
        """Send a file to be saved: it is never shown as a page, whatever is in it."""
        with tempfile.TemporaryDirectory(prefix="edge-download-") as folder:
            if kind == "artifact":
                path = self.server.records.artifact_file(model, run_id, name, Path(folder))
            else:
                path = Path(folder) / "file"
                path.write_bytes(self.server.records.attached(model, run_id, kind, name))
            saved_as = quote(name.rpartition("/")[2])
            self.send_response(200)
            for header, value in HEADERS.items():
                self.send_header(header, value)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Disposition", f"attachment; filename*=UTF-8''{saved_as}")
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if self.command != "HEAD":
                with path.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile)

    def _refusal(self) -> str | None:
        """Say why a request is refused that another web page in the user's browser could have sent, or None."""
        host = self.headers.get("Host", "")
        name, _, port = host.partition(":")
        hosting = self.server.hosting
        if hosting:
            known = hosting.knows(name.lower())
        else:
            known = name.lower() in _LOCAL_NAMES and port == str(self.server.server_port)
        if not known:
            return "The Host header is refused: use the address that the dashboard printed."
        origin = self.headers.get("Origin")
        if origin is not None and not self._is_own(origin, host):
            return "Requests of other web pages are refused."
        if self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return "Requests of other web pages are refused."
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Say whether a page of `origin` is ours.

        `gcloud run services proxy` sends Cloud Run's name as Host, and the browser's origin is its own port.
        """
        if self.server.hosting is None:
            return origin == f"http://{host}"
        return origin == f"https://{host}" or urlsplit(origin).hostname in _LOCAL_NAMES

    def _index(self) -> bytes:
        """Return the page; one that may change things without a printed address is told so."""
        page = read_page()
        if self.server.hosting and self.server.hosting.changes:
            return page.replace(b'<html lang="en">', f'<html lang="en" data-key="{_HOSTED_KEY}">'.encode(), 1)
        return page

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


def _number(query: Mapping[str, str], name: str) -> int:
    """Return a number of the address; 0 when there is none."""
    found = re.fullmatch(r"[0-9]{1,18}", query.get(name, ""))
    return int(found[0]) if found else 0


def _described(body: bytes) -> Described:
    """Read what is to be written about a run. Raises EdgeError when it is something else."""
    try:
        values = json.loads(body)
        texts = {name: str(values[name]) for name in ("name", "notes") if values.get(name) is not None}
        tags = values.get("tags")
        return Described(**texts, tags=None if tags is None else tuple(_tag(tag) for tag in tags))
    except (ValueError, TypeError, AttributeError):
        raise EdgeError("the body holds name, notes and tags") from None


def _tag(tag: object) -> str:
    """Return a tag as the command line makes it: one word."""
    words = str(tag).replace(",", " ").split()
    return words[0][:100] if words else ""
