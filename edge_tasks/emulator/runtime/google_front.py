"""Cloud Storage under Google's own addresses, for programs in jobs that can be told no other: TensorFlow's `gs://`.

Its client in C++ knows two addresses, https://www.googleapis.com and https://storage.googleapis.com, and no variable
changes them. It is made on libcurl, which heeds `https_proxy`, and it heeds CURL_CA_BUNDLE:
https://github.com/openxla/xla/blob/main/xla/tsl/platform/cloud/gcs_file_system.cc, curl_http_request.cc. So there is a
proxy on this machine that leads the two names to the emulator's Cloud Storage, by its own certificate that only those
programs trust, and every other name to where it belongs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.http.server import HOST, bind, make_server

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = frozenset({"www.googleapis.com", "storage.googleapis.com"})
PROXY_VARIABLE, BUNDLE_VARIABLE = "VERTEX_EMULATOR_HTTPS_PROXY", "VERTEX_EMULATOR_CA_BUNDLE"
LARGEST_HEAD = 16 * 1024
BLOCK = 256 * 1024
DAYS = 365


class GoogleFront:
    """The proxy, and the server behind it; both start with the first job."""

    def __init__(self, application: Any, storage_url: str, folder: Path) -> None:
        self._application = _Renamed(application, storage_url)
        self._bundle = folder / "google-front.pem"
        self._lock = asyncio.Lock()
        self._variables: dict[str, str] | None = None
        self._proxy: asyncio.Server | None = None
        self._server: Any = None
        self._serving: asyncio.Future[None] | None = None
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def bundle(self) -> Path:
        """The file with the certificates to trust: those that this machine trusts, and that of this front."""
        return self._bundle

    async def variables(self) -> Mapping[str, str]:
        """Return what a job's Python passes on to TensorFlow; nothing where certificates cannot be made."""
        async with self._lock:
            if self._variables is None:
                self._variables = await self._start()
            return self._variables

    async def close(self) -> None:
        """End both, and what is being answered."""
        if self._proxy is not None:
            self._proxy.close()
        for task in self._connections:
            task.cancel()
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def _start(self) -> dict[str, str]:
        try:
            context = await asyncio.to_thread(_make_context, self._bundle)
        except ImportError:
            return {}
        listener = bind(0)
        self._port = int(listener.getsockname()[1])
        self._server = make_server(self._application)
        self._server.config.load()
        self._server.config.ssl = context
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
        proxy = bind(0)
        self._proxy = await asyncio.start_server(self._connect, sock=proxy, limit=LARGEST_HEAD)
        address = f"http://{HOST}:{proxy.getsockname()[1]}"
        return {PROXY_VARIABLE: address, BUNDLE_VARIABLE: str(self._bundle)}

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            # A program may end, or never say anything: neither is worth a word.
            with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._tunnel(reader, writer)
        finally:
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, *_ = head.split()
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        name, _, port = target.rpartition(":")
        place = (HOST, self._port) if name in NAMES else (name.strip("[]"), int(port))
        try:
            there, out = await asyncio.open_connection(*place)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, out), _copy(there, writer))
        finally:
            out.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _Renamed:
    """The application, asked as by its own address: what it names in answers can be reached without the proxy."""

    def __init__(self, application: Any, storage_url: str) -> None:
        self._application = application
        self._host = storage_url.partition("://")[2].encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(name, self._host if name == b"host" else value) for name, value in scope["headers"]]
            scope = {**scope, "scheme": "http", "headers": headers}

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [(READ_AS_WRITTEN.get(name, name), value) for name, value in message["headers"]]
                message = {**message, "headers": headers}
            await send(message)

        await self._application(scope, receive, named)


class _AsWritten(bytes):
    """The name of a header that stays as it is written: uvicorn sends others in small letters."""

    def lower(self) -> _AsWritten:
        return self


# TensorFlow looks for these headers by their usual spelling, though case means nothing in HTTP.
READ_AS_WRITTEN = {b"location": _AsWritten(b"Location"), b"range": _AsWritten(b"Range")}


def _make_context(bundle: Path) -> ssl.SSLContext:
    """Return the server's side of TLS, and write down what a client has to trust. The keys stay in this process."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = dt.datetime.now(dt.timezone.utc)

    def certificate(name: str, key: Any, issuer: str, signer: Any, *extensions: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=DAYS))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ours = "Vertex AI emulator on this machine"
    root = certificate(ours, authority, ours, authority, x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in sorted(NAMES)])
    leaf = certificate("storage.googleapis.com", key, ours, authority, names)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(private + leaf)
        file.flush()
        context.load_cert_chain(file.name)
    bundle.write_bytes(_trusted_here() + root)
    return context


def _trusted_here() -> bytes:
    """Return the certificates that programs of this machine trust."""
    paths = [os.environ.get(name) for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    paths += [ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt"]
    for path in filter(None, paths):
        with contextlib.suppress(OSError):
            return Path(path).read_bytes().rstrip() + b"\n"
    return b""
