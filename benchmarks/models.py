"""Deploying through the SDK, and what many deployed models weigh."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.laboratory import Laboratory
from benchmarks.row import Row
from benchmarks.sample import Sample, timed
from edge_tasks.tools import emulator_process

ENDPOINTS = 50
MODELS = 60
AT_MOST = 1.5
MEGABYTES = 6 * 1024


@dataclass(frozen=True)
class MemoryRow(Row):
    """Megabytes instead of seconds."""

    def cells(self) -> list[str]:
        """Return the columns of the table, in megabytes."""
        verdict = {None: "", True: "yes", False: "NO"}[self.holds]
        limit = "" if self.limit is None else f"at most {self.limit:.0f} MB"
        return [self.what, f"{self.value:.0f} MB", "", "", limit, verdict]


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Deploy the digits model many times, side by side."""
    laboratory.deployed()
    servers = emulator_process.running(laboratory.repository)
    assert servers is not None
    name = laboratory.run("invoke", "model.get-endpoint").strip()
    model = _model(servers.vertex_url, name)
    from google.cloud import aiplatform

    tree = psutil.Process(servers.pid)
    before = _megabytes(tree)
    endpoints = [aiplatform.Endpoint.create(display_name="many") for _ in range(ENDPOINTS)]
    times = [
        timed(lambda endpoint=endpoint: endpoint.deploy(model, machine_type="n1-standard-2"))  # type: ignore[misc]
        for endpoint in [*endpoints, *endpoints[: MODELS - ENDPOINTS]]
    ]
    after = _megabytes(tree)
    yield Row("Endpoint.deploy, SDK", Sample(tuple(times)), None, AT_MOST)
    yield MemoryRow(f"{MODELS + 1} models, all processes", Sample((after,) * 2), None, MEGABYTES)
    yield MemoryRow("  for each more", Sample(((after - before) / MODELS,) * 2))
    for endpoint in endpoints:
        endpoint.delete(force=True)


def _model(url: str, endpoint: str) -> Any:
    # google-api-core tells of every Python version that it will stop to support, at every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    # It tells of every step on stdout, where the table goes.
    logging.disable(logging.INFO)
    _, project, _, location, *_ = endpoint.split("/")
    aiplatform.init(
        project=project,
        location=location,
        api_endpoint=url,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    return aiplatform.Model(aiplatform.Endpoint(endpoint).list_models()[0].model)


def _megabytes(parent: psutil.Process) -> float:
    """Return the memory of a process and its tree, with shared pages divided among those who share them."""
    tree = [parent, *parent.children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in tree)) / (1 << 20)
