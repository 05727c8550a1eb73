"""`import hypertune` inside a job: what cloudml-hypertune is in the prebuilt training images.

https://cloud.google.com/vertex-ai/docs/training/code-requirements#hp-tuning-metric

It stands alone, and writes the same file: https://pypi.org/project/cloudml-hypertune.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

MOST_REPORTS = 100


class HyperTune:
    """Reports the metrics of a trial; outside of a tuning job it writes a file that nobody reads."""

    def __init__(self) -> None:
        default = "/tmp/hypertune/output.metrics"  # noqa: S108  (the package's own)
        self.metric_path = os.environ.get("CLOUD_ML_HP_METRIC_FILE", default)
        Path(self.metric_path).parent.mkdir(parents=True, exist_ok=True)
        self.trial_id = os.environ.get("CLOUD_ML_TRIAL_ID", 0)
        self.metrics_queue: deque[dict[str, Any]] = deque(maxlen=MOST_REPORTS)

    def report_hyperparameter_tuning_metric(
        self,
        hyperparameter_metric_tag: str,
        metric_value: float,
        global_step: int | None = None,
        checkpoint_path: str = "",
    ) -> None:
        """Report a value of a metric; the file always holds the last hundred."""
        report = {
            "timestamp": time.time(),
            "trial": str(self.trial_id),
            hyperparameter_metric_tag or "training/hptuning/metric": str(float(metric_value)),
            "global_step": str(int(global_step or 0)),
            "checkpoint_path": checkpoint_path,
        }
        self.metrics_queue.append(report)
        lines = [json.dumps(metric, sort_keys=True) + "\n" for metric in self.metrics_queue]
        Path(self.metric_path).write_text("".join(lines))
