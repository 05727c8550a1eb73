"""Google's own command line, `gcloud storage`, through the life of a bucket.

Alone: python -m pytest tests/emulator/storage/test_gcloud.py
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import Emulator

Gcloud = Callable[..., str]


@pytest.fixture
def gcloud(emulator: Emulator, tmp_path: Path) -> Gcloud:
    environment = {
        **os.environ,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{emulator.storage_url}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": "my-project",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    }

    def run(command: str, *, status: int = 0) -> str:
        ran = subprocess.run(
            ["gcloud", "storage", *command.split()],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == status, ran.stderr
        return ran.stdout if status == 0 else ran.stderr

    return run


def told(output: str) -> Any:
    return json.loads(output)


@pytest.mark.slow
@pytest.mark.needs("gcloud")
@pytest.mark.timeout(600)
def test_a_bucket_lives_with_gcloud_storage(gcloud: Gcloud, tmp_path: Path, emulator: Emulator) -> None:
    there = f"gs://{emulator.new_bucket()}-gcloud"
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a.txt").write_text("one\n")
    (tmp_path / "d" / "sub" / "b.txt").write_text("two\n")
    large = os.urandom(20_000_000)
    (tmp_path / "large").write_bytes(large)

    gcloud(f"buckets create {there} --location us-central1")
    assert told(gcloud(f"buckets describe {there} --format json"))["location"] == "US-CENTRAL1"
    gcloud(f"cp d/a.txt {there}/")
    gcloud(f"cp -r d {there}/")
    gcloud(f"cp large {there}/large")
    assert gcloud(f"cat {there}/d/sub/b.txt") == "two\n"
    assert "Hash (CRC32C):               ojecDQ==" in gcloud(f"ls -L {there}/a.txt")
    assert gcloud(f"du -s {there}").split()[0] == str(20_000_012)
    gcloud(f"cp {there}/large again")
    assert (tmp_path / "again").read_bytes() == large
    gcloud(f"mv {there}/a.txt {there}/moved.txt")
    assert gcloud(f"ls {there}").split() == [f"{there}/large", f"{there}/moved.txt", f"{there}/d/"]
    (tmp_path / "back").mkdir()
    gcloud(f"cp -r {there}/d back")
    assert (tmp_path / "back" / "d" / "sub" / "b.txt").read_text() == "two\n"
    gcloud(f"rsync -r d {there}/synced")
    assert gcloud(f"ls -r {there}/synced/**").split() == [f"{there}/synced/a.txt", f"{there}/synced/sub/b.txt"]

    gcloud(f"objects update {there}/moved.txt --custom-metadata=k=v --content-type=text/csv")
    described = told(gcloud(f"objects describe {there}/moved.txt --format json"))
    assert (described["custom_fields"], described["content_type"], described["metageneration"]) == (
        {"k": "v"},
        "text/csv",
        2,
    )
    gcloud(f"objects compose {there}/d/a.txt {there}/d/sub/b.txt {there}/both.txt")
    assert gcloud(f"cat {there}/both.txt") == "one\ntwo\n"

    gcloud(f"buckets update {there} --versioning --update-labels=team=a")
    described = told(gcloud(f"buckets describe {there} --format json"))
    assert (described["versioning_enabled"], described["labels"]) == (True, {"team": "a"})
    gcloud(f"cp d/sub/b.txt {there}/moved.txt")
    assert len(gcloud(f"ls -a {there}/moved.txt").split()) == 2
    who = "--member=user:ada@example.com --role=roles/storage.objectViewer"
    assert "user:ada@example.com" in gcloud(f"buckets add-iam-policy-binding {there} {who}")
    gcloud(f"buckets remove-iam-policy-binding {there} {who}")
    assert "user:ada@example.com" not in gcloud(f"buckets get-iam-policy {there}")

    gcloud(f"mv {there}/synced {there}/elsewhere")
    gcloud(f"rm {there}/large")
    gcloud(f"rm -r {there}/d")
    assert "matched no objects" in gcloud(f"ls {there}/d", status=1)
    assert "not empty" in gcloud(f"buckets delete {there}", status=1)
    gcloud(f"rm -r {there}")
    assert "not found: 404" in gcloud(f"buckets describe {there}", status=1)
    gcloud(f"buckets create {there}")
    gcloud(f"buckets delete {there}")
