"""Cloud Storage through its gate: everything that clients do passes, and what must not get through does not."""

from __future__ import annotations

import json
import os
import random
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tasks.emulator.http import storage_gate
from tests.emulator.harness import Emulator

ESCAPES = ["../../escape.txt", "a/../../../escape.txt", "a/..", "a/./b", "a\0b"]


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Any]:
    from google.cloud import storage  # type: ignore[attr-defined,import-untyped,unused-ignore]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", emulator.storage_url)
        client = storage.Client(project="p", credentials=AnonymousCredentials())
        yield client
        client.close()


@pytest.mark.parametrize("size", [0, 1, 70_000, 40_000_000])
def test_objects_of_every_size_come_back_as_they_were(client: Any, bucket: str, size: int, tmp_path: Path) -> None:
    """Small ones are uploaded in one request, large ones in resumable parts."""
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    blob = client.bucket(bucket).blob(
        "folder/a name with spaces é.bin", chunk_size=10 * 1024 * 1024 if size > 1e6 else None
    )
    blob.upload_from_filename(str(tmp_path / "f"))
    assert client.bucket(bucket).blob(blob.name).download_as_bytes() == content
    assert [item.name for item in client.list_blobs(bucket)] == [blob.name]


def test_many_clients_at_once_get_their_own_answers(emulator: Emulator, bucket: str) -> None:
    def round_trip(number: int) -> bool:
        content = os.urandom(number * 1000)
        emulator.put(bucket, f"n/{number}é", content)
        answer = requests.get(
            f"{emulator.storage_url}/storage/v1/b/{bucket}/o/n%2F{number}%C3%A9?alt=media", timeout=30
        )
        return answer.content == content

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(100)))


def files_outside(emulator: Emulator) -> list[str]:
    return [str(path) for path in emulator.data.parent.rglob("*escape*")]


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_the_data_folder(emulator: Emulator, client: Any, bucket: str, name: str) -> None:
    """The name may stand in the query, in the path, or in the metadata of the two other kinds of upload."""
    base = emulator.storage_url
    upload = f"{base}/upload/storage/v1/b/{bucket}/o"
    emulator.put(bucket, "source", b"x")
    quoted = urllib.parse.quote(name, safe="")
    metadata = json.dumps({"name": name}).encode()
    multipart = b"--b\r\nContent-Type: application/json\r\n\r\n" + metadata + b"\r\n--b\r\n\r\nx\r\n--b--\r\n"
    attempts = [
        requests.post(upload, params={"uploadType": "media", "name": name}, data=b"x", timeout=10),
        requests.post(
            upload, params={"uploadType": "multipart"}, data=multipart, timeout=10,
            headers={"Content-Type": "multipart/related; boundary=b"},
        ),
        requests.post(upload, params={"uploadType": "resumable"}, data=metadata, timeout=10),
        requests.post(f"{base}/storage/v1/b/{bucket}/o/source/rewriteTo/b/{bucket}/o/{quoted}", timeout=10),
        requests.get(f"{base}/storage/v1/b/{bucket}/o/{quoted}?alt=media", timeout=10),
        requests.post(f"{base}/storage/v1/b", json={"name": name}, timeout=10),
    ]  # fmt: skip
    assert [answer.status_code for answer in attempts] == [400] * len(attempts)
    assert all(answer.json()["error"]["status"] == "INVALID_ARGUMENT" for answer in attempts)
    assert files_outside(emulator) == []


def test_what_was_refused_is_not_passed_on_to_a_server_that_is_slow_to_connect(tmp_path: Path) -> None:
    class Connection:
        def __init__(self) -> None:
            self.written = b""
            self.closed = False

        def write(self, data: bytes) -> None:
            self.written += data

        def close(self) -> None:
            self.closed = True

    client = storage_gate._Client(storage_gate.StorageGate(1, tmp_path), set())
    client._transport, server = Connection(), Connection()
    body = b'{"name": "../../escape.txt"}'
    head = (
        b"POST /upload/storage/v1/b/b/o?uploadType=resumable HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    )
    client.data_received(head % len(body) + body)
    assert client._transport.written.startswith(b"HTTP/1.1 400 ")
    client.connected(server)
    assert (server.written, server.closed) == (b"", True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Origin": "null"},
    ],
)
def test_web_pages_are_refused(emulator: Emulator, bucket: str, headers: dict[str, str]) -> None:
    url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=x"
    assert requests.post(url, data=b"x", headers=headers, timeout=10).status_code == 403
    assert requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/o/x", timeout=10).status_code == 404


def inner_port(emulator: Emulator) -> int:
    words = next(process.cmdline() for process in emulator.tree() if "-filesystem-root" in process.cmdline())
    return int(words[words.index("-port") + 1])


def test_a_page_that_finds_the_inner_port_meets_a_certificate_it_does_not_trust(emulator: Emulator) -> None:
    port = inner_port(emulator)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://127.0.0.1:{port}/storage/v1/b?project=p", timeout=10)
    assert requests.get(f"http://127.0.0.1:{port}/storage/v1/b?project=p", timeout=10).status_code == 400


def test_the_server_behind_the_gate_comes_back_after_it_died(own_emulator: Any) -> None:
    emulator = own_emulator()
    bucket = emulator.new_bucket()
    emulator.put(bucket, "kept", b"content")
    server = next(process for process in emulator.tree() if "-filesystem-root" in process.cmdline())
    server.kill()
    psutil.wait_procs([server], timeout=10)
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o/kept?alt=media"
    retries = requests.adapters.Retry(total=50, connect=50, read=50, backoff_factor=0.05, status_forcelist=[503])
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        assert session.get(url, timeout=10).content == b"content"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_bytes_that_are_no_request_end_the_connection_and_harm_nobody(emulator: Emulator, data: bytes) -> None:
    host, _, port = emulator.storage_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    with urllib.request.urlopen(f"{emulator.storage_url}/storage/v1/b?project=p") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("request_line", ["GET {} HTTP/1.1\r\nConnection: close", "GET {} HTTP/1.0"])
def test_slow_readers_that_want_the_connection_closed_get_everything(
    emulator: Emulator, bucket: str, request_line: str
) -> None:
    """The server has sent the last bytes long before they are read, each time at another moment of the reading."""
    content = os.urandom(9_636_317)
    emulator.put(bucket, "large", content)
    host, port = emulator.storage_url.removeprefix("http://").split(":")
    line = request_line.format(f"/storage/v1/b/{bucket}/o/large?alt=media")

    def missing(seed: int) -> int:
        chance = random.Random(seed)
        pauses, rest_at = chance.choice([0, 0.0005, 0.002]), chance.uniform(0.5, 1) * len(content)
        received = bytearray()
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, chance.choice([1 << 16, 1 << 18, 1 << 20]))
            reader.connect((host, int(port)))
            reader.settimeout(60)
            reader.sendall(f"{line}\r\nHost: {host}:{port}\r\n\r\n".encode())
            _, _, body = reader.recv(1 << 16).partition(b"\r\n\r\n")
            received += body
            while len(received) < len(content) and (piece := reader.recv(chance.choice([1 << 14, 1 << 16, 1 << 20]))):
                if len(received) < rest_at <= len(received) + len(piece):
                    time.sleep(0.5)
                received += piece
                if pauses and chance.random() < 0.3:
                    time.sleep(pauses)
        assert content.startswith(bytes(received))
        return len(content) - len(received)

    with ThreadPoolExecutor(4) as pool:
        assert [seed for seed, bytes_lost in enumerate(pool.map(missing, range(24))) if bytes_lost] == []
