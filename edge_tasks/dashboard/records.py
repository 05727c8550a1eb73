"""What the page is told of runs: plain values that JSON can carry."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from edge_tasks.domain.runs import RunRecord, Series

# The page shows at most so much of a run's output, from its end. Bytes.
OUTPUT_LIMIT = 1_000_000

# And so much of a table that was saved as a plot. Bytes.
TEXT_LIMIT = 2_000_000

_IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}

# JavaScript's numbers are exact up to here.
_LARGEST_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class Row:
    """What the table shows of one run. Times are ISO 8601 with their zone; None is what is not known.

    Parameters and metrics inside others bear names such as `optimizer.rate`.
    """

    id: str
    model: str
    status: str
    created: str
    started: str | None = None
    ended: str | None = None
    heartbeat: str | None = None
    user: str | None = None
    host: str | None = None
    target: str | None = None
    job: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    data: str | None = None
    version: str | None = None
    serving: str | None = None
    tags: tuple[str, ...] = ()
    name: str | None = None
    error: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What names the run on the page."""
        return f"{self.model}/{self.id}"


@dataclass(frozen=True)
class Output:
    """A piece of what a run printed: `text` stands between the bytes `from_` and `to`."""

    text: str
    from_: int
    to: int


@dataclass(frozen=True)
class Details:
    """What the page of one run shows in addition to its row: its curves, its output, and its record.

    `system` is what it took of its machine; `artifact` the files of its model in the bucket, with their sizes.
    """

    record: RunRecord
    series: dict[str, Series]
    output: Output
    system: dict[str, Series] = field(default_factory=dict)
    artifact: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Described:
    """What people write about a run; None leaves it as it is, and an empty text takes it away."""

    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] | None = None


class Records(Protocol):
    """Where runs are kept."""

    def place(self) -> dict[str, Any]:
        """Return where that is (`bucket`, a gs:// address), the repository's `models`, and what is wrong there.

        The latter is `warning`: None, or its `problem` and `hint`.
        """

    def rows(self) -> Iterable[Row]:
        """Return every run. Raises EdgeError when they cannot be read."""

    def details(self, model: str, run_id: str, output_from: int) -> Details:
        """Return one run with its output from a byte on. Raises NotFoundError when there is no such run."""

    def file(self, model: str, run_id: str, name: str) -> str:
        """Return the text of one of its files. Raises NotFoundError when there is no such file."""

    def attached(self, model: str, run_id: str, kind: str, name: str) -> bytes:
        """Return a plot or an attachment of a run. Raises NotFoundError when the record does not name it."""

    def artifact_file(self, model: str, run_id: str, name: str, folder: Path) -> Path:
        """Fetch a file of a run's model into `folder`; return its path. Raises NotFoundError."""

    def describe(self, model: str, run_id: str, words: Described) -> None:
        """Give a run a name, notes or tags. Raises EdgeError when that cannot be."""

    def remove(self, model: str, run_id: str) -> None:
        """Remove a run with its files. Raises NotFoundError when there is none."""


def row_document(row: Row) -> dict[str, Any]:
    """Return `row` as the page's JSON."""
    document: dict[str, Any] = plain(vars(row))
    return document


def details_document(details: Details) -> dict[str, Any]:
    """Return `details` as the page's JSON."""
    record, output = details.record, details.output
    document: dict[str, Any] = plain(
        {
            "series": {name: series.model_dump() for name, series in details.series.items()},
            "output": {"text": output.text, "from": output.from_, "to": output.to},
            "files": [{"name": name, "size": size} for name, size in sorted(record.sources.items())],
            "data_files": record.data,
            "system": {name: series.model_dump() for name, series in details.system.items()},
            "plots": [{"name": name, "size": size} for name, size in sorted(record.plots.items())],
            "attachments": [{"name": name, "size": size} for name, size in sorted(record.attachments.items())],
            "artifact_files": [{"name": name, "size": size} for name, size in details.artifact],
            "artifact_sha256": record.artifact_sha256,
            "notes": record.notes,
            "result": record.own_result,
            "trace": record.trace,
            "model_version": record.model_version,
            "artifact": record.artifact_uri,
            "environment": record.environment,
            "machine": record.machine,
            "reproduced_from": record.reproduced_from,
        }
    )
    return document


def attached_document(name: str, content: bytes) -> dict[str, Any]:
    """Return a plot or an attachment as the page's JSON: a text, or the bytes of an image in base 64.

    An image is only ever shown in an `<img>`, where no script of an SVG runs.
    """
    kind = _IMAGES.get(PurePosixPath(name).suffix.lower())
    if kind:
        return {"name": name, "type": kind, "base64": base64.b64encode(content).decode()}
    return {"name": name, "type": "text/plain", "text": content[:TEXT_LIMIT].decode(errors="replace")}


def plain(value: Any) -> Any:
    """Return `value` as JSON can carry it to a browser and back without loss.

    JSON knows no NaN, and a browser rounds large integers: both go as words.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INTEGER:
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def output_piece(content: bytes, begin: int) -> Output:
    """Return what `content`, which begins at the byte `begin` of a run's output, shows.

    A character whose last bytes are not there yet is left for the next piece.
    """
    whole = len(content)
    for missing in range(1, min(4, whole + 1)):
        lead = content[-missing]
        if lead & 0b1100_0000 == 0b1000_0000:
            continue
        length = 4 if lead >= 0b1111_0000 else 3 if lead >= 0b1110_0000 else 2 if lead >= 0b1100_0000 else 1
        if length > missing:
            whole -= missing
        break
    return Output(content[:whole].decode(errors="replace"), begin, begin + whole)
