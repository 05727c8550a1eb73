"""A run in Vertex AI Experiments: its record is shown whenever its status has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.runs import RunRecord
from edge_tasks.tracking.sinks.background import BackgroundSink

_WHO = "Vertex AI Experiments"


def vertex_sink(
    cloud: Callable[[], Cloud], experiment: str, run_id: str, tell: Callable[[str], None]
) -> BackgroundSink[RunRecord]:
    """Return what shows the run in `experiment`; `cloud` may take its time and raise EdgeError."""

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[RunRecord], None]]:
        from edge_tasks.cloud.vertex_experiments import show_run

        yield lambda record: show_run(cloud(), experiment, record)

    return BackgroundSink(opened, _WHO, f"the run {run_id} is not shown in {_WHO}, or in part only", tell)
