"""The same scikit-learn model served by the emulator and by others: throughput, slow answers, and starting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.laboratory import ROOT, Laboratory
from benchmarks.load import Load, Target, answer, load
from benchmarks.peers import PROGRAMS, PeerError, Plan, Program, Subject
from benchmarks.row import Peer, RatioRow, Row
from benchmarks.sample import Sample

ROUNDS = 7
SECONDS = 2.0
STARTS = 3
CONNECTIONS = (1, 8)
SECONDS_TO_START = 90.0
OURS = "emulator"
PARENT = "projects/serving/locations/us-central1"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"


@dataclass(frozen=True)
class RateRow(Row):
    """Requests per second compared with a peer's; the limit is how many times as many at least."""

    @property
    def value(self) -> float:
        """How many times the peer's requests per second."""
        assert self.peer is not None
        return self.peer.sample.median / self.sample.median

    @property
    def holds(self) -> bool | None:
        """Whether there are enough."""
        return None if self.limit is None else self.value >= self.limit

    def cells(self) -> list[str]:
        """Return the columns of the table, in requests per second."""
        assert self.peer is not None
        ours, theirs = (f"{1 / sample.median:.0f}/s" for sample in (self.sample, self.peer.sample))
        limit = "" if self.limit is None else f"at least {self.limit:g} x"
        verdict = {None: "", True: "yes", False: "NO"}[self.holds]
        return [self.what, ours, f"{self.peer.name}: {theirs}", f"{self.value:.2f} x", limit, verdict]


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare with each peer that can be had; what cannot is told on stderr."""
    laboratory.trained()
    digits = laboratory.repository / "models" / "digits"
    payload = json.loads((digits / "test_payload.json").read_text("utf-8"))
    subject = Subject(digits / "model" / "model.joblib", payload["instances"][0])
    ours = _emulator(laboratory.folder / "serving", subject)
    yield from compare(OURS, ours, PROGRAMS, laboratory.folder / "peers", subject, 1)


def compare(
    who: str, plan: Plan, programs: Sequence[Program], folder: Path, subject: Subject, limit: float
) -> Iterator[Row]:
    """Compare one server with others, installed below `folder`; `limit`: how many times their throughput at least."""
    plans = {who: plan}
    for program in programs:
        peer = _peer(program, folder / program.name.replace(" ", "-"), subject)
        if peer is not None:
            plans[program.name] = peer
    starts = starts_of(plans)
    loads = loads_of(plans)
    for name in plans:
        if name == who:
            continue
        for connections in CONNECTIONS:
            ours, theirs = (Sample(tuple(one.each for one in loads[one_of, connections])) for one_of in (who, name))
            yield RateRow(f"predictions, {connections} at once", ours, Peer(name, theirs), limit)
            ours, theirs = (
                Sample(tuple(one.computing for one in loads[one_of, connections])) for one_of in (who, name)
            )
            yield RatioRow("  computing for each", ours, Peer(name, theirs))
        ours, theirs = (slowest(loads[one_of, CONNECTIONS[-1]]) for one_of in (who, name))
        yield RatioRow(f"  99th percentile, {CONNECTIONS[-1]} at once", ours, Peer(name, theirs), 1)
        yield RatioRow("  from start to an answer", starts[who], Peer(name, starts[name]), 1)


def _peer(program: Program, folder: Path, subject: Subject) -> Plan | None:
    """Install a peer, and see that it answers; None when that fails."""
    folder.mkdir(parents=True)
    try:
        plan = program.install(folder, subject)
        with running(plan):
            return plan
    except PeerError as error:
        print(f"> {program.name} is left out: {error}", file=sys.stderr, flush=True)
        return None


def starts_of(plans: dict[str, Plan]) -> dict[str, Sample]:
    """Time each from its start to its first answer, by turns."""
    times: dict[str, list[float]] = {name: [] for name in plans}
    for _ in range(STARTS):
        for name, plan in plans.items():
            started = time.perf_counter()
            with running(plan):
                times[name].append(time.perf_counter() - started)
    return {name: Sample(tuple(taken)) for name, taken in times.items()}


def loads_of(plans: dict[str, Plan]) -> dict[tuple[str, int], list[Load]]:
    """Load each by turns, while the others are idle."""
    found: dict[tuple[str, int], list[Load]] = {(name, count): [] for name in plans for count in CONNECTIONS}
    with ExitStack() as servers:
        trees = {}
        for name, plan in plans.items():
            trees[name] = psutil.Process(servers.enter_context(running(plan)))
            load(plan.target, CONNECTIONS[-1], SECONDS)
        for _ in range(ROUNDS):
            for (name, count), taken in found.items():
                before = _computed(trees[name])
                one = load(plans[name].target, count, SECONDS)
                taken.append(replace(one, cpu_seconds=_computed(trees[name]) - before))
    return found


def _computed(tree: psutil.Process) -> float:
    """Return the seconds of processor time that a server's processes have taken."""
    return sum(one.cpu_times().user + one.cpu_times().system for one in (tree, *tree.children(recursive=True)))


