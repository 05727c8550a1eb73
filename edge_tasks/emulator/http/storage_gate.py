"""The gate before fake-gcs-server: what it would let through, and must not.

fake-gcs-server answers any web page that finds its port, and writes an object called `../../x` outside its folder. So
clients talk to this gate, which looks at the head of each request (and at the name in the metadata of uploads) and
passes the bytes on as they are. The server behind it speaks TLS with a certificate that no browser trusts, so a page
that finds its port cannot send it anything. On a full disk it answers 500, which clients take for a passing fault and
repeat; the gate refuses such an upload with the reason.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import httptools

from edge_tasks.emulator.errors import ApiError, Code, invalid, no_space
from edge_tasks.emulator.http import guard
from edge_tasks.emulator.http.exchange import error_reply

if TYPE_CHECKING:
    import socket
    from pathlib import Path

# The metadata of an upload stand before its content, and are short.
LONGEST_METADATA = 256 * 1024
LONGEST_HEAD = 64 * 1024

# What the server writes beside an object's content: its metadata, and folders.
SPARE_BYTES = 256 * 1024


class StorageGate:
    """Accepts connections for the server on `port` of this machine, which keeps its objects below `folder`."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        # It is our own child on the loopback interface; its certificate is one that anybody can have.
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()

    async def open(self, listener: socket.socket) -> None:
        """Begin to accept connections on a listening socket."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_tell_exception)
        self._server = await loop.create_server(lambda: _Client(self, self._clients), sock=listener)

    def check_room(self, size: int) -> None:
        """Refuse `size` bytes that the disk has no room for."""
        free = shutil.disk_usage(self._folder).free
        if free < size + SPARE_BYTES:
            raise no_space(f"Cloud Storage has {free} bytes left for an upload of {size}")

    def close(self) -> None:
        """Accept no more connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.close()


class _Client(asyncio.Protocol):
    """One client's connection, and the connection to the server that belongs to it."""

    def __init__(self, gate: StorageGate, clients: set[_Client]) -> None:
        self._gate = gate
        self._clients = clients
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._server: Any = None
        self._connecting: asyncio.Task[None] | None = None
        # Bytes that came and were not passed on: of a request that is still looked at, or before there is a server.
        self._waiting = bytearray()
        self._looking = False
        self._metadata: bytearray | None = None
        self._refused: ApiError | None = None
        # Whether a request has begun since the last one that was passed on, and whether one is going on.
        self._begun = False
        self._going_on = False
        self._stays_open = True

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._clients.add(self)
        self._connecting = asyncio.ensure_future(self._connect())

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        if self._server is not None:
            # Nobody reads the rest of an answer; a TLS connection that is closed in order would go on with it.
            self._server.abort()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refused = invalid("Upgrades of the connection are not supported.")
        except httptools.HttpParserError as error:
            self._refused = self._refused or invalid(f"The request is not HTTP: {error}.")
        if self._looking and self._metadata is None and len(self._waiting) > LONGEST_HEAD:
            self._refused = invalid("The head of the request is too long.")
        if self._refused is not None:
            self._refuse(self._refused)
        else:
            self._pass_on()

    def pause_writing(self) -> None:
        # Bytes that have come when a TLS connection ends while it is not read are lost. So the server is not to end it
        # (see _head), and where it does, as HTTP/1.0 wants it, a slow client's answer waits in memory.
        if self._server is not None and self._stays_open:
            self._server.pause_reading()

    def resume_writing(self) -> None:
        if self._server is not None and self._stays_open:
            self._server.resume_reading()

    # httptools: a request is passed on when its head, and the metadata of an upload, have been looked at

    def on_message_begin(self) -> None:
        if self._begun or self._going_on:
            self._refused = invalid("Requests must wait for the answer to the one before.")
        self._begun = self._going_on = self._looking = True
        self._url = b""
        self._headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._stays_open = self._parser.get_http_version() == "1.1"
        try:
            guard.check(self._headers)
            named = _check_url(self._url)
            if self._parser.get_method() in (b"POST", b"PUT", b"PATCH"):
                length = self._headers.get("content-length", "")
                self._gate.check_room(int(length) if length.isdigit() else 0)
        except ApiError as error:
            self._refused = error
            return
        path = urlsplit(self._url).path
        creates = self._parser.get_method() == b"POST" and (b"/upload/" in path or path.endswith(b"/b"))
        if creates and not named:
            self._metadata = bytearray()
        else:
            self._looking = False

    def on_body(self, body: bytes) -> None:
        if self._metadata is not None:
            self._metadata += body
            self._look_at_metadata(complete=len(self._metadata) > LONGEST_METADATA)

    def on_message_complete(self) -> None:
        self._going_on = False
        if self._metadata is not None:
            self._look_at_metadata(complete=True)

    def _look_at_metadata(self, *, complete: bool) -> None:
        assert self._metadata is not None
        metadata = _first_json(bytes(self._metadata), self._headers.get("content-type", ""))
        if metadata is None and not complete:
            return
        self._metadata = None
        self._looking = False
        name = (metadata or {}).get("name", "")
        if metadata is None or not isinstance(name, str) or not _is_safe(name.encode(errors="replace")):
            self._refused = _bad_name(str(name))

    # the way to the server

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Server(self), "127.0.0.1", self._gate.port, ssl=self._gate.tls)
        except OSError as error:
            self._refuse(ApiError(Code.UNAVAILABLE, f"Cloud Storage does not answer: {error}"))

    def connected(self, server: Any) -> None:
        self._server = server
        if self._refused is not None:
            # The request was refused before there was a server: it waits for nobody.
            server.close()
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._server is not None and not self._looking and self._waiting:
            if self._begun:
                self._waiting[:] = _head(bytes(self._waiting), stays_open=self._stays_open)
                self._begun = False
            self._server.write(bytes(self._waiting))
            self._waiting.clear()
        elif len(self._waiting) > LONGEST_METADATA + LONGEST_HEAD and self._server is None:
            self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        self._transport.close()

    def _refuse(self, error: ApiError) -> None:
        reply = error_reply(error)
        head = f"HTTP/1.1 {reply.status} Refused\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self._transport.write(f"{head}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body)
        self._transport.close()


