"""What a model monitoring job compares: rows of files, of tables, of batch predictions, of what endpoints were asked.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/ModelMonitoringInput. Of a columnized dataset each row
holds features and predictions; of the others an instance holds features, in the order of the schema when it is a list.
Reading blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import invalid, precondition
from edge_tasks.emulator.monitoring import samples

if TYPE_CHECKING:
    from edge_tasks.emulator.monitoring.samples import Features
    from edge_tasks.emulator.runtime.bucket import Storage
    from edge_tasks.emulator.schema.surface import Message

CSV, JSONL, TABLE, LOGS, PREDICTIONS = "csv", "jsonl", "table", "logs", "batch prediction"
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/ModelMonitoringInput#TimeOffset
OFFSET = re.compile(r"(\d{1,5})([hdw])", re.IGNORECASE)
HOURS = {"h": 1, "d": 24, "w": 168}
NUMERIC = frozenset({"float", "integer"})
DATA_TYPES = NUMERIC | {"boolean", "string", "categorical"}
# The name of a prediction that has none.
PREDICTION = "prediction"


@dataclass(frozen=True)
class Fields:
    """What a monitoring schema says: the types of features and predictions, in their order; empty without a schema."""

    features: Mapping[str, str] = field(default_factory=dict)
    predictions: Mapping[str, str] = field(default_factory=dict)
    ground_truth: Sequence[str] = ()

    @classmethod
    def of(cls, schema: Message) -> Fields:
        """Read a schema; ApiError for a type that there is not."""
        for one in (*schema.feature_fields, *schema.prediction_fields, *schema.ground_truth_fields):
            if one.data_type not in DATA_TYPES:
                raise invalid(f"The field {one.name!r} must have a data_type of {', '.join(sorted(DATA_TYPES))}.")
        features, predictions = (
            {one.name: one.data_type for one in fields} for fields in (schema.feature_fields, schema.prediction_fields)
        )
        return cls(features, predictions, [one.name for one in schema.ground_truth_fields])


@dataclass(frozen=True)
class Source:
    """Where rows come from: files, a table, or pairs of bucket and folder that are request logs; and of which time."""

    form: str
    places: Sequence[str]
    timestamp_field: str = ""
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Data:
    """The columns of a source."""

    features: Features
    predictions: Features


def times(given: Message, cutoff: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the time that an input is of; an offset is counted from `cutoff`."""
    which = given.WhichOneof("time_spec")
    if which == "time_interval":
        interval = given.time_interval
        start, end = (
            getattr(interval, name).ToDatetime(timezone.utc) if interval.HasField(name) else None
            for name in ("start_time", "end_time")
        )
        if start and end and end <= start:
            raise invalid("time_interval: the end_time must be later than the start_time.")
        return start, end
    if which == "time_offset":
        end = cutoff - (_length(given.time_offset.offset, "offset") if given.time_offset.offset else timedelta())
        window = given.time_offset.window
        return (end - _length(window, "window") if window else None), end
    return None, None


def _length(text: str, name: str) -> timedelta:
    match = OFFSET.fullmatch(text)
    if match is None:
        raise invalid(f"time_offset.{name} must be a number and h, d or w, such as 1d, not {text[:50]!r}.")
    return timedelta(hours=int(match[1]) * HOURS[match[2].lower()])


def read(storage: Storage, source: Source, fields: Fields) -> Data:
    """Return the columns of a source that the schema names; without one all of them."""
    if source.form in {LOGS, PREDICTIONS}:
        pairs = _asked(storage, source) if source.form == LOGS else _predicted(storage, source)
        features = _columns((_named(instance, list(fields.features), "") for instance, _ in pairs), fields.features)
        names = list(fields.predictions) or [PREDICTION]
        predictions = _columns((_named(answer, names, PREDICTION) for _, answer in pairs), fields.predictions)
        return Data(features, predictions)
    rows = _rows(storage, source)
    apart = {*fields.predictions, *fields.ground_truth, source.timestamp_field}
    features = _columns(rows, fields.features)
    predictions = _columns(rows, fields.predictions) if fields.predictions else {}
    return Data({name: values for name, values in features.items() if name not in apart}, predictions)


def _rows(storage: Storage, source: Source) -> list[dict[str, Any]]:
    if source.form == TABLE:
        found = samples.table_rows(storage, source.places[0])
    else:
        found = (samples.csv_rows if source.form == CSV else samples.json_rows)(storage, source.places)
    rows = [row for row in found if isinstance(row, dict)]
    if source.start is None and source.end is None:
        return rows
    if not source.timestamp_field:
        raise invalid("A time of a columnized_dataset needs its timestamp_field.")
    return [row for row in rows if _is_within(row.get(source.timestamp_field), source)]


def _is_within(value: Any, source: Source) -> bool:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        else:
            moment = datetime.fromtimestamp(value, timezone.utc)
    except (ValueError, TypeError, OverflowError, OSError):
        return False
    return (source.start is None or source.start <= moment) and (source.end is None or moment < source.end)


def _asked(storage: Storage, source: Source) -> list[tuple[Any, Any]]:
    end = source.end or datetime.max.replace(tzinfo=timezone.utc)
    pairs: list[tuple[Any, Any]] = []
    for place in source.places:
        bucket, _, folder = place.partition("/")
        for row in samples.asked(storage, bucket, folder, source.start, end):
            alike = len(row.instances) == len(row.predictions)
            pairs += zip(row.instances, row.predictions if alike else [None] * len(row.instances), strict=True)
    return pairs


def _predicted(storage: Storage, source: Source) -> list[tuple[Any, Any]]:
    rows = samples.json_rows(storage, [f"{place}/prediction.results-*" for place in source.places])
    return [(row.get("instance", row), row.get("prediction")) for row in rows if isinstance(row, dict)]


def _named(value: Any, names: Sequence[str], single: str) -> Mapping[str, Any]:
    """Return the parts of an instance or a prediction by name."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list):
        return dict(zip(names, value, strict=False)) if names else {}
    return {names[0] if names else single: value} if names or single else {}


def _columns(rows: Iterable[Mapping[str, Any]], types: Mapping[str, str]) -> Features:
    """Return the columns of rows: those of the schema, as its types, or all."""
    found: Features = {name: [] for name in types}
    for row in rows:
        for name in types or row:
            value = row.get(name)
            for part in value if isinstance(value, list) else [value]:
                if not isinstance(part, dict | list):
                    found.setdefault(name, []).append(_typed(part, types.get(name, "")))
    return found


def _typed(value: Any, data_type: str) -> Any:
    """Return a value as the type of its field would have it; None when it cannot be that."""
    if value is None or not data_type:
        return value
    if data_type in NUMERIC:
        try:
            return float(value)
        except (ValueError, TypeError, OverflowError):
            return None
    if isinstance(value, bool) or data_type == "boolean":
        return str(value).lower()
    # 1.0 of a CSV file is 1 of a JSON one.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def missing(names: Iterable[str], columns: Features) -> list[str]:
    """Return the names of columns that hold nothing."""
    return [name for name in names if all(value is None for value in columns.get(name, []))]


def refuse_missing(names: Iterable[str], columns: Features, where: str) -> None:
    """Refuse a dataset that lacks a column: the schema must be that of the dataset."""
    absent = missing(names, columns)
    if absent:
        shown = ", ".join(repr(name) for name in absent[:10])
        raise precondition(f"The {where} has no values of {shown}: does the schema fit it?")