def slowest(loads: list[Load]) -> Sample:
    """Return the 99th percentile of each load."""
    return Sample(tuple(Sample(one.answers).percentile(99) for one in loads))


@contextmanager
def running(plan: Plan) -> Iterator[int]:
    """Start a server, wait until it predicts, and end it with all its processes; gives its process id."""
    path = f"{Path(plan.command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    with (plan.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            plan.command,
            cwd=plan.folder,
            env={**os.environ, "PATH": path, "DO_NOT_TRACK": "True", "BENTOML_DO_NOT_TRACK": "True"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not answer(plan.target):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PeerError(f"it does not answer: {(plan.folder / 'log').read_text(errors='replace')[-500:]}")
            time.sleep(0.01)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        # Some leave their workers behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _emulator(folder: Path, subject: Subject) -> Plan:
    """Deploy the model once: from then on the emulator serves it whenever it runs."""
    folder.mkdir()
    command = [sys.executable, "-m", "edge_tasks.emulator", "--data", str(folder / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            servers = json.loads((folder / "data" / "servers.json").read_text())
            endpoint = _deploy(servers["vertex_url"], servers["storage_url"], subject.model)
        finally:
            process.terminate()
    # It takes the same ports again.
    target = Target(f"{servers['vertex_url']}/v1/{endpoint}:predict", json.dumps({"instances": [subject.row]}).encode())
    return Plan(command, target, folder)


def _deploy(vertex: str, storage: str, model: Path) -> str:
    _post(f"{storage}/storage/v1/b?project=serving", {"name": "serving", "location": "us-central1"})
    upload = f"{storage}/upload/storage/v1/b/serving/o?uploadType=media&name=model/model.joblib"
    _post(upload, model.read_bytes())
    fields = {
        "displayName": "digits",
        "artifactUri": "gs://serving/model",
        "containerSpec": {"imageUri": IMAGE},
    }
    uploaded = _finished(vertex, _post(f"{vertex}/v1/{PARENT}/models:upload", {"model": fields}))
    endpoint = _finished(vertex, _post(f"{vertex}/v1/{PARENT}/endpoints", {"displayName": "digits"}))["name"]
    resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
    deployed = {"model": uploaded["model"], "dedicatedResources": resources}
    body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
    _finished(vertex, _post(f"{vertex}/v1/{endpoint}:deployModel", body))
    return str(endpoint)


def _finished(vertex: str, operation: Any) -> Any:
    while not operation.get("done"):
        operation = _request(f"{vertex}/v1/{operation['name']}")
    return operation["response"]


def _post(url: str, body: Any) -> Any:
    return _request(url, body if isinstance(body, bytes) else json.dumps(body).encode())


def _request(url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as found:
        return json.load(found)