class _Server(asyncio.Protocol):
    """The connection to the server: what it answers goes to the client as it is."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def connection_made(self, transport: Any) -> None:
        self._client.connected(transport)
        self._client.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        self._client.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()


def _tell_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody catches, but for uvloop's complaint when a TLS connection has ended before it is read again."""
    of_tls = context.get("message") == "Fatal error on SSL protocol"
    if not (of_tls and isinstance(context.get("exception"), RuntimeError)):
        loop.default_exception_handler(context)


def _head(request: bytes, *, stays_open: bool) -> bytes:
    """Return the beginning of a request with the head that the server is to see.

    Without X-Forwarded-Proto it would name addresses of its own kind, https, in its answers. A client that has asked
    for the connection to be closed closes it by itself, when it has read the answer to its end.
    """
    line, _, rest = request.partition(b"\r\n")
    fields, end, body = rest.partition(b"\r\n\r\n")
    if end and stays_open:
        kept = [field for field in fields.split(b"\r\n") if not field.lower().startswith(b"connection:")]
        rest = b"\r\n".join(kept) + end + body
    return line + b"\r\nX-Forwarded-Proto: http\r\n" + rest


def _check_url(url: bytes) -> bool:
    """Refuse names that lead out of their folder. Returns whether the URL itself names the object."""
    parts = urlsplit(url)
    query = parse_qs(parts.query.decode("latin-1"), encoding="latin-1")
    names = [name.encode("latin-1") for name in query.get("name", [])]
    for text in (unquote_to_bytes(parts.path), *names):
        if not _is_safe(text):
            raise _bad_name(text.decode(errors="replace"))
    return bool(names)


def _is_safe(name: bytes) -> bool:
    return b"\0" not in name and not {b".", b".."} & set(name.split(b"/"))


def _bad_name(name: str) -> ApiError:
    return invalid(f"Invalid object or bucket name {name[:200]!r}.")


def _first_json(body: bytes, content_type: str) -> dict[str, Any] | None:
    """Return the metadata: the body itself, or the first part of a multipart body; None while it is not all there.

    https://cloud.google.com/storage/docs/uploading-objects-from-memory
    """
    if content_type.startswith("multipart/"):
        _, _, body = body.partition(b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n")
    try:
        value, _ = json.JSONDecoder().raw_decode(body.lstrip().decode("utf-8", "replace"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
