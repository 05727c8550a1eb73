"""Pipelines: the service, and kfp.local, which runs the same compiled pipelines in one process of the user's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.laboratory import Laboratory
from benchmarks.peers import PeerError, run_peer
from benchmarks.row import Peer, RatioRow, Row
from benchmarks.sample import Sample, timed

KFP = "kfp==2.17.3"
PARENT = "/v1/projects/bench/locations/us-central1/pipelineJobs"
REPETITIONS, OF_THE_LOOP = 5, 3
# Of kfp.local's time.
OF_TWO_STEPS, OF_A_LOOP = 1.0, 0.5
MANY, ROUNDS = 100, 3
COMPILE = """
import sys
from kfp import compiler, dsl

@dsl.component(base_image="python:3.11")
def double(i: int) -> int:
    return 2 * i

@dsl.pipeline(name="two-steps")
def two_steps(i: int = 1) -> int:
    return double(i=double(i=i).output).output

@dsl.pipeline(name="loop")
def loop() -> None:
    with dsl.ParallelFor(list(range(50))) as i:
        double(i=i)

for each in (two_steps, loop):
    compiler.Compiler().compile(each, f"{sys.argv[1]}/{each.name}.json")
"""
# Its own environments, which are made again for each task, are left out: they would take most of the time.
RUN = """
import sys, tempfile, time
from kfp import components, local

pipeline = components.load_component_from_file(sys.argv[1])
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=tempfile.mkdtemp(), enable_caching=False)
begun = time.perf_counter()
pipeline()
print("seconds", time.perf_counter() - begun)
"""


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare two steps and a loop of 50 with kfp.local, and submit many pipelines at once."""
    folder = laboratory.folder / "pipelines"
    python, library = folder / "venv" / "bin" / "python", folder / "library"
    try:
        run_peer(sys.executable, "-m", "venv", str(folder / "venv"))
        run_peer(str(python), "-m", "pip", "install", "--quiet", KFP)
        run_peer(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(library), KFP)
        # kfp reads the source of its components, which must be a file.
        (folder / "compile.py").write_text(COMPILE)
        run_peer(str(python), str(folder / "compile.py"), str(folder))
    except PeerError as error:
        print(f"  kfp cannot be had: {error}", file=sys.stderr)
        return
    emulator = _Emulator(folder / "data", library)
    try:
        for name, what, repetitions, limit in (
            ("two-steps", "pipeline of two steps", REPETITIONS, OF_TWO_STEPS),
            ("loop", "pipeline with a loop of 50", OF_THE_LOOP, OF_A_LOOP),
        ):
            spec = json.loads((folder / f"{name}.json").read_text())
            here, there = _by_turns(
                lambda spec=spec: timed(lambda: emulator.run(spec)),  # type: ignore[misc]
                lambda name=name: _kfp_local(python, folder / f"{name}.json"),  # type: ignore[misc]
                repetitions,
            )
            yield RatioRow(what, here, Peer("kfp.local", there), limit)
        spec = json.loads((folder / "two-steps.json").read_text())
        many = Sample(tuple(timed(lambda: emulator.run_many(spec, MANY)) for _ in range(ROUNDS)))
        yield Row(f"{MANY} pipelines of two steps at once", many)
    finally:
        emulator.stop()


def _by_turns(here: Callable[[], float], there: Callable[[], float], repetitions: int) -> tuple[Sample, Sample]:
    here()
    taken = [(here(), there()) for _ in range(repetitions)]
    return Sample(tuple(first for first, _ in taken)), Sample(tuple(second for _, second in taken))


def _kfp_local(python: Path, compiled: Path) -> float:
    """Return the seconds that kfp.local takes for a pipeline, without the import of kfp."""
    done = subprocess.run([str(python), "-c", RUN, str(compiled)], capture_output=True, text=True, check=True)
    return float(done.stdout.rpartition("seconds ")[2])


class _Emulator:
    """An emulator that finds kfp, and nothing cached."""

    def __init__(self, data: Path, library: Path) -> None:
        command = [sys.executable, "-m", "edge_tasks.emulator", "--data", str(data)]
        environment = {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin", "PYTHONPATH": str(library)}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        servers = json.loads((data / "servers.json").read_text())
        self._url = servers["vertex_url"]
        bucket = {"name": "bench-bucket", "location": "us-central1"}
        _ask(f"{servers['storage_url']}/storage/v1/b?project=bench", bucket)

    def run(self, spec: dict[str, Any]) -> None:
        """Run a pipeline to its end."""
        self._wait(self._submit(spec))

    def run_many(self, spec: dict[str, Any], count: int) -> None:
        """Submit pipelines at once, and wait for the end of all."""
        for name in [self._submit(spec) for _ in range(count)]:
            self._wait(name)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def _submit(self, spec: dict[str, Any]) -> str:
        # A kept result would be no measurement.
        text = json.dumps(spec).replace('"enableCache": true', '"enableCache": false')
        body = {"pipelineSpec": json.loads(text), "runtimeConfig": {"gcsOutputDirectory": "gs://bench-bucket/root"}}
        return str(_ask(f"{self._url}{PARENT}", body)["name"])

    def _wait(self, name: str) -> None:
        while True:
            state = _ask(f"{self._url}/v1/{name}")["state"].removeprefix("PIPELINE_STATE_")
            if state == "SUCCEEDED":
                return
            if state not in {"PENDING", "RUNNING"}:
                raise RuntimeError(f"{name} ends as {state}")
            time.sleep(0.02)


def _ask(url: str, body: object | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
