"""The records of runs in the repository's bucket.

    DIRECTORY/runs/MODEL/RUN_ID.json        the record; its custom metadata hold the summary
    DIRECTORY/files/MODEL/RUN_ID/           metrics.json (the series), system.json, output.txt, sources/, plots/,
                                            attachments/

Records lie apart from the files, so that a listing meets nothing else: a thousand runs a call, and no download. A
record and its summary are written together, in one call, and only over the generation that was read, so that nobody's
change is lost. https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge_tasks.cloud import storage
from edge_tasks.cloud.bucket import CONNECTIONS, StoredObject
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import (
    RunRecord,
    RunSummary,
    Series,
    dump_record,
    dump_series,
    dump_summary,
    parse_record,
    parse_series,
    parse_summary,
)
from edge_tasks.errors import ConflictError, EdgeError, NoAnswerError, NotFoundError
from edge_tasks.repo import layout

_SERIES_FILE, _OUTPUT_FILE, _SOURCES_FOLDER = "metrics.json", "output.txt", "sources"
_SYSTEM_FILE = "system.json"

# How often somebody else may change a record between our reading and our writing of it.
_MOST_CONFLICTS = 10


@dataclass(frozen=True)
class Stored:
    """A record as it was read or written, with the generation of its object."""

    record: RunRecord
    generation: int


@dataclass(frozen=True)
class Listing:
    """Recorded runs, newest first, and the unreadable objects among them (with the reason).

    `total` is how many there are in all.
    """

    runs: list[RunSummary]
    unreadable: dict[str, str]
    total: int


class RunStore:
    """The records of all runs of one repository."""

    def __init__(self, cloud: Cloud, config: EdgeConfig):
        self._cloud = cloud
        self._runs = layout.run_records(config)
        self._files = layout.run_files(config)

    # --- records ---

    def list(self, model_name: str | None = None, first: str = "") -> Listing:
        """Return every run, or every run of one model; with `first` only that run and younger ones."""
        return self._listing(self._objects(model_name, first))

    def newest(self, most: int, model_name: str | None = None) -> Listing:
        """Return the `most` newest runs, or those of one model.

        Of all runs only the names are listed, which begin with the time: the records of older ones are not looked at.
        """
        objects = self._objects(model_name, most=most + 1)
        if len(objects) > most:
            with sdk_errors("list the runs"):
                names = list(self._cloud.objects.names(self._prefix(model_name)))
            parts = [name.removeprefix(f"{self._runs}/").removesuffix(".json").split("/") for name in names]
            # Whatever else lies there is no run by its name alone.
            there = sorted((part[1], part[0]) for part in parts if len(part) == 2 and part[1][:1].isdigit())
            first = {model: run for run, model in reversed(there[-most:])}
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                found = pool.map(lambda model: self._objects(model, first[model]), first)
                listing = self._listing([one for objects in found for one in objects])
            return Listing(listing.runs[:most], listing.unreadable, len(there))
        listing = self._listing(objects)
        return Listing(listing.runs[:most], listing.unreadable, listing.total)

    def _prefix(self, model_name: str | None) -> str:
        return f"{self._runs}/{model_name}/" if model_name else f"{self._runs}/"

    def _objects(self, model_name: str | None, first: str = "", most: int | None = None) -> builtins.list[StoredObject]:
        prefix = self._prefix(model_name)
        try:
            with sdk_errors("list the runs"):
                return list(self._cloud.objects.list(prefix, first=f"{prefix}{first}", most=most))
        except NotFoundError:
            raise NotFoundError(f"the bucket `{self._cloud.bucket_name}` does not exist", "invoke init") from None

    def _listing(self, objects: Sequence[StoredObject]) -> Listing:
        found = [self._summary(one) for one in objects]
        cut = [place for place, one in enumerate(found) if isinstance(one, RunSummary) and one.cut]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for place, whole in zip(cut, pool.map(lambda place: self._whole_summary(objects[place]), cut), strict=True):
                found[place] = whole
        runs, unreadable = [], {}
        for stored, one in zip(objects, found, strict=True):
            if isinstance(one, RunSummary):
                runs.append(one)
            elif one:
                unreadable[f"gs://{self._cloud.bucket_name}/{stored.name}"] = one
        runs.sort(key=lambda run: (run.run_id, run.model_name), reverse=True)
        return Listing(runs, unreadable, len(runs))

    def _summary(self, stored: StoredObject) -> RunSummary | str:
        """Return the summary of the record in `stored`, or why it is not a record."""
        text = stored.metadata.get(layout.SUMMARY_METADATA)
        if text is None:
            return "it has no summary of a run"
        try:
            summary = parse_summary(text)
        except EdgeError as error:
            return error.problem
        if stored.name != self._record_name(summary.model_name, summary.run_id):
            return f"it holds the run {summary.run_id} of `{summary.model_name}`"
        return summary

    def _whole_summary(self, stored: StoredObject) -> RunSummary | str:
        """Return the summary that was too long to be metadata, or why there is none: empty when the record is gone."""
        try:
            with sdk_errors(f"read {stored.name}"):
                return parse_record(self._cloud.objects.read(stored.name)).summary()
        except NotFoundError:
            return ""
        except NoAnswerError:
            raise
        except EdgeError as error:
            return error.problem

    def read(self, model_name: str, run_id: str) -> Stored:
        """Return the record of a run. Raises NotFoundError when there is none."""
        name = self._record_name(model_name, run_id)
        with sdk_errors(f"read the run {run_id}"):
            content, generation = self._cloud.objects.read_versioned(name)
        try:
            return Stored(parse_record(content), generation)
        except EdgeError as error:
            raise self._broken(name, run_id, error) from None

    def write(self, record: RunRecord, generation: int) -> Stored:
        """Write `record` over that generation of its object (0: over none). Raises ConflictError when it is another."""
        with sdk_errors(f"write the record of the run {record.run_id}"):
            written = self._cloud.objects.write(
                self._record_name(record.model_name, record.run_id),
                dump_record(record),
                content_type="application/json",
                generation=generation,
                metadata={layout.SUMMARY_METADATA: dump_summary(record)},
            )
        return Stored(record, written)

    def update(
        self,
        model_name: str,
        run_id: str,
        change: Callable[[RunRecord | None], RunRecord],
        known: Stored | None = None,
    ) -> Stored:
        """Write what `change` makes of the record as it is now (None: there is none), and return it.

        `known` saves reading the record when nobody has changed it since.
        """
        for _ in range(_MOST_CONFLICTS):
            if known is None:
                with contextlib.suppress(NotFoundError):
                    known = self.read(model_name, run_id)
            try:
                return self.write(change(known.record if known else None), known.generation if known else 0)
            except ConflictError:
                # Somebody else was faster; or the client repeated an upload whose answer was lost, and met its own.
                known = None
        raise ConflictError(f"the record of the run {run_id} is changed by somebody else all the time", "try again")

    def remove(self, model_name: str, run_id: str) -> None:
        """Remove a run with its files; the record goes first, so that nobody lists a run in parts."""
        from google.api_core.exceptions import NotFound

        name, prefix = self._record_name(model_name, run_id), f"{self._file_name(model_name, run_id, '')}"
        with sdk_errors(f"remove the run {run_id}"):
            files = [stored.name for stored in self._cloud.objects.list(prefix)]
            for each in (name, *files):
                with contextlib.suppress(NotFound):
                    self._cloud.objects.delete(each)

    # --- files ---

    def series(self, model_name: str, run_id: str) -> dict[str, Series]:
        """Return the series of a run by metric; none when there are none."""
        return self._series(self._file_name(model_name, run_id, _SERIES_FILE), run_id)

    def system(self, model_name: str, run_id: str) -> dict[str, Series]:
        """Return what a run took of its machine: processors, memory, GPUs; none when that was not measured."""
        return self._series(self._file_name(model_name, run_id, _SYSTEM_FILE), run_id)

    def _series(self, name: str, run_id: str) -> dict[str, Series]:
        content = self._read_if_there(name)
        try:
            return parse_series(content) if content else {}
        except EdgeError as error:
            raise self._broken(name, run_id, error) from None

    def _broken(self, name: str, run_id: str, error: EdgeError) -> EdgeError:
        hint = error.hint or f"invoke experiments.remove {run_id} removes the run"
        return EdgeError(f"gs://{self._cloud.bucket_name}/{name}: {error.problem}", hint)

    def write_series(self, model_name: str, run_id: str, series: dict[str, Series]) -> None:
        """Write the series of a run."""
        storage.upload(self._cloud, dump_series(series).encode(), self._file_name(model_name, run_id, _SERIES_FILE))

    def write_system(self, model_name: str, run_id: str, series: dict[str, Series]) -> None:
        """Write what a run took of its machine."""
        storage.upload(self._cloud, dump_series(series).encode(), self._file_name(model_name, run_id, _SYSTEM_FILE))

    def file(self, model_name: str, run_id: str, path: str) -> bytes:
        """Return a plot or an attachment of a run (plots/NAME, attachments/NAME). Raises NotFoundError."""
        return storage.read(self._cloud, f"gs://{self._cloud.bucket_name}/{self._file_name(model_name, run_id, path)}")

    def write_file(self, model_name: str, run_id: str, path: str, content: Path) -> None:
        """Write a plot or an attachment of a run (plots/NAME, attachments/NAME)."""
        storage.upload(self._cloud, content, self._file_name(model_name, run_id, path))

    def output(self, model_name: str, run_id: str, start: int = 0) -> bytes:
        """Return what a run has printed from byte `start` on; empty when that is nothing (yet)."""
        return self._read_if_there(self._file_name(model_name, run_id, _OUTPUT_FILE), start)

    def output_size(self, model_name: str, run_id: str) -> int:
        """Return how many bytes a run has printed."""
        name = self._file_name(model_name, run_id, _OUTPUT_FILE)
        with sdk_errors(f"look at gs://{self._cloud.bucket_name}/{name}"):
            found = self._cloud.objects.look(name)
        return found.size if found else 0

    def write_output(self, model_name: str, run_id: str, output: Path) -> None:
        """Write what a run has printed so far, from a file."""
        storage.upload(self._cloud, output, self._file_name(model_name, run_id, _OUTPUT_FILE))

    def source(self, model_name: str, run_id: str, path: str) -> bytes:
        """Return one source file of a run. Raises NotFoundError when it has none at `path`."""
        name = self._file_name(model_name, run_id, f"{_SOURCES_FOLDER}/{path}")
        return storage.read(self._cloud, f"gs://{self._cloud.bucket_name}/{name}")

    def write_source(self, model_name: str, run_id: str, path: str, content: bytes) -> None:
        """Write one source file of a run; `path` is relative to the model's folder."""
        storage.upload(self._cloud, content, self._file_name(model_name, run_id, f"{_SOURCES_FOLDER}/{path}"))

    def _read_if_there(self, name: str, start: int = 0) -> bytes:
        from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

        with sdk_errors(f"read gs://{self._cloud.bucket_name}/{name}"):
            try:
                return self._cloud.objects.read(name, start)
            except (NotFound, RequestRangeNotSatisfiable):
                return b""

    # --- names ---

    def _record_name(self, model_name: str, run_id: str) -> str:
        return f"{self._runs}/{model_name}/{run_id}.json"

    def _file_name(self, model_name: str, run_id: str, path: str) -> str:
        return f"{self._files}/{model_name}/{run_id}/{path}"
