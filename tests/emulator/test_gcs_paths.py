"""/gcs in jobs: by a mount of the job's own, and by Python's functions where a machine gives no mount."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.harness import Emulator

# Every path is made by the script itself, so that no word of the command tells of it.
WRITES = """
import json, os, pathlib, pickle, sys
root = "/" + "gcs"
folder = os.path.join(root, sys.argv[1], "runs", "first")
os.makedirs(folder)
with open(os.path.join(folder, "m.json"), "w") as file:
    json.dump({"loss": 0.5}, file)
pathlib.Path(folder, "model.pkl").write_bytes(pickle.dumps([1, 2]))
with open(f"{root}/{sys.argv[1]}/in/a.txt", "a") as file:
    file.write("more\\n")
os.rename(f"{folder}/model.pkl", f"{folder}/final.pkl")
os.remove(f"{root}/{sys.argv[1]}/in/gone.txt")
print(sorted(os.listdir(folder)), os.path.exists(f"{folder}/model.pkl"), os.path.getsize(f"{folder}/m.json"))
"""
READS = """
import glob, os, shutil, sys
root = os.sep + "gcs"
bucket = os.path.join(root, sys.argv[1])
print(open(f"{bucket}/data/rows.csv").read().strip(), sorted(glob.glob(f"{bucket}/data/**/*.csv", recursive=True)))
print([names for _, _, names in sorted(os.walk(f"{bucket}/data"))], os.path.isdir(bucket))
shutil.copy(f"{bucket}/data/rows.csv", "here.csv")
os.chdir(f"{bucket}/data/deep")
print(open("more.csv").read().strip())
try:
    open(f"{bucket}/data/none.csv")
except FileNotFoundError as error:
    print("not found")
"""


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One that reaches /gcs by Python's functions."""
    running = Emulator(tmp_path_factory.mktemp("hooks") / "data", environment={"VERTEX_EMULATOR_NO_MOUNT": "1"})
    yield running
    assert running.stop() == 0


@pytest.fixture(params=["mount", "hooks"])
def job_emulator(request: pytest.FixtureRequest) -> Emulator:
    if request.param == "mount" and (reason := _no_mount()):
        pytest.skip(reason)
    found: Emulator = request.getfixturevalue("emulator" if request.param == "mount" else "hooked")
    return found


def _no_mount() -> str:
    from edge_tasks.emulator.runtime.gcs_folder import GcsMount

    return GcsMount("http://127.0.0.1:1").refusal()


def test_what_a_script_writes_below_gcs_is_in_the_bucket(job_emulator: Emulator) -> None:
    bucket = job_emulator.new_bucket()
    job_emulator.put(bucket, "in/a.txt", b"one\n")
    job_emulator.put(bucket, "in/gone.txt", b"x")
    job = job_emulator.run_job(["python3", "-c", WRITES, bucket])
    assert job_emulator.output(job) == ["['final.pkl', 'm.json'] False 13"]
    assert job_emulator.read(bucket, "runs/first/m.json") == b'{"loss": 0.5}'
    assert job_emulator.read(bucket, "runs/first/final.pkl").startswith(b"\x80")
    assert job_emulator.read(bucket, "in/a.txt") == b"one\nmore\n"
    listed = job_emulator.session.get(f"{job_emulator.storage_url}/storage/v1/b/{bucket}/o", timeout=10).json()["items"]
    names = [item["name"] for item in listed if not item["name"].endswith("/")]
    assert sorted(names) == ["in/a.txt", "runs/first/final.pkl", "runs/first/m.json"]
    assert not Path("/gcs", bucket).exists()


def test_a_cancellation_while_files_are_uploaded_loses_none(hooked: Emulator) -> None:
    bucket = hooked.new_bucket()
    script = "import sys\nfor n in range(100): open('/' + f'gcs/{sys.argv[1]}/{n}', 'w').write('x')"
    name = hooked.create_job(["python3", "-c", script, bucket])

    def there() -> int:
        listed = hooked.session.get(f"{hooked.storage_url}/storage/v1/b/{bucket}/o", timeout=10).json()
        return len(listed.get("items", ()))

    while not there():
        time.sleep(0.005)
    hooked.post(f"/v1/{name}:cancel", {})
    hooked.wait_for_job(name)
    assert there() == 100


