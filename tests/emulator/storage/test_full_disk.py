"""A full disk: an upload is refused with the reason, what was there stays, and all continues when there is room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulator.harness import Emulator
from tests.emulator.storage.test_uploads import Session
from tests.repositories import disk, fill


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_an_upload_to_a_full_disk_is_refused_and_the_old_content_stays(
    tmp_path: Path, own_emulator: Callable[..., Emulator], size: int
) -> None:
    with disk(tmp_path / "disk", megabytes=16) as small:
        emulator = own_emulator(small / "data")
        bucket = emulator.new_bucket()
        old = os.urandom(size)
        emulator.put(bucket, "x", old)
        session = Session(emulator, bucket, os.urandom(size), "resumed")
        filler = fill(small)
        upload = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=x"

        def refused(answer: requests.Response) -> None:
            error: dict[str, Any] = answer.json()["error"]
            assert (answer.status_code, error["errors"][0]["reason"]) == (507, "insufficientStorage")
            assert "No space left on this machine's disk" in error["message"]

        refused(requests.post(upload, data=os.urandom(size), timeout=30))
        refused(session.send(0, size))
        assert emulator.read(bucket, "x") == old
        filler.unlink()
        assert requests.post(upload, data=b"new", timeout=30).status_code == 200
        held = session.held()
        assert session.send(held, size).status_code == 200
        assert emulator.read(bucket, "resumed") == session.content
        assert emulator.stop() == 0
        assert "Traceback" not in emulator.log_text()
