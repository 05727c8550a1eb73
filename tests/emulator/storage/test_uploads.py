"""Resumable uploads by their protocol: https://cloud.google.com/storage/docs/performing-resumable-uploads."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import random
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.harness import Emulator, eventually

GRAIN = 256 * 1024


class Session:
    """A resumable upload of one content."""

    def __init__(self, emulator: Emulator, bucket: str, content: bytes, name: str = "x", **headers: str) -> None:
        self.content = content
        answer = requests.post(
            f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "resumable"},
            json={"name": name},
            headers=headers,
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
        self.url = answer.headers["Location"]

    def send(self, first: int, end: int, total: str | None = None) -> requests.Response:
        total = str(len(self.content)) if total is None else total
        header = f"bytes {first}-{end - 1}/{total}"
        return requests.put(self.url, data=self.content[first:end], headers={"Content-Range": header}, timeout=30)

    def ask(self, total: str | None = None) -> requests.Response:
        header = f"bytes */{len(self.content) if total is None else total}"
        return requests.put(self.url, headers={"Content-Range": header}, timeout=30)

    def held(self) -> int:
        """How many bytes the server says it has."""
        answer = self.ask()
        assert answer.status_code == 308
        found = answer.headers.get("Range")
        return 0 if found is None else int(found.removeprefix("bytes=0-")) + 1

    def send_and_break_off(self, first: int, sent: int) -> None:
        """Announce all the rest, and cut the connection when a part of it is sent."""
        host, port = self.url.removeprefix("http://").partition("/")[0].split(":")
        path = "/" + self.url.removeprefix("http://").partition("/")[2]
        length = len(self.content) - first
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {length}\r\n"
            f"Content-Range: bytes {first}-{len(self.content) - 1}/{len(self.content)}\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + self.content[first : first + sent])


def test_a_question_after_a_part_is_answered_with_what_is_there(emulator: Emulator, bucket: str) -> None:
    """fake-gcs-server, which was used before, finished the upload with that part."""
    session = Session(emulator, bucket, os.urandom(20 << 20))
    assert session.ask().headers.get("Range") is None
    assert session.send(0, 8 << 20).status_code == 308
    answer = session.ask()
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{(8 << 20) - 1}")
    missing = requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/o/x", timeout=10)
    assert missing.status_code == 404
    assert session.send(8 << 20, 16 << 20).status_code == 308
    assert session.send(16 << 20, 20 << 20).status_code == 200
    assert emulator.read(bucket, "x") == session.content


def test_of_a_part_that_breaks_off_whole_grains_are_kept(emulator: Emulator, bucket: str) -> None:
    session = Session(emulator, bucket, os.urandom(5 << 20))
    session.send_and_break_off(0, (3 << 20) + 1234)
    held = eventually(session.held, "some bytes are there")
    assert held % GRAIN == 0
    assert held <= 3 << 20
    assert session.send(held, len(session.content)).status_code == 200
    assert emulator.read(bucket, "x") == session.content


@pytest.mark.slow
def test_who_comes_back_by_another_connection_does_not_wait_for_the_first(emulator: Emulator, bucket: str) -> None:
    session = Session(emulator, bucket, os.urandom(2 << 20))
    host, port = session.url.removeprefix("http://").partition("/")[0].split(":")
    path = "/" + session.url.removeprefix("http://").partition("/")[2]
    head = f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {2 << 20}\r\n\r\n".encode()
    with socket.create_connection((host, int(port))) as left_open:
        left_open.sendall(head + session.content[: 1 << 20])
        assert session.held() <= 1 << 20
        held = session.held()
        assert session.send(held, 2 << 20).status_code == 200
        # What the first connection says now changes nothing any more.
        left_open.sendall(b"z" * (1 << 20))
    assert emulator.read(bucket, "x") == session.content


def test_the_end_can_be_told_when_it_is_known(emulator: Emulator, bucket: str) -> None:
    session = Session(emulator, bucket, os.urandom(GRAIN + 77))
    assert session.send(0, GRAIN, "*").status_code == 308
    assert session.send(GRAIN, GRAIN + 77).status_code == 200
    assert emulator.read(bucket, "x") == session.content
    even = Session(emulator, bucket, os.urandom(2 * GRAIN), "even")
    assert even.send(0, 2 * GRAIN, "*").status_code == 308
    assert even.ask("*").status_code == 308
    assert even.ask().status_code == 200
    assert emulator.read(bucket, "even") == even.content


def test_a_stream_without_a_length_is_an_upload(emulator: Emulator, bucket: str) -> None:
    """Node's client sends `bytes 0-*/*` and its bytes in chunks."""
    content = os.urandom(600_000)
    for headers in ({"Content-Range": "bytes 0-*/*"}, {}):
        session = Session(emulator, bucket, content)
        pieces = (content[at : at + 1000] for at in range(0, len(content), 1000))
        assert requests.put(session.url, data=pieces, headers=headers, timeout=30).status_code == 200
        assert emulator.read(bucket, "x") == content


