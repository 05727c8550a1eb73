"""TensorFlow's `gs://` in jobs: its libcurl is led to the emulator by a proxy, and sends what follows."""

from __future__ import annotations

import shutil
import textwrap
import time

import pytest

from tests.emulator.harness import FINAL, PYTHON_IMAGE, Emulator
from tests.needs import model_libraries

# Importing TensorFlow is what the client hook waits for. The command curl is made on the library that TensorFlow has
# inside, and heeds the same variables; the requests are those of TensorFlow 2.21.
AS_TENSORFLOW = """
import json, os, pathlib, subprocess, sys
bucket = sys.argv[1]

def curl(*arguments, **options):
    command = ["curl", "--silent", "--show-error", "--fail", "--http1.1", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout

pathlib.Path("tensorflow.py").write_text("")
assert "https_proxy" not in os.environ
import tensorflow
token = curl("--header", "Metadata-Flavor: Google", "http://" + os.environ["GCE_METADATA_HOST"]
             + "/computeMetadata/v1/instance/service-accounts/default/token")
sent = ["--header", "Authorization: Bearer " + json.loads(token)["access_token"]]
begun = curl(*sent, "--include", "--request", "POST", "--header", "Content-Length: 0", "--header",
             "Transfer-Encoding: identity", "--header", "X-Upload-Content-Length: 5",
             f"https://www.googleapis.com/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=a%2Fx.txt")
(where,) = [line.partition(": ")[2] for line in begun.splitlines() if line.startswith("Location: ")]
curl(*sent, "--upload-file", "-", "--header", "Transfer-Encoding: chunked", "--header", "Content-Length: 5",
     "--header", "Content-Range: bytes 0-4/5", where, input="hello")
print(curl(*sent, "--header", "Range: bytes=1-3", f"https://storage.googleapis.com/{bucket}/a%2Fx.txt"))
found = curl(*sent, f"https://www.googleapis.com/storage/v1/b/{bucket}/o?prefix=a/&fields=items/name")
print(json.loads(found)["items"][0]["name"])
# Other names go where they belong; that one is nobody's.
other = subprocess.run(["curl", "--silent", "--show-error", "https://nowhere.invalid/"], capture_output=True, text=True)
print("502" in other.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_google_s_addresses_lead_to_the_emulator(emulator: Emulator, bucket: str) -> None:
    job = emulator.run_job(["python", "-c", AS_TENSORFLOW, bucket])
    assert job["state"] == "JOB_STATE_SUCCEEDED", emulator.output(job)
    assert emulator.output(job) == ["ell", "a/x.txt", "True"]
    assert emulator.read(bucket, "a/x.txt") == b"hello"


TENSORFLOW = """
    import sys
    import tensorflow as tf
    root = f"gs://{sys.argv[1]}/"
    with tf.io.gfile.GFile(root + "a/x.txt", "w") as file:
        file.write("hello")
    print(tf.io.gfile.GFile(root + "a/x.txt").read(), tf.io.gfile.listdir(root + "a"), tf.io.gfile.exists(root + "b"))
    with tf.io.TFRecordWriter(root + "r.tfrecord") as records:
        for number in range(1000):
            records.write(b"x" * 1000)
    print(sum(1 for _ in tf.data.TFRecordDataset(root + "r.tfrecord")))
    tf.io.gfile.rename(root + "a/x.txt", root + "b.txt")
    print(tf.io.gfile.glob(root + "*.txt") == [root + "b.txt"])
    model = tf.Module()
    model.one = tf.Variable(1.0)
    tf.saved_model.save(model, root + "saved")
    print(tf.saved_model.load(root + "saved").one.numpy())
"""


@pytest.mark.slow
def test_tensorflow_reads_and_writes_gs(emulator: Emulator, bucket: str) -> None:
    libraries = model_libraries()
    if libraries is None or not (libraries / "tensorflow").is_dir():
        pytest.skip("tensorflow (270 MB) is not in the folder that EDGE_TESTS_LIBRARIES names")
    command = ["python", "-c", textwrap.dedent(TENSORFLOW), bucket]
    variables = {"PYTHONPATH": str(libraries), "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    name = emulator.submit({"containerSpec": {"imageUri": PYTHON_IMAGE, "command": command, "env": environment}})
    while emulator.get(name).body["state"] not in FINAL:
        time.sleep(0.2)
    assert [line for line in emulator.output(name) if "port.cc" not in line and "absl::" not in line] == [
        "hello ['x.txt'] False",
        "1000",
        "True",
        "1.0",
    ]
