"""The frozen schema is that of the installed SDK."""

from __future__ import annotations

import lzma
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from edge_tasks.emulator.schema import surface
from tests.emulator.harness import child_environment

FOLDER = Path(surface.__file__).parent


@pytest.mark.slow
def test_the_frozen_schema_equals_the_installed_sdk(tmp_path: Path) -> None:
    """After an update of the SDK: python -m edge_tasks.emulator.schema.freeze."""
    command = [sys.executable, "-W", "ignore", "-m", "edge_tasks.emulator.schema.freeze", str(tmp_path)]
    subprocess.run(command, check=True, env=child_environment())
    assert (tmp_path / surface.ROUTES_FILE).read_text() == (FOLDER / surface.ROUTES_FILE).read_text()
    assert _vertex_files(tmp_path) == _vertex_files(FOLDER)


def _vertex_files(folder: Path) -> dict[str, object]:
    """The SDK's own files; those of protobuf itself differ between its releases."""
    data = lzma.decompress((folder / surface.DESCRIPTORS_FILE).read_bytes())
    files = descriptor_pb2.FileDescriptorSet.FromString(data).file
    return {file.name: file for file in files if file.package == surface.VERTEX}


def test_every_type_of_every_rpc_is_there() -> None:
    loaded = surface.load()
    for rpc in loaded.rpcs.values():
        for name in (rpc.request_type, rpc.response_type, rpc.operation_response, rpc.operation_metadata):
            assert name is None or loaded.message_class(name) is not None
    assert len(loaded.rpcs) > 300


def test_starting_imports_neither_the_sdk_nor_the_rest_of_edge_tasks() -> None:
    # What the emulator and the servers of models say to each other.
    shared = ["edge_tasks.serving", *(f"edge_tasks.serving.{name}" for name in ("borrowed", "http_protocol", "tally"))]
    script = (
        "import sys, edge_tasks.emulator.emulator\n"
        "bad = [m for m in sys.modules if m.startswith(('google.cloud.', 'google.api_core', 'google.auth'))\n"
        "       or (m.startswith('edge_tasks.') and not m.startswith('edge_tasks.emulator'))]\n"
        f"bad = set(bad) - set({shared})\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=child_environment())
    assert (done.returncode, done.stderr) == (0, "")