def test_an_empty_object_is_an_upload_too(emulator: Emulator, bucket: str) -> None:
    assert Session(emulator, bucket, b"").ask().status_code == 200
    assert emulator.read(bucket, "x") == b""


def test_who_has_lost_the_answer_is_told_again(emulator: Emulator, bucket: str) -> None:
    session = Session(emulator, bucket, b"content")
    first = session.send(0, 7).json()
    for _ in range(2):
        again = session.ask()
        assert (again.status_code, again.json()) == (200, first)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("bytes 0-99/1000000", 400),  # not a multiple of the grain, and not the last
        (f"bytes {GRAIN}-{2 * GRAIN - 1}/{2 * GRAIN}", 503),  # bytes are missing before it
        ("bytes 5-3/100", 400),
        ("bytes 0-100/100", 400),
        ("bytes x", 400),
        (f"bytes 0-{GRAIN - 1}/{GRAIN}", 400),  # the body is shorter
    ],
)
def test_a_range_that_cannot_be_is_refused_and_nothing_is_lost(
    emulator: Emulator, bucket: str, header: str, status: int
) -> None:
    session = Session(emulator, bucket, os.urandom(3 * GRAIN))
    answer = requests.put(session.url, data=b"x" * 100, headers={"Content-Range": header}, timeout=10)
    assert answer.status_code == status
    fresh = Session(emulator, bucket, os.urandom(3 * GRAIN))
    assert fresh.send(0, 3 * GRAIN).status_code == 200
    assert emulator.read(bucket, "x") == fresh.content


def test_who_is_refused_in_the_middle_of_sending_reads_the_answer(emulator: Emulator, bucket: str) -> None:
    """Though the connection ends with it: closed too early, it would be reset, and the answer lost."""
    host, port = emulator.storage_url.removeprefix("http://").split(":")
    for size in (1, 100_000, 10_000_000):
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a&ifGenerationMatch=7"
        connection.request("POST", path, bytes(size), {"Connection": "close"})
        with contextlib.closing(connection), connection.getresponse() as response:
            assert (response.status, b"conditionNotMet" in response.read()) == (412, True)


@pytest.mark.slow
def test_many_uploads_that_go_on_at_once_hold_few_files_open(emulator: Emulator, bucket: str) -> None:
    sessions = [Session(emulator, bucket, os.urandom(GRAIN + 1), f"n{number}") for number in range(100)]
    assert {session.send(0, GRAIN).status_code for session in sessions} == {308}
    (process, *_) = emulator.tree()
    assert sum("cloud-storage/contents" in file.path for file in process.open_files()) <= 65
    assert {session.send(GRAIN, GRAIN + 1).status_code for session in sessions} == {200}
    assert all(emulator.read(bucket, f"n{number}") == session.content for number, session in enumerate(sessions))


def test_an_upload_can_be_cancelled(emulator: Emulator, bucket: str) -> None:
    session = Session(emulator, bucket, os.urandom(2 * GRAIN))
    session.send(0, GRAIN)
    files = files_of(emulator)
    assert requests.delete(session.url, timeout=10).status_code == 499
    assert session.ask().status_code == 404
    assert files_of(emulator) == files - 1


