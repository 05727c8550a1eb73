"""A full disk: what cannot be stored is refused at once with the reason, and all is well again when there is room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import requests

from tests.emulator.harness import Emulator
from tests.repositories import disk, fill


def test_a_full_disk_refuses_with_the_reason_and_loses_nothing(
    tmp_path: Path, own_emulator: Callable[..., Emulator]
) -> None:
    with disk(tmp_path / "disk", megabytes=8) as small:
        emulator = own_emulator(small / "data")
        bucket = emulator.new_bucket()
        emulator.put(bucket, "before", b"kept")
        endpoints = f"{emulator.url}/v1/projects/p/locations/us-central1/endpoints"
        filler = fill(small)
        upload = f"{emulator.storage_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=after"
        refused = requests.post(upload, data=b"x" * 1000, timeout=30)
        assert refused.status_code == 507
        assert "No space left on this machine's disk" in refused.json()["error"]["message"]
        answers = [requests.post(endpoints, json={"displayName": f"e{i}"}, timeout=30) for i in range(50)]
        full = [answer for answer in answers if answer.status_code != 200]
        assert full, "SQLite found room for all"
        assert {answer.status_code for answer in full} == {400}
        assert all("No space left" in answer.json()["error"]["message"] for answer in full)

        filler.unlink()
        assert requests.post(upload, data=b"x" * 1000, timeout=30).status_code == 200
        assert requests.post(endpoints, json={"displayName": "last"}, timeout=30).status_code == 200
        download = requests.get(f"{emulator.storage_url}/storage/v1/b/{bucket}/o/before?alt=media", timeout=30)
        assert download.content == b"kept"
        listed = requests.get(endpoints, params={"pageSize": 100}, timeout=30).json()["endpoints"]
        assert len(listed) == 1 + len(answers) - len(full)
        assert emulator.stop() == 0
