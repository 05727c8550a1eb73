"""Models of TensorFlow and PyTorch, where these are installed; they are too large to be so for the tests alone."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import Emulator

TENSORFLOW_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
PYTORCH_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"

needs_tensorflow = pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="TensorFlow is not installed")
needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")

# Made by their own programs: what these libraries do to a process is their business.
ONE_INPUT = """
import sys, tensorflow as tf
class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(self, x):
        return {"y": tf.reduce_sum(x, axis=1) * 2}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.serve})
"""
TWO_INPUTS = """
import sys, tensorflow as tf
class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "t"), tf.TensorSpec([None], tf.int32, "n")])
    def serve(self, t, n):
        return {"length": tf.strings.length(t) * n, "text": t}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.serve})
"""
TRACED = """
import sys, torch
class Model(torch.nn.Module):
    def forward(self, x):
        return x.sum(dim=1) * 2
torch.jit.trace(Model(), torch.zeros(1, 2)).save(sys.argv[1])
"""
CLASS_HANDLER = """
import os
import torch

class Handler:
    def initialize(self, context):
        file = context.manifest["model"]["serializedFile"]
        self.model = torch.jit.load(os.path.join(context.system_properties["model_dir"], file))

    def handle(self, data, context):
        return self.model(torch.tensor(data)).tolist()
"""
FUNCTION_HANDLER = """
import neighbour

def handle(data, context):
    if data is not None:
        return [{"seen": row["data"].decode() if isinstance(row["data"], bytes) else row["data"], "by": neighbour.NAME}
                for row in data]
"""


def deployed(emulator: Emulator, image: str, files: dict[str, bytes]) -> str:
    bucket = emulator.new_bucket()
    for name, content in files.items():
        emulator.put(bucket, f"model/{name}", content)
    model = emulator.upload(None, image=image, model={"artifactUri": f"gs://{bucket}/model"})
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, model)
    return endpoint


def archive(handler: str, **files: bytes | str) -> dict[str, bytes]:
    manifest: dict[str, Any] = {"runtime": "python", "model": {"modelName": "model", "handler": "handler.py"}}
    if "weights" in files:
        manifest["model"]["serializedFile"] = "weights"
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        mar.writestr("handler.py", handler)
        for name, content in files.items():
            mar.writestr(name.replace("_py", ".py"), content)
    return {"model.mar": output.getvalue()}


def saved_model(source: str, folder: Path) -> dict[str, bytes]:
    subprocess.run([sys.executable, "-c", source, str(folder)], check=True, capture_output=True)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_tensorflow
def test_a_saved_model_is_served_by_its_signature(emulator: Emulator, tmp_path: Path) -> None:
    endpoint = deployed(emulator, TENSORFLOW_IMAGE, saved_model(ONE_INPUT, tmp_path / "m"))
    assert emulator.predict(endpoint, [[1, 2], [3, 4]]).body["predictions"] == [6.0, 14.0]
    assert emulator.predict(endpoint, [{"x": [1, 2]}]).body["predictions"] == [6.0]
    assert emulator.predict(endpoint, []).body["predictions"] == []
    answer = emulator.predict(endpoint, [[1]])
    assert (answer.status, "tensorflow prediction" in answer.message) == (400, True)


@needs_tensorflow
def test_inputs_and_outputs_of_a_saved_model_are_named_when_there_are_several(
    emulator: Emulator, tmp_path: Path
) -> None:
    endpoint = deployed(emulator, TENSORFLOW_IMAGE, saved_model(TWO_INPUTS, tmp_path / "m"))
    rows = [{"t": "ab", "n": 2}, {"t": {"b64": "YWJj"}, "n": 1}]
    predictions = emulator.predict(endpoint, rows).body["predictions"]
    assert predictions == [{"length": 4, "text": "ab"}, {"length": 3, "text": "abc"}]
    assert "names the inputs" in emulator.predict(endpoint, ["ab"]).message


@needs_torch
def test_an_archive_is_served_by_its_handler_class(emulator: Emulator, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", TRACED, str(tmp_path / "m.pt")], check=True, capture_output=True)
    endpoint = deployed(emulator, PYTORCH_IMAGE, archive(CLASS_HANDLER, weights=(tmp_path / "m.pt").read_bytes()))
    assert emulator.predict(endpoint, [[1.0, 2.0], [3.0, 4.0]]).body["predictions"] == [6.0, 14.0]
    assert "pytorch prediction" in emulator.predict(endpoint, ["x"]).message


@needs_torch
def test_an_archive_is_served_by_its_handler_function(emulator: Emulator) -> None:
    endpoint = deployed(emulator, PYTORCH_IMAGE, archive(FUNCTION_HANDLER, neighbour_py="NAME = 'neighbour'"))
    predictions = emulator.predict(endpoint, [{"data": "a"}, {"data": {"b64": "Yg=="}}]).body["predictions"]
    assert predictions == [{"seen": "a", "by": "neighbour"}, {"seen": "b", "by": "neighbour"}]


@needs_torch
def test_an_archive_that_would_write_outside_its_folder_fails_its_deploy(emulator: Emulator) -> None:
    bucket = emulator.new_bucket()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as mar:
        mar.writestr("../outside.py", "")
    emulator.put(bucket, "model/model.mar", output.getvalue())
    model = emulator.upload(None, image=PYTORCH_IMAGE, model={"artifactUri": f"gs://{bucket}/model"})
    operation = emulator.finish(emulator.deploy(emulator.create_endpoint(), model))
    assert "would write outside its folder" in operation["error"]["message"]
