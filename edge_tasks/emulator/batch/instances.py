"""The instances of a batch prediction: which objects hold them, and how a line becomes an instance.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs#InputConfig
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edge_tasks.emulator.runtime.bucket import Location, Storage
    from edge_tasks.emulator.schema.surface import Message

Parse: TypeAlias = "Callable[[str], Any]"

# https://cloud.google.com/storage/docs/wildcards
WILDCARD = re.compile(r"(\*\*|\*|\?|\[[^\]]+\])")
ONE_OF = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


class Instance(NamedTuple):
    """One instance: what the output says it is, and what the model gets; or why it cannot be read."""

    shown: dict[str, Any]
    sent: Any = None
    error: str = ""


def find(storage: Storage, locations: Iterable[Location]) -> Iterator[Location]:
    """Yield the objects that URIs mean, wildcards replaced by what they match; blocks."""
    for location in locations:
        parts = WILDCARD.split(location.path)
        if len(parts) == 1:
            yield location
            continue
        pattern = re.compile("".join(_as_pattern(part) if i % 2 else re.escape(part) for i, part in enumerate(parts)))
        for name in storage.names(location.bucket, parts[0]):
            if pattern.fullmatch(name) and not name.endswith("/"):
                yield location._replace(path=name)


def read(path: Path, form: str, config: Message) -> Iterator[Instance]:
    """Return the instances of a file in the format `jsonl` or `csv`, shaped as an InstanceConfig says."""
    lines = _rows(path) if form == "csv" else _objects(path)
    as_array = form == "csv" or config.instance_type == "array"
    return (_instance(text, parse, config, as_array=as_array) for text, parse in lines)


def _instance(text: str, parse: Parse, config: Message, *, as_array: bool) -> Instance:
    try:
        return _shaped(parse(text), config, as_array=as_array)
    except (ValueError, csv.Error) as error:
        return Instance({"instance": text}, error=f"Cannot read the instance: {error}")


def _objects(path: Path) -> Iterator[tuple[str, Parse]]:
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            if line.strip():
                yield line.strip(), orjson.loads


def _rows(path: Path) -> Iterator[tuple[str, Parse]]:
    """Read a header and rows: what stands in quotes is text, everything else a floating point number."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        header = next(csv.reader([file.readline()]), [])

        def parse(text: str) -> dict[str, Any]:
            (values,) = csv.reader([text], quoting=csv.QUOTE_NONNUMERIC, strict=True)
            if len(values) != len(header):
                raise ValueError(f"it has {len(values)} columns, the header has {len(header)}")
            return dict(zip(header, values, strict=True))

        # A value holds no newline on Vertex AI, so a line is a row.
        for line in file:
            if line.strip():
                yield line.strip(), parse


def _shaped(value: Any, config: Message, *, as_array: bool) -> Instance:
    """Choose the fields that the model gets, and what the output shows of the instance."""
    chooses = bool(config.key_field or config.included_fields or config.excluded_fields)
    if not isinstance(value, dict):
        if chooses or config.instance_type == "object":
            raise ValueError("it is not a JSON object, as the instance_config of the job asks")
        return Instance({"instance": value}, value)
    if config.key_field and config.key_field not in value:
        raise ValueError(f"it has no field {config.key_field!r}, the key_field of the job")
    kept = list(config.included_fields) or [
        name for name in value if name not in config.excluded_fields and name != config.key_field
    ]
    missing = [name for name in kept if name not in value]
    if missing:
        raise ValueError(f"it has no field {missing[0]!r}, one of the included_fields of the job")
    sent: Any = [value[name] for name in kept] if as_array else {name: value[name] for name in kept}
    if config.key_field:
        return Instance({"key": value[config.key_field]}, sent)
    return Instance({"instance": value if chooses else sent}, sent)


def _as_pattern(wildcard: str) -> str:
    return ONE_OF.get(wildcard) or wildcard.replace("[!", "[^").replace("\\", r"\\")
