"""The output files of a batch prediction: what was predicted, and what failed.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs#OutputConfig
names the folder and the form of a line; the files are called as Vertex AI calls them for custom models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_tasks.emulator.batch.instances import Instance
    from edge_tasks.emulator.errors import ApiError

KINDS = ("prediction.results", "prediction.errors_stats")


class Shard:
    """One file of each kind, written on this machine: they go to Cloud Storage when the shard is complete."""

    def __init__(self, folder: Path, index: int, count: int) -> None:
        self.paths = [folder / f"{kind}-{index:05}-of-{count:05}" for kind in KINDS]
        self._results, self._errors = (path.open("wb") for path in self.paths)

    def close(self) -> None:
        """Finish the files."""
        self._results.close()
        self._errors.close()

    def add(self, instance: Instance, outcome: Any) -> None:
        """Write an instance with its prediction."""
        self._results.write(orjson.dumps({**instance.shown, "prediction": outcome}) + b"\n")

    def add_error(self, instance: Instance, error: ApiError) -> None:
        """Write an instance that failed, with a `google.rpc.Status`."""
        status = {"code": error.code.number, "message": error.message}
        self._errors.write(orjson.dumps({**instance.shown, "error": status}) + b"\n")


def batches(instances: Iterator[Instance], size: int) -> Iterator[list[Instance]]:
    """Cut instances into lists of `size`."""
    batch: list[Instance] = []
    for instance in instances:
        batch.append(instance)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
