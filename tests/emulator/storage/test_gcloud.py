"""Google's own command line, `gcloud storage`, through the life of a bucket.

Alone: python -m pytest tests/emulator/storage/test_gcloud.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.emulator.harness import Emulator
from tests.gcloud import Gcloud


@pytest.fixture
def gcloud(emulator: Emulator, tmp_path: Path) -> Gcloud:
    return Gcloud(emulator, tmp_path)


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

    gcloud(f"storage buckets create {there} --location us-central1")
    assert gcloud.told(f"storage buckets describe {there}")["location"] == "US-CENTRAL1"
    gcloud(f"storage cp d/a.txt {there}/")
    gcloud(f"storage cp -r d {there}/")
    gcloud(f"storage cp large {there}/large")
    assert gcloud(f"storage cat {there}/d/sub/b.txt") == "two\n"
    assert "Hash (CRC32C):               ojecDQ==" in gcloud(f"storage ls -L {there}/a.txt")
    assert gcloud(f"storage du -s {there}").split()[0] == str(20_000_012)
    gcloud(f"storage cp {there}/large again")
    assert (tmp_path / "again").read_bytes() == large
    gcloud(f"storage mv {there}/a.txt {there}/moved.txt")
    assert gcloud(f"storage ls {there}").split() == [f"{there}/large", f"{there}/moved.txt", f"{there}/d/"]
    (tmp_path / "back").mkdir()
    gcloud(f"storage cp -r {there}/d back")
    assert (tmp_path / "back" / "d" / "sub" / "b.txt").read_text() == "two\n"
    gcloud(f"storage rsync -r d {there}/synced")
    assert gcloud(f"storage ls -r {there}/synced/**").split() == [f"{there}/synced/a.txt", f"{there}/synced/sub/b.txt"]

    gcloud(f"storage objects update {there}/moved.txt --custom-metadata=k=v --content-type=text/csv")
    described = gcloud.told(f"storage objects describe {there}/moved.txt")
    assert (described["custom_fields"], described["content_type"], described["metageneration"]) == (
        {"k": "v"},
        "text/csv",
        2,
    )
    gcloud(f"storage objects compose {there}/d/a.txt {there}/d/sub/b.txt {there}/both.txt")
    assert gcloud(f"storage cat {there}/both.txt") == "one\ntwo\n"

    gcloud(f"storage buckets update {there} --versioning --update-labels=team=a")
    described = gcloud.told(f"storage buckets describe {there}")
    assert (described["versioning_enabled"], described["labels"]) == (True, {"team": "a"})
    gcloud(f"storage cp d/sub/b.txt {there}/moved.txt")
    assert len(gcloud(f"storage ls -a {there}/moved.txt").split()) == 2
    who = "--member=user:ada@example.com --role=roles/storage.objectViewer"
    assert "user:ada@example.com" in gcloud(f"storage buckets add-iam-policy-binding {there} {who}")
    gcloud(f"storage buckets remove-iam-policy-binding {there} {who}")
    assert "user:ada@example.com" not in gcloud(f"storage buckets get-iam-policy {there}")

    gcloud(f"storage mv {there}/synced {there}/elsewhere")
    gcloud(f"storage rm {there}/large")
    gcloud(f"storage rm -r {there}/d")
    assert "matched no objects" in gcloud(f"storage ls {there}/d", status=1)
    assert "not empty" in gcloud(f"storage buckets delete {there}", status=1)
    gcloud(f"storage rm -r {there}")
    assert "not found: 404" in gcloud(f"storage buckets describe {there}", status=1)
    gcloud(f"storage buckets create {there}")
    gcloud(f"storage buckets delete {there}")
