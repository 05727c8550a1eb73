"""Buckets to test in: a folder with an edge.yaml and its own local servers, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process
from tests.forking import commands

EDGE_YAML = """\
google_cloud_project: {project_id: my-project, region: us-central1}
storage_bucket: {bucket_name: my-bucket}
models:
  digits: {endpoint_name: digits-endpoint}
"""


@contextmanager
def bucket(root: Path, edge_yaml: str = EDGE_YAML) -> Iterator[Path]:
    """Start servers in the folder `root`, with an empty bucket."""
    (root / "edge.yaml").write_text(edge_yaml)
    try:
        with commands.forking_interpreter():
            storage.create_bucket(connect(load_config(root, {}), root))
        yield root
    finally:
        emulator_process.stop(root)


@contextmanager
def emptied(cloud: Cloud) -> Iterator[Cloud]:
    """Empty the bucket afterwards."""
    yield cloud
    for blob in cloud.storage.list_blobs(cloud.bucket_name):
        blob.delete()