def test_a_script_reads_below_gcs_what_is_in_the_bucket(job_emulator: Emulator) -> None:
    bucket = job_emulator.new_bucket()
    job_emulator.put(bucket, "data/rows.csv", b"1,2\n")
    job_emulator.put(bucket, "data/deep/more.csv", b"3,4\n")
    output = job_emulator.output(job_emulator.run_job(["python3", "-c", READS, bucket]))
    below = f"/gcs/{bucket}/data"
    assert output == [
        f"1,2 ['{below}/deep/more.csv', '{below}/rows.csv']",
        "[['rows.csv'], ['more.csv']] True",
        "3,4",
        "not found",
    ]


def test_a_program_that_python_starts_sees_gcs_or_is_refused_with_the_reason(job_emulator: Emulator) -> None:
    bucket = job_emulator.new_bucket()
    job_emulator.put(bucket, "a.txt", b"content\n")
    script = "import subprocess, sys; subprocess.run(['cat', '/' + f'gcs/{sys.argv[1]}/a.txt'], check=True)"
    job = job_emulator.run_job(["python3", "-c", script, bucket])
    if job["state"] == "JOB_STATE_FAILED":
        assert (
            "Only Python's own functions reach /gcs here (VERTEX_EMULATOR_NO_MOUNT is set)" in job["error"]["message"]
        )
    else:
        assert job_emulator.output(job) == ["content"]


def test_a_job_sees_at_once_what_a_client_writes_and_the_other_way_round(emulator: Emulator) -> None:
    if reason := _no_mount():
        pytest.skip(reason)
    bucket = emulator.new_bucket()
    script = """
import sys
from pathlib import Path
from google.cloud import storage
bucket = storage.Client().bucket(sys.argv[1])
mounted = Path("/gcs", sys.argv[1])
bucket.blob("by-client/a").upload_from_string("1")
print((mounted / "by-client/a").read_text())
bucket.blob("by-client/a").upload_from_string("22")
print((mounted / "by-client/a").read_text(), (mounted / "by-client/a").stat().st_size)
(mounted / "b").write_text("3")
print(bucket.blob("b").download_as_text())
with (mounted / "big").open("wb") as file:
    for number in range(30):
        file.write(bytes([number]) * 2**20)
    file.seek(5)
    file.write(b"!")
print(bucket.get_blob("big").size, bucket.blob("big").download_as_bytes()[4:7])
"""
    job = emulator.run_job([sys.executable, "-c", script, bucket])
    assert emulator.output(job) == ["1", "22 2", "3", f"{30 * 2**20} {bytes([0, 33, 0])!r}"], job


def test_a_bucket_that_is_not_there_is_no_folder(job_emulator: Emulator) -> None:
    script = "import os; os.makedirs(os.sep + 'gcs/no-such-bucket/a')"
    job = job_emulator.run_job(["python3", "-c", script])
    assert job["state"] == "JOB_STATE_FAILED"
    assert not Path("/gcs").exists()


def test_gcsfs_in_a_job_reaches_the_emulator(job_emulator: Emulator) -> None:
    bucket = job_emulator.new_bucket()
    script = """
import fsspec, sys
with fsspec.open(f"gs://{sys.argv[1]}/by-gcsfs", "w") as file:
    file.write("1")
print(sorted(fsspec.filesystem("gs").ls(sys.argv[1])))
"""
    assert job_emulator.output(job_emulator.run_job(["python3", "-c", script, bucket])) == [f"['{bucket}/by-gcsfs']"]


@pytest.mark.needs("gcloud")
@pytest.mark.timeout(180)
def test_gcloud_storage_in_a_job_reaches_the_emulator(emulator: Emulator) -> None:
    bucket = emulator.new_bucket()
    command = f"echo 1 > a.txt; gcloud storage cp -q a.txt gs://{bucket}/by-gcloud"
    job = emulator.run_job(["sh", "-c", command])
    assert emulator.read(bucket, "by-gcloud") == b"1\n", job
