"""What it costs to keep what an endpoint is asked, and to read it again."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import psutil
import requests

from benchmarks.laboratory import Laboratory
from benchmarks.load import Load, Target, load
from benchmarks.row import Peer, Row
from benchmarks.sample import Sample
from benchmarks.serving import RateRow
from edge_tasks.cloud import request_log
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.domain.baseline import Tally, columns_of, make_baseline
from edge_tasks.domain.drift import compare
from edge_tasks.monitoring import requests as asked
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process

ROUNDS = 12
SECONDS = 2.0
CONNECTIONS = 8
AT_LEAST = 0.95
# Megabytes by which the emulator may grow while it keeps all that it is asked for some seconds, and a reader while it
# reads a million rows.
MOST_GROWTH = 20.0
MOST_READING = 100.0
SECONDS_TO_GROW = 20.0
ROWS = int(os.environ.get("EDGE_BENCHMARK_ROWS", "1000000"))
SECONDS_TO_READ = 10.0
OBJECT = 512 << 10
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class GrowthRow(Row):
    """Megabytes in place of seconds: at most `limit` more."""

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
            f"at most {self.limit:.0f} MB more",
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


@dataclass(frozen=True)
class Asked:
    """What came of some seconds of requests: the answers, and the seconds of computing that each took the emulator."""

    load: Load
    computing: float


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Load two endpoints of one model by turns, of which one keeps everything; then read a million rows."""
    laboratory.deployed()
    servers = emulator_process.running(laboratory.repository)
    assert servers is not None
    process = psutil.Process(json.loads(requests.get(f"{servers.vertex_url}/_emulator/health", timeout=10).text)["pid"])
    name = laboratory.run("invoke", "model.get-endpoint").strip()
    keeping = _keeping(servers.vertex_url, name)
    yield from _keep(laboratory, process, *(f"{servers.vertex_url}/v1/{one}:predict" for one in (name, keeping)))
    yield from _read(connect(load_config(laboratory.repository), laboratory.repository), keeping, process)


def _keep(laboratory: Laboratory, process: psutil.Process, *urls: str) -> Iterator[Row]:
    payload = json.loads((laboratory.repository / "models" / "digits" / "test_payload.json").read_text("utf-8"))
    body = json.dumps({"instances": payload["instances"][:1]}).encode()
    plain, kept = (Target(url, body) for url in urls)
    taken: dict[str, list[Asked]] = {"plain": [], "kept": []}
    for target in (plain, kept):
        load(target, CONNECTIONS, SECONDS)
    for place in range(ROUNDS):
        # What comes first in a pair changes: a machine that gets slower or faster meets both alike.
        for which in ("plain", "kept") if place % 2 else ("kept", "plain"):
            taken[which].append(_asked(kept if which == "kept" else plain, process))
    without, with_all = (Sample(tuple(one.load.each for one in taken[which])) for which in ("plain", "kept"))
    yield RateRow(f"predictions that are kept, {CONNECTIONS} at once", with_all, Peer("not kept", without), AT_LEAST)
    # Steadier than the rate, which others on the machine change: the emulator's computing, the model's process not.
    without, with_all = (Sample(tuple(one.computing for one in taken[which])) for which in ("plain", "kept"))
    yield Row("the emulator's computing for one that is kept", with_all, Peer("not kept", without))
    before = _megabytes(process)
    load(kept, CONNECTIONS, SECONDS_TO_GROW)
    yield GrowthRow(
        f"memory after {SECONDS_TO_GROW:.0f} s more of them", Sample((_megabytes(process),) * 2),
        Peer("before", Sample((before,) * 2)), MOST_GROWTH,
    )  # fmt: skip


def _asked(target: Target, process: psutil.Process) -> Asked:
    """Ask for some seconds, and until what was kept of it is written, which is once a second."""
    before = _computed(process)
    found = load(target, CONNECTIONS, SECONDS)
    time.sleep(1.2)
    return Asked(found, (_computed(process) - before) / len(found.answers))


def _computed(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _read(cloud: Cloud, endpoint: str, process: psutil.Process) -> Iterator[Row]:
    """Read what was kept as `model.monitor` does, and compare it with a baseline."""
    table = f"bq://{cloud.project}.read.asked"
    _write_rows(cloud, endpoint)
    chance = random.Random(1)
    sample = [_request(chance) for _ in range(10_000)]
    baseline = make_baseline(columns_of(*zip(*sample, strict=True)), "a training")
    reader = psutil.Process()
    times, computing, peak, before = [], [], 0.0, _megabytes(reader)
    for _ in range(3):
        started, computed = time.perf_counter(), _computed(reader) + _computed(process)
        tally = Tally(baseline)
        for batch in request_log.batches(cloud, endpoint, table, FIRST, FIRST + timedelta(days=2)):
            tally.add(asked.columns(batch), len(batch))
            peak = max(peak, _megabytes(reader))
        compare(baseline.columns, tally.columns)
        times.append(time.perf_counter() - started)
        computing.append(_computed(reader) + _computed(process) - computed)
        if tally.rows != ROWS:
            raise RuntimeError(f"{tally.rows} of {ROWS} rows were read")
    limit = SECONDS_TO_READ * ROWS / 1_000_000
    yield Row(f"reading {ROWS:,} kept requests, and comparing them", Sample(tuple(times)), None, limit)
    yield Row("computing for it, of reader and emulator", Sample(tuple(computing)), None)
    yield GrowthRow(
        "memory of the reader meanwhile", Sample((peak,) * 2), Peer("before", Sample((before,) * 2)), MOST_READING
    )


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
    chance = random.Random(2)
    lines: list[bytes] = []
    size = number = 0
    for place in range(ROWS):
        request, answer = (json.dumps(value, separators=(",", ":")) for value in _request(chance))
        row = {
            "endpoint": endpoint, "deployed_model_id": "1", "request_id": str(place), "request_payload": [request],
            "logging_time": (FIRST + timedelta(seconds=place * 0.08)).isoformat(timespec="microseconds"),
            "response_payload": [answer],
        }  # fmt: skip
        lines.append(json.dumps(row).encode())
        size += len(lines[-1])
        if size > OBJECT or place == ROWS - 1:
            objects.write(f"read/asked/2026-01-01/{number:06}.jsonl", b"\n".join(lines))
            lines, size, number = [], 0, number + 1


def _request(chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an instance of six features, and its prediction."""
    instance = {
        "age": chance.randint(18, 90), "city": chance.choice(("Leeds", "York", "Hull")), "calls": chance.randrange(9),
        "plan": chance.choice("ab"), "monthly_fee": round(chance.uniform(9, 99), 2), "months": chance.randint(1, 60),
    }  # fmt: skip
    yes = round(chance.random(), 6)
    prediction = {"prediction": "yes" if yes > 0.5 else "no", "probabilities": {"no": round(1 - yes, 6), "yes": yes}}
    return instance, prediction
