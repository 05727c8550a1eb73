"""Where the runs of a repository are recorded, as a laptop or a job sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_tasks.cloud.client import Cloud, connect, connect_from_job, was_initialised
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.cloud.storage import bucket_exists
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import RunRecord
from edge_tasks.errors import EdgeError
from edge_tasks.tracking.outbox import Outbox
from edge_tasks.tracking.sinks.background import BackgroundSink
from edge_tasks.tracking.sinks.vertex import vertex_sink


@dataclass(frozen=True)
class TrackingBackend:
    """The repository's bucket and, when edge.yaml says so, Vertex AI Experiments. Nothing is connected early.

    `root` is the folder of edge.yaml, which travels with a job.
    """

    config: EdgeConfig
    root: Path
    in_job: bool = False

    def cloud(self) -> Cloud:
        """Return what leads to the bucket. Raises EdgeError when it cannot be there yet."""
        if self.in_job:
            return connect_from_job(self.config)
        if not was_initialised(self.config, self.root):
            raise EdgeError(f"there is no bucket `{self.config.storage_bucket.bucket_name}` yet", "invoke init")
        return connect(self.config, self.root)

    def store(self) -> RunStore:
        """Return where the records are. Raises EdgeError when that is not there (yet)."""
        cloud = self.cloud()
        if not bucket_exists(cloud):
            raise EdgeError(f"the bucket `{cloud.bucket_name}` does not exist", "invoke init")
        return RunStore(cloud, self.config)

    def kept(self) -> Outbox | None:
        """Return where runs are kept that the bucket does not take; a job keeps nothing."""
        return None if self.in_job else Outbox.of(self.config, self.root)

    def mirror(self, run_id: str, tell: Callable[[str], None]) -> BackgroundSink[RunRecord] | None:
        """Return what shows the run in Vertex AI Experiments, if that is wanted."""
        experiment = self.config.experiments.vertex_experiment
        if experiment is None:
            return None
        return vertex_sink(self.cloud, experiment, run_id, tell)
