"""Drift on the same windows, by us and by Evidently: false alarms, shifts that are found, and time.

Each window has 30 columns: smooth, skewed, counted, in categories, with gaps. Of every two windows one is unchanged; in
the other one column is shifted by half a standard deviation.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.laboratory import Laboratory
from benchmarks.peers import PeerError, run_peer
from benchmarks.row import Peer, Row
from benchmarks.sample import Sample
from edge_tasks.domain.baseline import make_baseline
from edge_tasks.domain.config import Monitoring
from edge_tasks.monitoring.watch import compared

WINDOWS, COLUMNS, BEFORE, NOW = 12, 30, 2000, 500
# Evidently 0.7 does not start with a newer pandas.
PACKAGES = ("evidently", "pandas<3")
# Evidently's defaults: a test for each column, chosen by its size and kind, at its own significance.
SCRIPT = """
import json, sys, time
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

reference, windows = json.load(open(sys.argv[1]))
reference = pd.DataFrame(reference)
found, seconds = [], []
for window in windows:
    current = pd.DataFrame(window)
    started = time.perf_counter()
    told = Report([DataDriftPreset()]).run(current, reference).dict()
    changed = []
    for metric in told["metrics"]:
        config = metric.get("config", {})
        if config.get("type", "").endswith("ValueDrift"):
            by_test = "p_value" in config.get("method", "") or "p_value" in metric["metric_name"]
            value, threshold = float(metric["value"]), config["threshold"]
            if value < threshold if by_test else value >= threshold:
                changed.append(config["column"])
    seconds.append(time.perf_counter() - started)
    found.append(changed)
json.dump([found, seconds], open(sys.argv[2], "w"))
"""


class ShareRow(Row):
    """Shares of windows in place of seconds; each repetition is 0 or 1."""

    def cells(self) -> list[str]:
        """Return the columns of the table, in per cent."""
        ours = f"{sum(self.sample.seconds) / len(self.sample.seconds):.0%}"
        theirs = (
            f"{self.peer.name}: {sum(self.peer.sample.seconds) / len(self.peer.sample.seconds):.0%}"
            if self.peer
            else ""
        )
        return [self.what, ours, theirs, "", "", ""]


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Compare the windows by both."""
    chance = random.Random(1)
    reference = _sample(BEFORE, chance)
    windows = [_sample(NOW, chance, 0.5 * (place % 2)) for place in range(WINDOWS)]
    baseline = make_baseline(reference, "a training")
    ours, seconds = [], []
    for window in windows:
        started = time.perf_counter()
        found = compared("model", baseline, window, Monitoring())
        ours.append([one.column for one in found.changed])
        seconds.append(time.perf_counter() - started)
    peer = _evidently(laboratory.folder / "evidently", reference, windows)
    for what, place, wanted in (("windows with a false alarm", 0, None), ("shifted columns that are found", 1, "c0")):
        yield ShareRow(
            what, _share(ours, place, wanted), Peer("Evidently", _share(peer[0], place, wanted)) if peer else None
        )
    yield Row(
        f"a window of {COLUMNS} columns",
        Sample(tuple(seconds)),
        Peer("Evidently", Sample(tuple(peer[1]))) if peer else None,
    )


def _share(found: list[list[str]], place: int, wanted: str | None) -> Sample:
    chosen = found[place::2]
    return Sample(tuple(float(wanted in one if wanted else bool(one)) for one in chosen))


def _sample(rows: int, chance: random.Random, shift: float = 0.0) -> dict[str, list[Any]]:
    kinds: list[Any] = [
        lambda: chance.gauss(0, 1),
        lambda: chance.expovariate(1),
        lambda: min(9, int(chance.expovariate(0.5))),
        lambda: chance.choices("abcdefgh", [50, 20, 10, 8, 6, 3, 2, 1])[0],
        lambda: None if chance.random() < 0.02 else chance.random(),
    ]
    found = {f"c{column}": [kinds[column % len(kinds)]() for _ in range(rows)] for column in range(COLUMNS)}
    found["c0"] = [value + shift for value in found["c0"]]
    return found


def _evidently(folder: Path, reference: Any, windows: Any) -> Any:
    """Return what Evidently finds, in an environment of itself; None when it cannot be had."""
    folder.mkdir(parents=True)
    (folder / "in.json").write_text(json.dumps([reference, windows]))
    (folder / "script.py").write_text(SCRIPT)
    python = folder / "venv" / "bin" / "python"
    try:
        if shutil.which("uv"):
            run_peer("uv", "venv", "--quiet", str(folder / "venv"), "--python", sys.executable)
            run_peer("uv", "pip", "install", "--quiet", "--python", str(python), *PACKAGES)
        else:
            run_peer(sys.executable, "-m", "venv", str(folder / "venv"))
            run_peer(str(python), "-m", "pip", "install", "--quiet", *PACKAGES)
        run_peer(str(python), "script.py", "in.json", "out.json", folder=folder)
    except (PeerError, subprocess.SubprocessError, OSError) as error:
        print(f"> Evidently is left out: {error}", file=sys.stderr, flush=True)
        return None
    return json.loads((folder / "out.json").read_text())
