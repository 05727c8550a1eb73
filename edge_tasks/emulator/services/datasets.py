"""DatasetService: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.datasets.

A tabular or time-series dataset names its files; others are imported, item by item. A training pipeline gets its share
of either as files on Cloud Storage. There is no annotating, and nothing of BigQuery.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from edge_tasks.emulator.datasets.items import count_annotations, labels_of
from edge_tasks.emulator.datasets.splits import USES, Shares, split
from edge_tasks.emulator.datasets.tables import Table, read_csv, read_items
from edge_tasks.emulator.errors import invalid, unimplemented
from edge_tasks.emulator.runtime.bucket import Location, dated_folder, parse_uri
from edge_tasks.emulator.services.names import (
    check_display_name,
    check_etag,
    check_labels,
    check_numeric_name,
    check_parent,
    new_id,
)
from edge_tasks.emulator.store.filters import compile_filter
from edge_tasks.emulator.store.listing import page
from edge_tasks.emulator.store.masks import apply_mask

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.operations import Operations

KIND, ITEM = "Dataset", "DataItem"
MUTABLE = frozenset({"display_name", "description", "labels"})
TRAIN = "google.cloud.aiplatform.v1.PipelineService.CreateTrainingPipeline"
# Those whose files are named in their metadata; all others are imported.
OF_FILES = ("tabular", "time_series")
NOTHING = "-"


class Datasets:
    """Managed datasets."""

    service = "google.cloud.aiplatform.v1.DatasetService"

    def __init__(self, context: Context, operations: Operations) -> None:
        self._context = context
        self._operations = operations

    async def create_dataset(self, request: Message) -> Message:
        """Store a dataset."""
        check_parent(request.parent)
        dataset = request.dataset
        check_display_name(dataset)
        check_labels(dataset)
        if not dataset.metadata_schema_uri:
            raise invalid("metadata_schema_uri is required, such as that of the SDK's schema.dataset.metadata.tabular.")
        dataset.name = f"{request.parent}/datasets/{new_id()}"
        dataset.create_time.GetCurrentTime()
        dataset.ClearField("data_item_count")
        _straighten(dataset)
        _touch(dataset)
        self._context.database.insert(KIND, dataset.name, request.parent, dataset)
        return await self._operations.start("DatasetService.CreateDataset", dataset.name, _value(dataset))

    async def get_dataset(self, request: Message) -> Message:
        """Return a dataset."""
        check_numeric_name(KIND, request.name)
        return self._context.database.get(KIND, request.name)

    async def list_datasets(self, request: Message) -> Message:
        """Return the datasets of a location, newest first."""
        check_parent(request.parent)
        rows = self._context.database.children(KIND, request.parent)
        datasets, token = page(rows, request, self._context.surface.new(KIND).DESCRIPTOR)
        return self._context.surface.new("ListDatasetsResponse", datasets=datasets, next_page_token=token)

    async def update_dataset(self, request: Message) -> Message:
        """Change the masked fields of a dataset."""
        dataset = self._context.database.get(KIND, request.dataset.name)
        check_etag(dataset, request.dataset)
        apply_mask(dataset, request.dataset, request.update_mask.paths, MUTABLE)
        check_display_name(dataset)
        check_labels(dataset)
        _touch(dataset)
        self._context.database.update(dataset.name, dataset)
        return dataset

    async def delete_dataset(self, request: Message) -> Message:
        """Delete a dataset and its items; the files that it names stay."""
        self._context.database.get(KIND, request.name)

        async def work() -> Message:
            with self._context.database.transaction():
                for row in self._context.database.children(ITEM, request.name):
                    self._context.database.delete(row.message.name)
                self._context.database.delete(request.name)
            return self._context.surface.new("google.protobuf.Empty")

        return await self._operations.start("DatasetService.DeleteDataset", request.name, work())

    async def list_data_items(self, request: Message) -> Message:
        """Return the items of a dataset, newest first."""
        self._context.database.get(KIND, request.parent)
        rows = self._context.database.children(ITEM, request.parent)
        items, token = page(rows, request, self._context.surface.new(ITEM).DESCRIPTOR)
        return self._context.surface.new("ListDataItemsResponse", data_items=items, next_page_token=token)

    async def import_data(self, request: Message) -> Message:
        """Add what import files list, one item a line."""
        dataset = self._context.database.get(KIND, request.name)
        if _is_of_files(dataset):
            raise invalid(f"{request.name} cannot be imported into: a tabular dataset names its files when it is made.")
        if not request.import_configs:
            raise invalid("import_configs is required.")
        for config in request.import_configs:
            if not config.gcs_source.uris or not config.import_schema_uri:
                raise invalid("Each of import_configs needs gcs_source.uris and an import_schema_uri.")
            for uri in config.gcs_source.uris:
                parse_uri(uri, "gcs_source.uris")

        async def work() -> Message:
            for config in request.import_configs:
                items = await asyncio.to_thread(read_items, self._context.storage, list(config.gcs_source.uris))
                with self._context.database.transaction():
                    self._add(request.name, items, dict(config.data_item_labels))
            return self._context.surface.new("ImportDataResponse")

        return await self._operations.start("DatasetService.ImportData", request.name, work())

    async def export_data(self, request: Message) -> Message:
        """Write a dataset to Cloud Storage."""
        dataset = self._context.database.get(KIND, request.name)
        config = request.export_config
        target = parse_uri(config.gcs_destination.output_uri_prefix, "gcs_destination.output_uri_prefix")
        for field in ("annotations_filter", "saved_query_id"):
            if getattr(config, field):
                raise unimplemented(f"DatasetService.ExportData with {field} is not implemented by this emulator.")
        self._check_filters(dataset, config)
        is_for_training = config.export_use == self._context.surface.enum_value(
            "ExportDataConfig.ExportUse", "CUSTOM_CODE_TRAINING"
        )
        if is_for_training and config.WhichOneof("split") is None:
            raise invalid("export_config needs a split for custom code training.")

        async def work() -> Message:
            table = await self._table(dataset)
            folder = _dated(target, f"export-data-{dataset.display_name}")
            if config.WhichOneof("split") is None:
                shares = {"data": list(range(len(table.rows)))}
            else:
                shares = dict(zip(USES, self._shares(dataset, table, config), strict=True))
            suffix = "-00000-of-00001" if is_for_training else ""
            files = await asyncio.to_thread(self._write, table, shares, folder, suffix)
            response = self._context.surface.new("ExportDataResponse", exported_files=files)
            if is_for_training:
                response.exported_files[:] = [f"gs://{folder.bucket}/{folder.path}/{use}-*" for use in USES]
                for use in USES:
                    rows = [table.rows[number] for number in shares[use]]
                    setattr(response.data_stats, f"{use}_data_items_count", len(rows))
                    setattr(response.data_stats, f"{use}_annotations_count", sum(map(count_annotations, rows)))
            return response

        return await self._operations.start("DatasetService.ExportData", request.name, work())

    def check_training(self, parent: str, config: Message) -> None:
        """Refuse an input_data_config that cannot be carried out."""
        dataset = self._context.database.get(KIND, f"{parent}/datasets/{config.dataset_id}")
        if config.WhichOneof("destination") != "gcs_destination":
            raise unimplemented(f"{TRAIN} without a gcs_destination is not implemented by this emulator: BigQuery.")
        parse_uri(config.gcs_destination.output_uri_prefix, "input_data_config.gcs_destination.output_uri_prefix")
        for field in ("annotations_filter", "saved_query_id"):
            if getattr(config, field):
                raise unimplemented(f"{TRAIN} with {field} is not implemented by this emulator.")
        self._check_filters(dataset, config)
        if _is_of_files(dataset):
            uris(dataset)

    async def training_variables(self, parent: str, config: Message) -> dict[str, str]:
        """Write a training's share of a dataset, and return the variables by which its code finds it."""
        dataset = self._context.database.get(KIND, f"{parent}/datasets/{config.dataset_id}")
        table = await self._table(dataset)
        shares = dict(zip(USES, self._shares(dataset, table, config), strict=True))
        target = parse_uri(config.gcs_destination.output_uri_prefix, "gcs_destination.output_uri_prefix")
        folder = _dated(target, f"dataset-{config.dataset_id}-{_kind(dataset)}")
        await asyncio.to_thread(self._write, table, shares, folder, "-00000-of-00001")
        place = f"gs://{folder.bucket}/{folder.path}"
        variables = {"AIP_DATA_FORMAT": table.form}
        for use in USES:
            variables[f"AIP_{use.upper()}_DATA_URI"] = f"{place}/{use}-*.{table.form}" if shares[use] else ""
        return variables

    def _check_filters(self, dataset: Message, config: Message) -> None:
        """Refuse filters of a dataset that has no items, and those that cannot be read."""
        if config.WhichOneof("split") != "filter_split":
            return
        if _is_of_files(dataset):
            raise invalid("filter_split is for datasets with items: split a tabular one by fractions or by a column.")
        self._filters(config)

    def _filters(self, config: Message) -> list[Any]:
        """Return, for each use, what tells whether an item is for it."""
        descriptor = self._context.surface.new(ITEM).DESCRIPTOR
        texts = [getattr(config.filter_split, f"{use}_filter") for use in USES]
        if not all(texts):
            raise invalid(f"filter_split needs a filter for each use; {NOTHING!r} is one that matches nothing.")
        return [compile_filter(text, descriptor) if text != NOTHING else lambda _: False for text in texts]

    def _shares(self, dataset: Message, table: Table, config: Message) -> Shares:
        """Return the numbers of the rows for each use; an item is for the first one whose filter it passes."""
        if config.WhichOneof("split") != "filter_split":
            return split(table, config)
        filters = self._filters(config)
        shares: Shares = [[] for _ in USES]
        for number, row in enumerate(self._context.database.children(ITEM, dataset.name)):
            use = next((place for place, passes in enumerate(filters) if passes(row.message)), None)
            if use is not None:
                shares[use].append(number)
        return shares

    async def _table(self, dataset: Message) -> Table:
        if _is_of_files(dataset):
            return await asyncio.to_thread(read_csv, self._context.storage, uris(dataset))
        rows = self._context.database.children(ITEM, dataset.name)
        return Table("jsonl", [], [json_format.MessageToDict(row.message.payload) for row in rows])

    def _write(self, table: Table, shares: dict[str, list[int]], folder: Location, suffix: str) -> list[str]:
        files = []
        for use, numbers in shares.items():
            if numbers:
                name = f"{folder.path}/{use}{suffix}.{table.form}"
                self._context.storage.put(table.content(numbers), folder.bucket, name)
                files.append(f"gs://{folder.bucket}/{name}")
        return files

    def _add(self, dataset_name: str, items: list[Any], labels: dict[str, str]) -> None:
        dataset = self._context.database.get(KIND, dataset_name)
        for content in items:
            name = f"{dataset_name}/dataItems/{new_id()}"
            item = self._context.surface.new(ITEM, name=name, labels=labels_of(content) | labels)
            json_format.Parse(json.dumps(content), item.payload)
            item.create_time.GetCurrentTime()
            _touch(item)
            self._context.database.insert(ITEM, item.name, dataset_name, item)
        dataset.data_item_count += len(items)
        _touch(dataset)
        self._context.database.update(dataset_name, dataset)


