"""The rows of a dataset: those of the files of a tabular one, or the items that were imported."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.errors import invalid, precondition
from edge_tasks.emulator.runtime.bucket import parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_tasks.emulator.runtime.bucket import Storage


@dataclass(frozen=True)
class Table:
    """Rows of text, with a header (csv), or one JSON object each (jsonl)."""

    form: str
    header: list[str]
    rows: list[Any]

    def column(self, key: str, field: str) -> list[str]:
        """Return the values of a column; `field` names what asked for it."""
        if self.form == "jsonl":
            return [str(row.get(key, "")) if isinstance(row, dict) else "" for row in self.rows]
        if key not in self.header:
            raise invalid(f"{field}: the dataset has no column {key!r}; it has {', '.join(self.header)[:500]}.")
        place = self.header.index(key)
        return [row[place] if place < len(row) else "" for row in self.rows]

    def content(self, numbers: Iterable[int]) -> bytes:
        """Return the file that holds some of the rows."""
        if self.form == "jsonl":
            return b"".join(json.dumps(self.rows[number]).encode() + b"\n" for number in numbers)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows[number] for number in numbers)
        return text.getvalue().encode()


def read_csv(storage: Storage, uris: Sequence[str]) -> Table:
    """Read files whose first line is the header. This blocks."""
    header: list[str] = []
    rows: list[Any] = []
    for name, content in read_files(storage, uris):
        try:
            lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise precondition(f"{name} is not a CSV file: {error}.") from None
        if not lines:
            continue
        if header and lines[0] != header:
            raise precondition(f"{name} has other columns than the files before it.")
        header = lines[0]
        rows += [line for line in lines[1:] if line]
    if not header:
        raise precondition("The files of the dataset are empty.")
    return Table("csv", header, rows)


def read_items(storage: Storage, uris: Sequence[str]) -> list[Any]:
    """Read the lines of import files: JSON objects, or the fields of a CSV file, which has no header. This blocks."""
    items: list[Any] = []
    for name, content in read_files(storage, uris):
        items += _items(name, content)
    return items


def _items(name: str, content: bytes) -> list[Any]:
    try:
        text = content.decode("utf-8-sig")
        if name.endswith((".jsonl", ".json")):
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except (ValueError, csv.Error) as error:
        raise precondition(f"{name} cannot be imported: {error}.") from None


def read_files(storage: Storage, uris: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return names and contents of files; a name may hold `*`. This blocks."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for uri in uris:
            location = parse_uri(uri, "gcs_source.uris")
            names = [location.path]
            if "*" in location.path:
                names = fnmatch.filter(storage.names(location.bucket, location.path.partition("*")[0]), location.path)
            for name in names:
                target = Path(folder) / "file"
                if not storage.download(location.bucket, name, target):
                    raise precondition(f"The file gs://{location.bucket}/{name} does not exist.")
                found.append((f"gs://{location.bucket}/{name}", target.read_bytes()))
            if not names:
                raise precondition(f"No file matches {uri}.")
    return found
