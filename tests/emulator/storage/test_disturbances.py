"""Connections that are cut, a server that is killed: an object is its file, or it is not there and its client knows.

The numbers are small here; `make test-long` takes those that were agreed on: 200 uploads, 100 kills.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials

from tests import seeds
from tests.emulator.harness import Emulator
from tests.repositories import clean_environment
from tests.tcp_proxy import TcpProxy

UPLOADS, LARGEST = (8, 6 << 20) if seeds.is_fixed() else (200, 64 << 20)
KILLS = 6 if seeds.is_fixed() else 100
GOOGLE = """
import sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
client = storage.Client(project="p", credentials=AnonymousCredentials())
retry = DEFAULT_RETRY.with_delay(0.05, 0.5, 2).with_timeout(60)
bucket, *names = sys.argv[1:]
for name in names:
    try:
        client.bucket(bucket).blob(name, chunk_size=1 << 20).upload_from_filename(name, timeout=10, retry=retry)
        print("done", name, flush=True)
    except Exception as error:
        print("error", name, type(error).__name__, flush=True)
"""
GCSFS = """
import sys
import gcsfs
files = gcsfs.GCSFileSystem(token="anon", project="p", retries=6)
bucket, *names = sys.argv[1:]
for name in names:
    try:
        files.put_file(name, f"{bucket}/{name}", chunksize=1 << 20)
        print("done", name, flush=True)
    except Exception as error:
        print("error", name, type(error).__name__, flush=True)
