"""What it costs to keep what an endpoint is asked, and to read it again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import psutil
import requests

from benchmarks.laboratory import Laboratory
from benchmarks.load import Load, Target, load
from benchmarks.row import Peer, Row
from benchmarks.sample import Sample
from benchmarks.serving import RateRow
from edge_tasks.cloud import request_log
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process

ROUNDS = 7
SECONDS = 2.0
CONNECTIONS = 8
AT_LEAST = 0.95
# Megabytes by which the emulator may grow while it keeps all that it is asked for some seconds.
MOST_GROWTH = 20.0
SECONDS_TO_GROW = 20.0
ROWS = int(os.environ.get("EDGE_BENCHMARK_ROWS", "1000000"))
SECONDS_TO_READ = 10.0
OBJECT = 512 << 10
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class GrowthRow(Row):
    """Megabytes in place of seconds."""

    def cells(self) -> list[str]:
        """Return the columns of the table, in megabytes."""
        assert self.peer is not None
        ours, theirs = (f"{sample.median:.0f} MB" for sample in (self.sample, self.peer.sample))
        verdict = {None: "", True: "yes", False: "NO"}[self.holds]
        return [
            self.what,
            ours,
            f"{self.peer.name}: {theirs}",
            self.comparison(),
            f"at most {MOST_GROWTH:.0f} MB more",
            verdict,
        ]

    @property
    def value(self) -> float:
        """The megabytes that were added."""
        assert self.peer is not None
        return self.sample.median - self.peer.sample.median

    def comparison(self) -> str:
        """Return the megabytes that were added."""
        return f"{self.value:.1f} MB more"


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Load two endpoints of one model by turns, of which one keeps everything; then read a million rows."""
    laboratory.deployed()
    servers = emulator_process.running(laboratory.repository)
    assert servers is not None
    name = laboratory.run("invoke", "model.get-endpoint").strip()
    payload = json.loads((laboratory.repository / "models" / "digits" / "test_payload.json").read_text("utf-8"))
    body = json.dumps({"instances": payload["instances"][:1]}).encode()
    keeping = _keeping(servers.vertex_url, name)
    plain, kept = (Target(f"{servers.vertex_url}/v1/{one}:predict", body) for one in (name, keeping))
    taken: dict[str, list[Load]] = {"plain": [], "kept": []}
    for target in (plain, kept):
        load(target, CONNECTIONS, SECONDS)
    for _ in range(ROUNDS):
        taken["plain"].append(load(plain, CONNECTIONS, SECONDS))
        taken["kept"].append(load(kept, CONNECTIONS, SECONDS))
    without, with_all = (Sample(tuple(one.each for one in taken[which])) for which in ("plain", "kept"))
    yield RateRow(f"predictions that are kept, {CONNECTIONS} at once", with_all, Peer("not kept", without), AT_LEAST)

    process = psutil.Process(json.loads(requests.get(f"{servers.vertex_url}/_emulator/health", timeout=10).text)["pid"])
    before = _megabytes(process)
    load(kept, CONNECTIONS, SECONDS_TO_GROW)
    yield GrowthRow(
        f"memory after {SECONDS_TO_GROW:.0f} s more of them", Sample((_megabytes(process),) * 2),
        Peer("before", Sample((before,) * 2)), MOST_GROWTH,
    )  # fmt: skip

    cloud = connect(load_config(laboratory.repository), laboratory.repository)
    table = f"bq://{cloud.project}.read.asked"
    _write_rows(cloud, keeping)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        count = sum(1 for _ in request_log.read(cloud, keeping, table, FIRST, FIRST + timedelta(days=2)))
        times.append(time.perf_counter() - started)
        if count != ROWS:
            raise RuntimeError(f"{count} of {ROWS} rows were read")
    yield Row(f"reading {ROWS:,} kept requests", Sample(tuple(times)), None, SECONDS_TO_READ * ROWS / 1_000_000)


def _keeping(url: str, name: str) -> str:
    """Return another endpoint of the same model, which keeps everything."""
    endpoint = requests.get(f"{url}/v1/{name}", timeout=60).json()
    deployed = {key: endpoint["deployedModels"][0][key] for key in ("model", "dedicatedResources")}
    deployed["model"] += f"@{endpoint['deployedModels'][0]['modelVersionId']}"
    setting = {"enabled": True, "samplingRate": 1.0, "bigqueryDestination": {"outputUri": "bq://bench-project.kept"}}
    parent = name.partition("/endpoints/")[0]
    body = {"displayName": "keeping", "predictRequestResponseLoggingConfig": setting}
    made = _response(url, requests.post(f"{url}/v1/{parent}/endpoints", json=body, timeout=60).json())["name"]
    deploy = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
    _response(url, requests.post(f"{url}/v1/{made}:deployModel", json=deploy, timeout=60).json())
    return str(made)


def _response(url: str, operation: dict) -> dict:  # type: ignore[type-arg]
    while not operation.get("done"):
        operation = requests.get(f"{url}/v1/{operation['name']}", timeout=60).json()
    response: dict = operation["response"]  # type: ignore[type-arg]
    return response


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


def _write_rows(cloud: Cloud, endpoint: str) -> None:
    """Write the rows of a day as the emulator does, with six features each."""
    bucket = f"{cloud.project}-bigquery-tables"
    if cloud.storage.lookup_bucket(bucket) is None:
        cloud.storage.create_bucket(bucket)
    objects = cloud.objects_in(bucket)
    lines: list[bytes] = []
    size = number = 0
    asked = json.dumps({"age": 41, "city": "Leeds", "plan": "basic", "monthly_fee": 48.5, "calls": 6, "months": 2})
    answered = json.dumps({"prediction": "no", "probabilities": {"no": 0.93, "yes": 0.07}})
    for place in range(ROWS):
        row = {
            "endpoint": endpoint, "deployed_model_id": "1", "request_id": str(place), "request_payload": [asked],
            "logging_time": (FIRST + timedelta(seconds=place * 0.08)).isoformat(timespec="microseconds"),
            "response_payload": [answered],
        }  # fmt: skip
        lines.append(json.dumps(row).encode())
        size += len(lines[-1])
        if size > OBJECT or place == ROWS - 1:
            objects.write(f"read/asked/2026-01-01/{number:06}.jsonl", b"\n".join(lines))
            lines, size, number = [], 0, number + 1
