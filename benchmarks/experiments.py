"""Recorded runs: listing many of them compared with MLflow, and what recording costs a training."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.laboratory import BIN, Laboratory
from benchmarks.peers import PeerError, run_peer
from benchmarks.row import DifferenceRow, Peer, RatioRow, Row
from benchmarks.sample import Sample, compared, duration, timed

FEW, MANY = 1_000, 10_000
COLD, WARM = 10.0, 0.8
# Ten times the runs may cost ten times the time, and no more.
LINEAR = MANY / FEW
START, MINUTE_SHARE = 0.3, 0.01
# Seconds of a training that stands for one of a minute: what a record costs it does not grow with its length, and the
# longer it is, the more the machine's own moods hide that.
LENGTH = 15.0
PARAMETERS, METRICS = 6, 4

SEED_MLFLOW = """\
import json, sys
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
client = MlflowClient()
for line in open(sys.argv[1]):
    run = json.loads(line)
    made = client.create_run("0", start_time=run["start"], run_name=run["id"])
    metrics = [Metric(name, value, run["start"], 0) for name, value in run["metrics"].items()]
    params = [Param(name, str(value)) for name, value in run["parameters"].items()]
    client.log_batch(made.info.run_id, metrics, params)
    client.set_terminated(made.info.run_id)
"""

TRAIN = """\
import sys, time
from pathlib import Path
from sacred import Experiment
from edge_tasks.training import get_config_and_state, vertex_wrapper
config, state = get_config_and_state()
ex = Experiment("digits")

@ex.config
def cfg():
    model_name = "digits"
    rounds = 0

@ex.automain
@vertex_wrapper(config, state)
def run(_run, rounds, model_output_dir="./"):
    entered = time.time()
    for number in range(rounds):
        sum(range(100_000))
        if number % 20 == 0:
            _run.log_scalar("loss", 1 / (number + 1), number)
            print("round", number)
    done = time.time()
    (Path(model_output_dir) / "model").mkdir()
    (Path(model_output_dir) / "model" / "m.txt").write_text("m")
    (Path(model_output_dir) / "metrics.json").write_text('{"score": 1.0}')
    print(f"TIMES {entered} {done}", file=sys.__stderr__)
"""


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """List 1,000 and 10,000 runs, then train with and without a record."""
    laboratory.trained()
    yield from _recording(laboratory)
    # The trainings that were measured have left artifacts of theirs, which nothing can serve.
    laboratory.run("dvc", "repro", "models/digits/dvc.yaml")
    yield from _listing(laboratory)


def _listing(laboratory: Laboratory) -> Iterator[Row]:
    runs = [_run(number) for number in range(MANY)]
    listing = laboratory.runner("invoke", "experiments.list")
    _record(laboratory.repository, runs[:FEW])
    (few,) = compared([listing], repetitions=5)
    _record(laboratory.repository, runs[FEW:])
    laboratory.run("invoke", "local.stop")
    laboratory.run("invoke", "local.start")
    cold = timed(listing)
    yield Row(f"experiments.list of {MANY:,} runs, servers just started", Sample((cold, cold)), limit=COLD)
    works = [listing]
    with tempfile.TemporaryDirectory(prefix="edge-mlflow-", dir=laboratory.folder) as name:
        try:
            works.append(_mlflow(Path(name), runs))
        except PeerError as error:
            print(f"  mlflow is left out: {error}", file=sys.stderr)
        many, *peer = compared(works, repetitions=5)
    peers = Peer("mlflow runs list", peer[0]) if peer else None
    yield Row(f"experiments.list of {MANY:,} runs, again", many, peers, WARM)
    yield RatioRow(f"experiments.list of {MANY:,} runs", many, Peer(f"of {FEW:,}", few), LINEAR)


def _run(number: int) -> dict[str, Any]:
    started = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=number)
    return {
        "id": f"{started:%Y%m%d-%H%M%S}-{number:08x}",
        "start": int(started.timestamp() * 1000),
        "parameters": {f"parameter_{index}": number * 0.1 + index for index in range(PARAMETERS)},
        "metrics": {f"metric_{index}": 1 / (number + index + 1) for index in range(METRICS)},
    }


def _record(repository: Path, runs: list[dict[str, Any]]) -> None:
    """Write the records of `runs` as trainings do."""
    from edge_tasks.cloud.client import connect
    from edge_tasks.cloud.run_store import RunStore
    from edge_tasks.domain.runs import COMPLETED, RunRecord
    from edge_tasks.repo.edge_yaml import load_config

    config = load_config(repository)
    store = RunStore(connect(config, repository), config)

    def write(run: dict[str, Any]) -> None:
        started = datetime.fromtimestamp(run["start"] / 1000, timezone.utc)
        record = RunRecord(
            run_id=run["id"],
            model_name="digits",
            status=COMPLETED,
            created=started,
            started=started,
            heartbeat=started,
            ended=started + timedelta(seconds=30),
            user="ada",
            host="laptop",
            target="local",
            commit="0123456789abcdef0123456789abcdef01234567",
            dirty=False,
            parameters=run["parameters"],
            metrics=run["metrics"],
        )
        store.write(record, 0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, runs))


def _mlflow(folder: Path, runs: list[dict[str, Any]]) -> Any:
    """Log the same runs to MLflow's default store in `folder`; return what lists them."""
    environment = folder / "venv"
    run_peer(sys.executable, "-m", "venv", str(environment))
    run_peer(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "mlflow")
    lines = folder / "runs.jsonl"
    lines.write_text("".join(json.dumps(run) + "\n" for run in runs), encoding="utf-8")
    run_peer(str(environment / "bin" / "python"), "-c", SEED_MLFLOW, str(lines), folder=folder)
    command = (str(environment / "bin" / "mlflow"), "runs", "list", "--experiment-id", "0")
    return lambda: run_peer(*command, folder=folder)


def _recording(laboratory: Laboratory) -> Iterator[Row]:
    script = laboratory.repository / "models" / "digits" / "record.py"
    script.write_text(TRAIN, encoding="utf-8")
    python = str(BIN / "python")

    def train(*words: str) -> tuple[float, float, float]:
        """Return the seconds until the main function began, from then to the end of all, and what of it was its own."""
        import subprocess
        import time

        began = time.time()
        result = subprocess.run(
            [python, str(script), *words], cwd=laboratory.repository, capture_output=True, text=True, check=True
        )
        ended = time.time()
        entered, done = map(float, result.stderr.partition("TIMES ")[2].split()[:2])
        return entered - began, ended - entered, done - entered

    train()
    starts: list[list[float]] = [[], []]
    for _ in range(9):
        for times, words in zip(starts, ((), ("-u",)), strict=True):
            times.append(train(*words)[0])
    recorded, bare = (Sample(tuple(times)) for times in starts)
    yield DifferenceRow("start of a training that is recorded", recorded, Peer("not recorded", bare), START)

    rounds = int(LENGTH / (train("-u", "with", "rounds=2000")[2] / 2000))
    whole: list[list[float]] = [[], []]
    for _ in range(9):
        for times, words in zip(whole, (("with",), ("-u", "with")), strict=True):
            times.append(train(*words, f"rounds={rounds}")[1])
    recorded, bare = (Sample(tuple(times)) for times in whole)
    what = f"a training of {duration(bare.median)} with its end, recorded"
    yield DifferenceRow(what, recorded, Peer("not recorded", bare), MINUTE_SHARE * 60)
