"""What a trial of a tuning job gets and gives: its parameters as arguments, and its metric in a file.

The file is that of cloudml-hypertune (https://pypi.org/project/cloudml-hypertune), which Vertex AI reads: a JSON object
a line for each report, {"global_step": "5", "accuracy": "0.9", "timestamp": 1700000000.0, "trial": "1"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from edge_tasks.domain.job_spec import TuningTarget
from edge_tasks.errors import TrainingError

TRIAL_VARIABLE = "CLOUD_ML_TRIAL_ID"
_FILE_VARIABLE = "CLOUD_ML_HP_METRIC_FILE"
_DEFAULT_FILE = "/tmp/hypertune/output.metrics"  # noqa: S108  (the package's own)
# The package keeps as many.
_MOST_REPORTS = 100

_TRUE, _FALSE = "true", "false"


def trial_parameters(search: TuningTarget, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values of a trial's parameters, which are given as `--NAME=VALUE`."""
    values = {}
    for argument in arguments:
        name, _, text = argument.removeprefix("--").partition("=")
        if name not in search.types:
            raise TrainingError(f"the argument `{argument}` is not a parameter of this tuning job")
        values[name] = _value(text, search.types[name])
    return values


def _value(text: str, kind: str) -> Any:
    if kind == "CATEGORICAL":
        return {_TRUE: True, _FALSE: False}.get(text, text)
    number = float(text)
    # Whole numbers may arrive with a point.
    return int(number) if kind == "INTEGER" or (kind == "DISCRETE" and number.is_integer()) else number


class TrialReport(RunObserver):  # type: ignore[misc]
    """Reports one metric to the tuning job: what `_run.log_scalar` logs of it, and last the value that was saved."""

    def __init__(self, metric: str):
        self._metric = metric
        self._path = Path(os.environ.get(_FILE_VARIABLE, _DEFAULT_FILE))
        self._lines: deque[str] = deque(maxlen=_MOST_REPORTS)
        self._step = 0
        self.saved: Mapping[str, Any] = {}

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        """Take what Sacred has collected since the last time. It names both arguments."""
        del info
        logged = metrics_by_name.get(self._metric)
        if logged:
            for step, value in zip(logged["steps"], logged["values"], strict=True):
                self._report(int(step), value)

    def completed_event(self, stop_time: Any, result: Any) -> None:
        """Report the value that the training saved; Sacred has passed on everything else by now."""
        del stop_time, result
        if self._metric in self.saved:
            self._report(self._step + 1, self.saved[self._metric])
        elif not self._lines:
            known = ", ".join(f"`{name}`" for name in self.saved) or "none"
            sys.stderr.write(f"the training gave no metric `{self._metric}` of tune.yaml; it gave {known}\n")

    def _report(self, step: int, value: Any) -> None:
        self._step = max(self._step, step)
        report = {
            "timestamp": time.time(),
            "trial": os.environ.get(TRIAL_VARIABLE, "0"),
            self._metric: str(float(value)),
            "global_step": str(step),
            "checkpoint_path": "",
        }
        self._lines.append(json.dumps(report, sort_keys=True) + "\n")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(self._lines), encoding="utf-8")