"""


@contextlib.contextmanager
def cut_at_random(proxy: TcpProxy, chance: random.Random) -> Iterator[None]:
    """Cut all connections again and again, and fix the network shortly afterwards."""
    ended = threading.Event()

    def disturb() -> None:
        while not ended.wait(chance.uniform(0.05, 0.6)):
            proxy.cut()
            time.sleep(chance.uniform(0, 0.05))
            proxy.mend()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def make_files(folder: Path, count: int, chance: random.Random) -> dict[str, str]:
    """Write files of random sizes; return their sums by name."""
    folder.mkdir()
    sums = {}
    for number in range(count):
        content = chance.randbytes(chance.randint(1 << 20, LARGEST))
        (folder / f"f{number}").write_bytes(content)
        sums[f"f{number}"] = hashlib.sha256(content).hexdigest()
    return sums


def stored(emulator: Emulator, bucket: str, name: str) -> str | None:
    """The sum of what is stored; None when there is nothing."""
    with requests.get(f"{emulator.storage_url}/{bucket}/{name}", stream=True, timeout=60) as answer:
        if answer.status_code == 404:
            return None
        digest = hashlib.sha256()
        for piece in answer.iter_content(1 << 20):
            digest.update(piece)
        return digest.hexdigest()


def wrong_ones(emulator: Emulator, bucket: str, sums: dict[str, str], output: str) -> list[str]:
    """The files whose object is another, or is missing though its client believes that it is there."""
    told = {line.split()[1]: line.split()[0] for line in output.splitlines() if line[:4] in {"done", "erro"}}
    assert set(told) == set(sums), output
    found = {name: stored(emulator, bucket, name) for name in sums}
    return [name for name in sums if found[name] != sums[name] and (found[name] or told[name] == "done")]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("program", [GOOGLE, GCSFS], ids=["google-cloud-storage", "gcsfs"])
def test_an_upload_over_a_bad_network_is_whole_or_is_not_there(
    emulator: Emulator, bucket: str, tmp_path: Path, program: str
) -> None:
    chance = random.Random(seeds.first())
    sums = make_files(tmp_path / "files", UPLOADS, chance)
    with TcpProxy(int(emulator.storage_url.rpartition(":")[2])) as proxy, cut_at_random(proxy, chance):
        environment = {
            **clean_environment(tmp_path / "home"),
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{proxy.port}",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        ran = subprocess.run(
            [sys.executable, "-c", program, bucket, *sums],
            cwd=tmp_path / "files", env=environment, capture_output=True, text=True, timeout=2900, check=False,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert wrong_ones(emulator, bucket, sums, ran.stdout) == []


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_dvc_push_over_a_bad_network_loses_nothing(emulator: Emulator, bucket: str, tmp_path: Path) -> None:
    """It is repeated until it says that all is well; then all is there."""
    chance = random.Random(seeds.first())
    sums = make_files(tmp_path / "data", UPLOADS, chance)
    environment = {
        **clean_environment(tmp_path / "home"),
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "DVC_NO_ANALYTICS": "true",
    }

    def dvc(*words: str, port: str = "") -> int:
        host = f"http://127.0.0.1:{port}" if port else emulator.storage_url
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**environment, "STORAGE_EMULATOR_HOST": host},
            capture_output=True,
            timeout=900,
            check=False,
        ).returncode

    for words in (
        ("init", "--no-scm"),
        ("remote", "add", "-d", "there", f"gs://{bucket}/dvc"),
        ("remote", "modify", "there", "allow_anonymous_login", "true"),
        ("add", "data"),
    ):
        assert dvc(*words) == 0
    with TcpProxy(int(emulator.storage_url.rpartition(":")[2])) as proxy, cut_at_random(proxy, chance):
        for _ in range(5):
            if dvc("push", port=str(proxy.port)) == 0:
                break
    assert dvc("push") == 0
    for name in ("data", ".dvc/cache"):
        subprocess.run(["rm", "-rf", name], cwd=tmp_path, check=True)
    assert dvc("pull") == 0
    assert {name: hashlib.sha256((tmp_path / "data" / name).read_bytes()).hexdigest() for name in sums} == sums


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_killed_server_keeps_what_it_confirmed_and_shows_no_half_object(
    own_emulator: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud import storage  # type: ignore[attr-defined,import-untyped,unused-ignore]
    from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped,unused-ignore]

    chance = random.Random(seeds.first())
    retry = DEFAULT_RETRY.with_delay(0.2, 2, 1).with_timeout(8)
    running = own_emulator()
    bucket = running.new_bucket()
    confirmed: dict[str, str] = {}
    begun: dict[str, str] = {}

    def upload(client: Any, name: str, content: bytes) -> None:
        begun[name] = hashlib.sha256(content).hexdigest()
        blob = client.bucket(bucket).blob(name, chunk_size=1 << 20 if len(content) > 3 << 20 else None)
        try:
            blob.upload_from_string(content, timeout=20, retry=retry)
        except Exception:
            return
        confirmed[name] = begun[name]

    for kill in range(KILLS):
        with monkeypatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", running.storage_url)
            client = storage.Client(project="p", credentials=AnonymousCredentials())
        with ThreadPoolExecutor(4) as pool:
            for number in range(4):
                size = chance.choice([10, 70_000, 2 << 20, 8 << 20])
                pool.submit(upload, client, f"k{kill}-{number}", os.urandom(size))
            time.sleep(chance.uniform(0, 0.15))
            running.process.kill()
            running.kill()
            # At the same address: a client that was in the middle continues.
            running = own_emulator()
        client.close()
        listed = requests.get(
            f"{running.storage_url}/storage/v1/b/{bucket}/o", params={"prefix": f"k{kill}-"}, timeout=30
        ).json()
        found = {item["name"]: stored(running, bucket, item["name"]) for item in listed.get("items", [])}
        assert {name: begun[name] for name in found} == found
        assert {name for name in confirmed if name.startswith(f"k{kill}-")} <= set(found)
    assert confirmed
    assert {name: stored(running, bucket, name) for name in confirmed} == confirmed
    assert running.stop() == 0
    again = own_emulator()
    assert again.stop() == 0
    # Nothing is left of the uploads that never ended, but what an open session may still need.
    assert "Traceback" not in again.log_text()