def _kind(dataset: Message) -> str:
    """Return the kind that the schema's file is named after: `tabular_1.0.0.yaml`."""
    return str(dataset.metadata_schema_uri).rpartition("/")[2].rpartition("_")[0]


def _is_of_files(dataset: Message) -> bool:
    return _kind(dataset) in OF_FILES


def _straighten(dataset: Message) -> None:
    """Take a list of one table for that table: the SDK sends such a list, and gets the table back."""
    metadata = json_format.MessageToDict(dataset.metadata)
    source = metadata.get("inputConfig") if isinstance(metadata, dict) else None
    table = source.get("bigquerySource") if isinstance(source, dict) else None
    if isinstance(table, dict) and isinstance(table.get("uri"), list) and len(table["uri"]) == 1:
        (table["uri"],) = table["uri"]
        json_format.ParseDict(metadata, dataset.metadata)


def uris(dataset: Message) -> list[str]:
    """Return the files of a tabular dataset."""
    metadata = json_format.MessageToDict(dataset.metadata)
    source = metadata.get("inputConfig", {}) if isinstance(metadata, dict) else {}
    if "bigquerySource" in source:
        raise unimplemented(f"The dataset {dataset.name} reads BigQuery, which this emulator has not.")
    uris = source.get("gcsSource", {}).get("uri", [])
    if not uris:
        raise invalid(f"The dataset {dataset.name} names no files: metadata.inputConfig.gcsSource.uri is empty.")
    return [uris] if isinstance(uris, str) else list(uris)


def _dated(target: Location, name: str) -> Location:
    folder = dated_folder(target, name, datetime.now(timezone.utc))
    # It stands in patterns, where a colon is in nobody's way but gsutil's.
    return Location(folder.bucket, folder.path.replace(":", "-"))


def _touch(resource: Message) -> None:
    resource.update_time.GetCurrentTime()
    resource.etag = str(resource.update_time.ToMicroseconds())


async def _value(message: Message) -> Message:
    return message
