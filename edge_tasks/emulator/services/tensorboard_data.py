"""TensorboardService, what time series hold: written point by point, read back in the order of the steps.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.tensorboards.experiments.runs.timeSeries
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, unimplemented
from edge_tasks.emulator.services.tensorboards import DATA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context

SERVICE = "google.cloud.aiplatform.v1.TensorboardService"
MOST_POINTS_WRITTEN = 5000
MOST_POINTS_READ = 1000
VALUES = {"SCALAR": "scalar", "TENSOR": "tensor", "BLOB_SEQUENCE": "blobs"}


class TensorboardData:
    """The points of time series: a row for each write."""

    service = SERVICE

    def __init__(self, context: Context) -> None:
        self._context = context
        surface = context.surface
        self._value_of_type = {
            surface.enum_value("TensorboardTimeSeries.ValueType", name): value for name, value in VALUES.items()
        }

    async def write_tensorboard_run_data(self, request: Message) -> Message:
        """Add points to time series of a run."""
        self._write([request])
        return self._context.surface.new("WriteTensorboardRunDataResponse")

    async def write_tensorboard_experiment_data(self, request: Message) -> Message:
        """Add points to time series of several runs of an experiment: all of them, or none."""
        self._context.database.get("TensorboardExperiment", request.tensorboard_experiment)
        for part in request.write_run_data_requests:
            if not part.tensorboard_run.startswith(f"{request.tensorboard_experiment}/runs/"):
                raise invalid(f"The run {part.tensorboard_run!r} is not of `{request.tensorboard_experiment}`.")
        self._write(request.write_run_data_requests)
        return self._context.surface.new("WriteTensorboardExperimentDataResponse")

    async def read_tensorboard_time_series_data(self, request: Message) -> Message:
        """Return the points of a time series, thinned out to `max_data_points`; -1 means all of them."""
        if request.filter:
            raise unimplemented(f"{SERVICE}.ReadTensorboardTimeSeriesData with a filter is not implemented here.")
        if request.max_data_points < -1:
            raise invalid("max_data_points must be positive, or -1 for all of them.")
        data = self._read(request.tensorboard_time_series, request.max_data_points or MOST_POINTS_READ)
        return self._context.surface.new("ReadTensorboardTimeSeriesDataResponse", time_series_data=data)

    async def batch_read_tensorboard_time_series_data(self, request: Message) -> Message:
        """Return the points of several time series of a tensorboard."""
        self._context.database.get("Tensorboard", request.tensorboard)
        for name in request.time_series:
            if not name.startswith(f"{request.tensorboard}/"):
                raise invalid(f"The time series {name!r} is not of `{request.tensorboard}`.")
        data = [self._read(name, MOST_POINTS_READ) for name in request.time_series]
        return self._context.surface.new("BatchReadTensorboardTimeSeriesDataResponse", time_series_data=data)

    def _write(self, requests: Iterable[Message]) -> None:
        with self._context.database.transaction():
            for request in requests:
                self._context.database.get("TensorboardRun", request.tensorboard_run)
                if sum(len(data.values) for data in request.time_series_data) > MOST_POINTS_WRITTEN:
                    raise invalid(f"At most {MOST_POINTS_WRITTEN} points can be written with one request.")
                for data in request.time_series_data:
                    self._add(f"{request.tensorboard_run}/timeSeries/{data.tensorboard_time_series_id}", data)

    def _add(self, name: str, data: Message) -> None:
        series = self._context.database.get("TensorboardTimeSeries", name)
        value = self._value_of_type[series.value_type]
        if data.value_type != series.value_type or any(p.WhichOneof("value") != value for p in data.values):
            raise invalid(f"`{name}` holds {value} values only.")
        if value == "blobs":
            raise unimplemented(f"{SERVICE}.WriteTensorboardRunData with blobs is not implemented by this emulator.")
        if not data.values:
            return
        latest = max(data.values, key=lambda point: (point.wall_time.seconds, point.wall_time.nanos))
        known = series.metadata.max_wall_time
        if (latest.wall_time.seconds, latest.wall_time.nanos) > (known.seconds, known.nanos):
            known.CopyFrom(latest.wall_time)
        series.metadata.max_step = max(series.metadata.max_step, *(point.step for point in data.values))
        self._context.database.update(name, series)
        row = f"{name}/data/{self._context.database.next_in(DATA)}"
        self._context.database.insert(DATA, row, name, data, key=row)

    def _read(self, name: str, most: int) -> Message:
        series = self._context.database.get("TensorboardTimeSeries", name)
        # Oldest first: what was written to the same step later takes its place.
        rows = reversed(self._context.database.children(DATA, name))
        points = {point.step: point for row in rows for point in row.message.values}
        values = [points[step] for step in sorted(points)]
        return self._context.surface.new(
            DATA,
            tensorboard_time_series_id=name.rpartition("/")[2],
            value_type=series.value_type,
            values=values if most < 0 else _thinned(values, most),
        )


def _thinned(values: list[Message], most: int) -> list[Message]:
    """Return evenly spaced values, the last one always."""
    if len(values) <= most:
        return values
    return [values[(i + 1) * len(values) // most - 1] for i in range(most)]
