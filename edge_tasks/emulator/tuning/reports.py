"""What a trial reports, in the format of cloudml-hypertune: https://pypi.org/project/cloudml-hypertune.

A file of JSON objects, one a line: {"global_step": "5", "accuracy": "0.9", "timestamp": 1700000000.0, "trial": "1"}.
The package keeps the last hundred.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A hundred reports take some ten kilobytes; whatever else is in the file does not come from the package.
LARGEST_FILE = 4 * 1024 * 1024
LARGEST_STEP = 2**63 - 1


@dataclass
class Measurement:
    """The metrics of one step."""

    step: int
    timestamp: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """A metric of the study, and whether more of it is better."""

    metric: str
    maximize: bool

    def gain(self, value: float) -> float:
        """Return a number of which more is better."""
        return value if self.maximize else -value


def read_measurements(path: Path, goals: Sequence[Goal]) -> list[Measurement]:
    """Return the measurements in the order they were reported; other lines are left out."""
    try:
        with path.open("rb") as file:
            lines = file.read(LARGEST_FILE).splitlines()
    except OSError:
        return []
    found: list[Measurement] = []
    for line in lines:
        report = _read_line(line, goals)
        if report is None:
            continue
        last = found[-1] if found else None
        # A line holds one metric as a rule: several of one step belong together.
        if last is not None and last.step == report.step and not last.metrics.keys() & report.metrics.keys():
            last.metrics |= report.metrics
            last.timestamp = max(last.timestamp, report.timestamp)
        else:
            found.append(report)
    return found


def final_measurement(measurements: Sequence[Measurement], goals: Sequence[Goal], *, best: bool) -> Measurement | None:
    """Return the measurement that counts; None when a metric was never reported.

    The last one holds what was reported last of each metric. The best one is that of the first metric.
    """
    if not all(any(goal.metric in measurement.metrics for measurement in measurements) for goal in goals):
        return None
    last = Measurement(measurements[-1].step, measurements[-1].timestamp)
    for measurement in measurements:
        last.metrics |= measurement.metrics
    if not best:
        return last
    first = goals[0]
    chosen = max(
        (measurement for measurement in measurements if first.metric in measurement.metrics),
        key=lambda measurement: first.gain(measurement.metrics[first.metric]),
    )
    return Measurement(chosen.step, chosen.timestamp, last.metrics | chosen.metrics)


def _read_line(line: bytes, goals: Sequence[Goal]) -> Measurement | None:
    try:
        report: Any = json.loads(line)
        metrics = {goal.metric: float(report[goal.metric]) for goal in goals if goal.metric in report}
        step = min(max(int(report.get("global_step", 0)), 0), LARGEST_STEP)
        timestamp = float(report.get("timestamp", 0))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return Measurement(step, timestamp, metrics) if metrics and math.isfinite(timestamp) else None
