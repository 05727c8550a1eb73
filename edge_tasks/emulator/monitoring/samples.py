"""The features that monitoring jobs compare: of training data, and of what endpoints were asked. All of it blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from edge_tasks.emulator.datasets.tables import read_csv, read_files
from edge_tasks.emulator.errors import invalid, precondition, unimplemented

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from edge_tasks.emulator.runtime.bucket import Storage
    from edge_tasks.emulator.schema.surface import Message

Features = dict[str, list[Any]]
CSV, JSONL = "csv", "jsonl"


class Asked(NamedTuple):
    """One row of a request log."""

    time: str
    deployed_model_id: str
    instances: list[Any]
    predictions: list[Any]


def training_features(storage: Storage, dataset: Message) -> Features:
    """Return the columns of a training dataset, without its target."""
    source = dataset.WhichOneof("data_source")
    if source == "gcs_source":
        form = dataset.data_format or CSV
        uris = list(dataset.gcs_source.uris)
        if form not in {CSV, JSONL}:
            raise unimplemented(
                f"A training dataset with the data_format {form!r} is not implemented by this emulator."
            )
        rows = csv_rows(storage, uris) if form == CSV else json_rows(storage, uris)
    elif source == "bigquery_source":
        rows = table_rows(storage, dataset.bigquery_source.input_uri)
    else:
        raise unimplemented(f"A training dataset by its {source} is not implemented by this emulator.")
    found = _columns(row for row in rows if isinstance(row, dict))
    found.pop(dataset.target_field, None)
    if not found:
        raise precondition("The training dataset has no columns besides its target.")
    return found


def table_rows(storage: Storage, uri: str) -> list[Any]:
    """Return the rows of a table: the emulator has no BigQuery, so it is a folder of JSON lines, as for logs."""
    project, name, table = (*uri.removeprefix("bq://").split("."), "", "")[:3]
    bucket = f"{project.replace(':', '-')}-bigquery-tables"
    names = [one for one in storage.names(bucket, f"{name}/{table}/") if one.endswith(".jsonl")]
    if not names:
        raise precondition(f"There is no table {uri}: gs://{bucket}/{name}/{table}/.")
    return json_rows(storage, [f"gs://{bucket}/{one}" for one in names])


def json_rows(storage: Storage, uris: Sequence[str]) -> list[Any]:
    """Return the lines of files; their names may hold `*`."""
    return [row for uri, content in read_files(storage, uris) for row in _json_lines(uri, content)]


def _json_lines(uri: str, content: bytes) -> list[Any]:
    try:
        return [orjson.loads(line) for line in content.splitlines() if line.strip()]
    except orjson.JSONDecodeError as error:
        raise precondition(f"{uri} does not hold JSON lines: {error}.") from None


def csv_rows(storage: Storage, uris: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of files; a column is numbers when all that is there are numbers."""
    table = read_csv(storage, uris)
    columns = [
        _typed([row[place] if place < len(row) else "" for row in table.rows]) for place in range(len(table.header))
    ]
    return [dict(zip(table.header, values, strict=True)) for values in zip(*columns, strict=True)]


def _typed(values: list[str]) -> list[Any]:
    try:
        return [float(value) if value.strip() else None for value in values]
    except ValueError:
        return [value or None for value in values]


def asked(storage: Storage, bucket: str, folder: str, start: datetime | None, end: datetime) -> Iterator[Asked]:
    """Yield the rows of a request log after `start` and up to `end`; damaged ones are left out."""
    last = end.isoformat(timespec="microseconds")
    first = start.isoformat(timespec="microseconds") if start else ""
    for name in storage.names(bucket, f"{folder}/"):
        if first[:10] <= name.removeprefix(f"{folder}/")[:10] <= last[:10]:
            for line in (storage.read(bucket, name) or b"").splitlines():
                row = _asked(line)
                if row is not None and first < row.time <= last:
                    yield row


def _asked(line: bytes) -> Asked | None:
    try:
        row = orjson.loads(line)
        payloads = ([_value(one) for one in row[name]] for name in ("request_payload", "response_payload"))
        return Asked(str(row["logging_time"]), str(row["deployed_model_id"]), *payloads)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def features_of(rows: Iterable[Asked], names: Sequence[str]) -> Features:
    """Return the columns of instances: their keys, or for lists the names of a schema."""
    return _columns(
        instance if isinstance(instance, dict) else dict(zip(names, instance, strict=False))
        for row in rows
        for instance in row.instances
        if isinstance(instance, dict) or (isinstance(instance, list) and names)
    )


def _columns(rows: Iterable[Mapping[str, Any]]) -> Features:
    """Return the flat values of each column; one that a row lacks is missing there."""
    found: Features = {}
    for row in rows:
        for name, value in row.items():
            if not isinstance(value, dict | list):
                found.setdefault(name, []).append(value)
    return found


def schema_names(storage: Storage, uri: str) -> list[str]:
    """Return the features of an analysis schema (OpenAPI, YAML), in their order; none without a schema."""
    if not uri:
        return []
    import yaml

    bucket, _, name = uri.removeprefix("gs://").partition("/")
    content = storage.read(bucket, name)
    if content is None:
        raise precondition(f"There is no analysis_instance_schema_uri {uri}.")
    try:
        properties = yaml.safe_load(content)["properties"]
        return [str(one) for one in properties]
    except (yaml.YAMLError, TypeError, KeyError):
        raise invalid(f"{uri} is not a schema: it has no `properties`.") from None