def test_an_upload_expires_after_a_week(own_emulator: Callable[..., Emulator]) -> None:
    emulator = own_emulator()
    bucket = emulator.new_bucket()
    session = Session(emulator, bucket, os.urandom(2 * GRAIN))
    session.send(0, GRAIN)
    with sqlite3.connect(emulator.data / "cloud-storage" / "index.sqlite3") as index:
        index.execute("UPDATE uploads SET created = created - 8 * 24 * 3600")
    assert session.ask().status_code == 410
    emulator.stop()
    again = own_emulator()
    eventually(lambda: files_of(again) == 0, "its bytes are removed")


def test_a_precondition_counts_when_the_upload_ends(emulator: Emulator, bucket: str) -> None:
    url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o"
    begun = requests.post(
        url, params={"uploadType": "resumable", "ifGenerationMatch": "0"}, json={"name": "x"}, timeout=10
    )
    emulator.put(bucket, "x", b"somebody else's")
    files = files_of(emulator)
    answer = requests.put(begun.headers["Location"], data=os.urandom(GRAIN), timeout=10)
    assert answer.status_code == 412
    assert emulator.read(bucket, "x") == b"somebody else's"
    assert files_of(emulator) == files


def test_a_wrong_checksum_at_the_end_leaves_nothing(emulator: Emulator, bucket: str) -> None:
    session = Session(emulator, bucket, os.urandom(GRAIN))
    files = files_of(emulator)
    header = {"x-goog-hash": "md5=" + base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    assert requests.put(session.url, data=session.content, headers=header, timeout=10).status_code == 400
    assert requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/o/x", timeout=10).status_code == 404
    assert files_of(emulator) == files


def files_of(emulator: Emulator) -> int:
    return sum(path.is_file() for path in (emulator.data / "cloud-storage" / "contents").rglob("*"))


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), size=st.integers(1, 3 << 20))
def test_however_an_upload_is_cut_the_object_is_the_file(emulator: Emulator, bucket: str, seed: int, size: int) -> None:
    """A client that sends parts of any size, breaks off anywhere, and asks what has arrived."""
    chance = random.Random(seed)
    session = Session(emulator, bucket, chance.randbytes(size), name=str(seed))
    for _ in range(100):
        held = session.held()
        if chance.random() < 0.5:
            session.send_and_break_off(held, chance.randrange(size - held + 1))
            # The last byte may have arrived before the connection broke.
            if session.ask().status_code == 200:
                break
            continue
        end = min(size, held + GRAIN * chance.randint(1, 5))
        answer = session.send(held, end)
        assert answer.status_code == (200 if end == size else 308)
        if end == size:
            break
    assert emulator.read(bucket, str(seed)) == session.content


@pytest.mark.parametrize("request_line", ["GET {} HTTP/1.1\r\nConnection: close", "GET {} HTTP/1.0"])
def test_slow_readers_that_want_the_connection_closed_get_everything(
    emulator: Emulator, bucket: str, request_line: str
) -> None:
    content = os.urandom(9_636_317)
    emulator.put(bucket, "large", content)
    host, port = emulator.storage_url.removeprefix("http://").split(":")
    line = request_line.format(f"/storage/v1/b/{bucket}/o/large?alt=media")
    for seed in range(6):
        chance = random.Random(seed)
        received = bytearray()
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, chance.choice([1 << 16, 1 << 18, 1 << 20]))
            reader.connect((host, int(port)))
            reader.settimeout(60)
            reader.sendall(f"{line}\r\nHost: {host}:{port}\r\n\r\n".encode())
            while piece := reader.recv(chance.choice([1 << 14, 1 << 16, 1 << 20])):
                received += piece
                if chance.random() < 0.02:
                    time.sleep(0.005)
        assert bytes(received).partition(b"\r\n\r\n")[2] == content


def test_memory_stays_flat_while_large_files_come_and_go(own_emulator: Callable[..., Any], tmp_path: Path) -> None:
    emulator = own_emulator()
    bucket = emulator.new_bucket()
    (process, *_) = emulator.tree()
    size = 300 << 20
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    emulator.put(bucket, "warm", b"x" * (8 << 20))
    before = process.memory_info().rss
    with path.open("rb") as file:
        url = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=large"
        assert requests.post(url, data=file, timeout=120).status_code == 200
    with requests.get(f"{emulator.storage_url}/{bucket}/large", stream=True, timeout=60) as answer:
        assert sum(len(piece) for piece in answer.iter_content(1 << 20)) == size
    assert process.memory_info().rss - before < 64 << 20
