"""TensorboardService: tensorboards, their experiments, runs and time series.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.tensorboards

What the time series hold is in `tensorboard_data`. There is no web page to look at it.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import ApiError, Code, invalid
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_etag,
    check_labels,
    check_numeric_name,
    check_parent,
    new_id,
)
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
DATA = "TimeSeriesData"
# From the top: each holds those of the next kind, and time series hold data.
COLLECTIONS: Mapping[str, str] = {
    "Tensorboard": "tensorboards",
    "TensorboardExperiment": "experiments",
    "TensorboardRun": "runs",
    "TensorboardTimeSeries": "timeSeries",
}
KINDS = (*COLLECTIONS, DATA)
VALUE_TYPES = ("SCALAR", "TENSOR", "BLOB_SEQUENCE")
MUTABLE = frozenset({"display_name", "description", "labels", "is_default", "plugin_data"})


class Tensorboards:
    """Tensorboards and everything below them."""

    service = "google.cloud.aiplatform.v1.TensorboardService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations

    async def create_tensorboard(self, request: Message) -> Message:
        """Store a tensorboard."""
        check_parent(request.parent)
        check_display_name(request.tensorboard)
        tensorboard = self._create(request.parent, request.tensorboard, new_id())
        self._keep_one_default(tensorboard)
        return await self._operations.start(
            "TensorboardService.CreateTensorboard", tensorboard.name, _value(tensorboard)
        )

    async def get_tensorboard(self, request: Message) -> Message:
        """Return a tensorboard."""
        check_numeric_name("Tensorboard", request.name)
        return self._with_run_count(self._context.database.get("Tensorboard", request.name))

    async def list_tensorboards(self, request: Message) -> Message:
        """Return the tensorboards of a location, newest first."""
        check_parent(request.parent)
        answer = self._list("Tensorboard", request, "tensorboards")
        for tensorboard in answer.tensorboards:
            self._with_run_count(tensorboard)
        return answer

    async def update_tensorboard(self, request: Message) -> Message:
        """Change the masked fields of a tensorboard."""
        tensorboard = self._update(request, request.tensorboard)
        self._keep_one_default(tensorboard)
        return await self._operations.start(
            "TensorboardService.UpdateTensorboard", tensorboard.name, _value(tensorboard)
        )

    async def delete_tensorboard(self, request: Message) -> Message:
        """Delete a tensorboard with everything below it."""
        return await self._delete("Tensorboard", request)

    async def create_tensorboard_experiment(self, request: Message) -> Message:
        """Store an experiment of a tensorboard."""
        self._context.database.get("Tensorboard", request.parent)
        experiment_id = _required(request.tensorboard_experiment_id, "tensorboard_experiment_id")
        return self._create(request.parent, request.tensorboard_experiment, experiment_id)

    async def get_tensorboard_experiment(self, request: Message) -> Message:
        """Return an experiment of a tensorboard."""
        row = self._context.database.find("TensorboardExperiment", request.name)
        if row is None:
            raise ApiError(Code.NOT_FOUND, f"TensorboardExperiment {request.name} is not found.")
        return row.message

    async def list_tensorboard_experiments(self, request: Message) -> Message:
        """Return the experiments of a tensorboard, newest first."""
        self._context.database.get("Tensorboard", request.parent)
        return self._list("TensorboardExperiment", request, "tensorboard_experiments")

    async def update_tensorboard_experiment(self, request: Message) -> Message:
        """Change the masked fields of an experiment of a tensorboard."""
        return self._update(request, request.tensorboard_experiment)

    async def delete_tensorboard_experiment(self, request: Message) -> Message:
        """Delete an experiment of a tensorboard with its runs."""
        return await self._delete("TensorboardExperiment", request)

    async def create_tensorboard_run(self, request: Message) -> Message:
        """Store a run of an experiment."""
        self._context.database.get("TensorboardExperiment", request.parent)
        run_id = _required(request.tensorboard_run_id, "tensorboard_run_id")
        check_display_name(request.tensorboard_run)
        self._check_unique(request.parent, request.tensorboard_run)
        return self._create(request.parent, request.tensorboard_run, run_id)

    async def get_tensorboard_run(self, request: Message) -> Message:
        """Return a run."""
        return self._context.database.get("TensorboardRun", request.name)

    async def list_tensorboard_runs(self, request: Message) -> Message:
        """Return the runs of an experiment, newest first."""
        self._context.database.get("TensorboardExperiment", request.parent)
        return self._list("TensorboardRun", request, "tensorboard_runs")

    async def update_tensorboard_run(self, request: Message) -> Message:
        """Change the masked fields of a run."""
        return self._update(request, request.tensorboard_run)

    async def delete_tensorboard_run(self, request: Message) -> Message:
        """Delete a run with its time series."""
        return await self._delete("TensorboardRun", request)

    async def create_tensorboard_time_series(self, request: Message) -> Message:
        """Store a time series of a run."""
        self._context.database.get("TensorboardRun", request.parent)
        series = request.tensorboard_time_series
        check_display_name(series)
        if series.value_type not in {self._value_type(name) for name in VALUE_TYPES}:
            raise invalid(f"value_type is required: {', '.join(VALUE_TYPES)}.")
        self._check_unique(request.parent, series)
        series.ClearField("metadata")
        return self._create(request.parent, series, request.tensorboard_time_series_id or new_id())

    async def get_tensorboard_time_series(self, request: Message) -> Message:
        """Return a time series, without its data."""
        return self._context.database.get("TensorboardTimeSeries", request.name)

    async def list_tensorboard_time_series(self, request: Message) -> Message:
        """Return the time series of a run, newest first."""
        self._context.database.get("TensorboardRun", request.parent)
        return self._list("TensorboardTimeSeries", request, "tensorboard_time_series")

    async def update_tensorboard_time_series(self, request: Message) -> Message:
        """Change the masked fields of a time series."""
        return self._update(request, request.tensorboard_time_series)

    async def delete_tensorboard_time_series(self, request: Message) -> Message:
        """Delete a time series with its data."""
        return await self._delete("TensorboardTimeSeries", request)

    def _value_type(self, name: str) -> int:
        return self._context.surface.enum_value("TensorboardTimeSeries.ValueType", name)

    def _create(self, parent: str, resource: Message, resource_id: str) -> Message:
        kind = resource.DESCRIPTOR.name
        if not ID.fullmatch(resource_id):
            raise invalid(f"Invalid resource id {resource_id!r}: it must match {ID.pattern}.")
        _check(resource)
        resource.name = f"{parent}/{COLLECTIONS[kind]}/{resource_id}"
        resource.create_time.GetCurrentTime()
        _touch(resource)
        self._context.database.insert(kind, resource.name, parent, resource)
        return resource

    def _list(self, kind: str, request: Message, field: str) -> Message:
        rows = self._context.database.children(kind, request.parent)
        resources, token = page(rows, request, self._context.surface.new(kind).DESCRIPTOR)
        plural = kind if kind.endswith("Series") else f"{kind}s"
        fields: dict[str, Any] = {field: resources, "next_page_token": token}
        return self._context.surface.new(f"List{plural}Response", **fields)

    def _update(self, request: Message, given: Message) -> Message:
        resource = self._context.database.get(given.DESCRIPTOR.name, given.name)
        check_etag(resource, given)
        mutable = MUTABLE & {field.name for field in given.DESCRIPTOR.fields}
        apply_mask(resource, given, request.update_mask.paths, mutable)
        _check(resource)
        _touch(resource)
        self._context.database.update(resource.name, resource)
        return resource

    async def _delete(self, kind: str, request: Message) -> Message:
        self._context.database.get(kind, request.name)

        async def work() -> Message:
            with self._context.database.transaction():
                self._delete_tree(KINDS.index(kind), request.name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start(f"TensorboardService.Delete{kind}", request.name, work())

    def _delete_tree(self, level: int, name: str) -> None:
        database = self._context.database
        for row in database.children(KINDS[level + 1], name) if level + 1 < len(KINDS) else []:
            self._delete_tree(level + 1, row.private["key"] if KINDS[level + 1] == DATA else row.message.name)
        database.delete(name)

    def _check_unique(self, parent: str, resource: Message) -> None:
        """Refuse a display name that another resource of the same parent has."""
        kind = resource.DESCRIPTOR.name
        for row in self._context.database.children(kind, parent):
            if row.message.display_name == resource.display_name:
                raise ApiError(
                    Code.ALREADY_EXISTS, f"{kind} `{row.message.name}` has the display_name {resource.display_name!r}."
                )

    def _keep_one_default(self, default: Message) -> None:
        """Let the other tensorboards of a location be its default no longer."""
        if not default.is_default:
            return
        parent = default.name.rpartition("/tensorboards/")[0]
        for row in self._context.database.children("Tensorboard", parent):
            if row.message.is_default and row.message.name != default.name:
                row.message.is_default = False
                self._context.database.update(row.message.name, row.message)

    def _with_run_count(self, tensorboard: Message) -> Message:
        database = self._context.database
        experiments = database.children("TensorboardExperiment", tensorboard.name)
        tensorboard.run_count = sum(len(database.children("TensorboardRun", row.message.name)) for row in experiments)
        return tensorboard


def _required(resource_id: str, field: str) -> str:
    if not resource_id:
        raise invalid(f"{field} is required.")
    return resource_id


def _check(resource: Message) -> None:
    check_display_name(resource, required=False)
    if "labels" in resource.DESCRIPTOR.fields_by_name:
        check_labels(resource)


def _touch(resource: Message) -> None:
    resource.update_time.GetCurrentTime()
    resource.etag = secrets.token_hex(8)


async def _value(message: Message) -> Message:
    """Work that is done already."""
    return message
