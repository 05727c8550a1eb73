"""Writing one run's record into the bucket while the training is running, from its own thread.

What happened is taken at once; the end waits for the bucket, for a limited time. What was lost is told, once. A bucket
that does not answer is tried again with every sign of life. What it has not taken in the end is kept on this machine,
and sent with a later run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_tasks.cloud.run_store import RunStore, Stored
from edge_tasks.domain.runs import RunRecord, Series, utc_now
from edge_tasks.errors import EdgeError, NoAnswerError
from edge_tasks.tracking.outbox import Outbox
from edge_tasks.tracking.sinks.background import BackgroundSink, wait_for

# Seconds that the end of a training waits for the bucket.
END_LIMIT = 30.0
# And at least for a mirror, when the bucket has taken all that time.
_SHORTEST_WAIT = 1.0

# Curves and output are written whole each time; a writing that took a second is repeated a minute later, not before.
_REST = 60.0

# Kept runs that one run sends.
_MOST_SENT = 5

# A longer source file is data.
_LONGEST_SOURCE = 1 << 20


class Uploader:
    """One run on its way into the bucket.

    `open_store` may take its time and raise EdgeError. `begin` makes the first record of this process of the one that
    is there already (a job's is written when it is submitted), or of None. `tell` gets a sentence about what went
    wrong. `mirror` shows the record elsewhere, too, and `kept` takes what the bucket does not. What the training prints
    is in the file `output`.
    """

    def __init__(
        self,
        model_name: str,
        run_id: str,
        output: Path,
        open_store: Callable[[], RunStore],
        begin: Callable[[RunRecord | None], RunRecord],
        tell: Callable[[str], None],
        interval: float,
        mirror: BackgroundSink[RunRecord] | None = None,
        kept: Outbox | None = None,
        system: Callable[[], Mapping[str, Series]] = dict,
    ):
        self._run_id = run_id
        self._model_name = model_name
        self._open_store = open_store
        self._begin = begin
        self._tell = tell
        self._interval = interval
        self._mirror = mirror
        self._kept = kept
        self._output = output
        self._system = system

        # What is left for the thread.
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._changes: dict[str, Any] = {}
        self._all_changes: dict[str, Any] = {}
        self._series: dict[str, Series] = {}
        self._sources: dict[str, Path] = {}
        self._files: dict[tuple[str, str], Path] = {}
        self._ending = False

        # The thread's own.
        self._store: RunStore | None = None
        self._stored: Stored | None = None
        self._sources_written = self._kept_sent = False
        self._written_points = self._written_bytes = 0
        self._written_files: dict[str, dict[str, int]] = {}
        self._files_not_before = 0.0
        self._complained = self._given_up = False
        self._shown_status = ""
        self._thread = threading.Thread(target=self._run, name="run-recording", daemon=True)

    # --- the caller's side: nothing here waits but `end` ---

    def start(self, sources: Mapping[str, Path]) -> None:
        """Begin to write; `sources` are the training's files by their names in the record."""
        self._sources = dict(sources)
        self._thread.start()

    def note(self, **changes: Any) -> None:
        """Change fields of the record, with its next writing."""
        with self._lock:
            self._changes |= changes
            self._all_changes |= changes

    def log(self, series: Mapping[str, Series]) -> None:
        """Add to the series."""
        with self._lock:
            for name, more in series.items():
                whole = self._series.setdefault(name, Series())
                whole.steps.extend(more.steps)
                whole.values.extend(more.values)
                whole.timestamps.extend(more.timestamps)

    def keep(self, kind: str, name: str, path: Path) -> None:
        """Write a file, too; `kind` is a field of the record: plots or attachments."""
        with self._lock:
            self._files[kind, name] = path

    def end(self) -> None:
        """Write the last of it; waits for at most END_LIMIT seconds."""
        deadline = time.monotonic() + END_LIMIT
        self._ending = True
        self._wake.set()
        if why := wait_for(self._thread, END_LIMIT, "the bucket", self._tell):
            self._lost(why)
        if self._kept and self._given_up:
            self._keep(self._kept)
        if self._mirror:
            self._mirror.end(max(_SHORTEST_WAIT, deadline - time.monotonic()))

    def _keep(self, kept: Outbox) -> None:
        """Keep the run on this machine; what the thread may still be busy with is not touched."""
        try:
            with self._lock:
                series = {name: _copied(one) for name, one in self._series.items()}
                changes = dict(self._all_changes)
            sources = _short_sources(self._sources)
            sizes = {name: path.stat().st_size for name, path in sources.items()}
            stored = self._stored.record if self._stored else None
            record = self._changed(stored, {"sources": sizes, **self._sizes(), **changes})
            place = kept.keep(record, series, self._output, sources, self._system(), self._all_files())
        except Exception as error:
            # As in the thread: whatever it is, it is told.
            self._tell(f"the run {self._run_id} cannot be kept on this machine either: {error}")
        else:
            self._tell(f"the run {self._run_id} is kept in {place}; the next training, or experiments.list, sends it")

    # --- the thread's side ---

    def _run(self) -> None:
        while True:
            ending = self._ending
            try:
                self._write(ending)
            except NoAnswerError as error:
                if ending:
                    self._lost(error.problem)
                elif not self._complained:
                    self._tell(f"the run {self._run_id} cannot be recorded for now: {error.problem}; it is tried again")
                    self._complained = True
            except EdgeError as error:
                self._lost(str(error))
                return
            except Exception as error:
                # Whatever it is, it is told.
                self._lost(f"{type(error).__name__}: {error}")
                return
            if ending:
                return
            self._wake.wait(self._interval)

    def _write(self, ending: bool) -> None:
        if self._store is None:
            self._store = self._open_store()
        with self._lock:
            changes = self._changes
            self._changes = {}
        try:
            if self._stored is None:
                self._stored = self._store.update(self._model_name, self._run_id, self._begin)
            changes = {**self._write_kept(self._store), **changes}
            if not self._sources_written:
                changes = {"sources": self._write_sources(self._store), **changes}
            if ending or time.monotonic() >= self._files_not_before:
                self._write_files(self._store)
            self._stored = self._store.update(
                self._model_name, self._run_id, lambda now: self._changed(now, changes), self._stored
            )
        except BaseException:
            with self._lock:
                self._changes = {**changes, **self._changes}
            raise
        self._sources_written = True
        if self._mirror and self._stored.record.status != self._shown_status:
            self._shown_status = self._stored.record.status
            self._mirror.put(self._stored.record)
        if self._kept and not self._kept_sent:
            self._kept_sent = True
            self._send(self._kept, self._store)

    def _send(self, kept: Outbox, store: RunStore) -> None:
        """Send earlier runs that the bucket did not take; when that fails, it is left to the next one."""
        try:
            kept.send(store, _MOST_SENT)
        except (EdgeError, OSError) as error:
            self._tell(f"earlier runs are still kept in {kept.folder}: {error}")

    def _changed(self, now: RunRecord | None, changes: Mapping[str, Any]) -> RunRecord:
        record = now or self._begin(None)
        # What save_results knows of the environment comes on top of what Sacred has seen.
        environment = {**record.environment, **changes.get("environment", {})}
        return record.changed(**{**changes, "heartbeat": utc_now(), "environment": environment})

    def _write_sources(self, store: RunStore) -> dict[str, int]:
        written = {}
        for name, path in _short_sources(self._sources).items():
            with contextlib.suppress(OSError):
                content = path.read_bytes()
                store.write_source(self._model_name, self._run_id, name, content)
                written[name] = len(content)
        return written

    def _all_files(self) -> dict[tuple[str, str], Path]:
        with self._lock:
            return dict(self._files)

    def _sizes(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for (kind, name), path in self._all_files().items():
            found.setdefault(kind, {})[name] = path.stat().st_size
        return found

    def _write_kept(self, store: RunStore) -> dict[str, dict[str, int]]:
        """Write the files that are new; return the fields of the record that name them."""
        changed = {}
        for (kind, name), path in self._all_files().items():
            written = self._written_files.setdefault(kind, {})
            size = path.stat().st_size
            if written.get(name) != size:
                store.write_file(self._model_name, self._run_id, f"{kind}/{name}", path)
                written[name] = size
                changed[kind] = dict(written)
        return changed

    def _write_files(self, store: RunStore) -> None:
        began = time.monotonic()
        with self._lock:
            series = {name: _copied(one) for name, one in self._series.items()}
        points = sum(len(one.steps) for one in series.values())
        if points > self._written_points:
            store.write_series(self._model_name, self._run_id, series)
            self._written_points = points
        if system := self._system():
            store.write_system(self._model_name, self._run_id, dict(system))
        size = self._output.stat().st_size if self._output.exists() else 0
        if size > self._written_bytes:
            store.write_output(self._model_name, self._run_id, self._output)
            self._written_bytes = size
        self._files_not_before = time.monotonic() + _REST * (time.monotonic() - began)

    def _lost(self, why: str) -> None:
        """Say once that this record is not complete."""
        if self._given_up:
            return
        self._given_up = True
        what = "is not recorded" if self._stored is None else "is recorded in part only"
        self._tell(f"the run {self._run_id} {what}: {why}")


def _short_sources(sources: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in sources.items() if path.is_file() and path.stat().st_size <= _LONGEST_SOURCE}


def _copied(series: Series) -> Series:
    # Of a million points a deep copy takes the processor, and the lock, for seconds.
    return Series.model_construct(
        steps=series.steps.copy(), values=series.values.copy(), timestamps=series.timestamps.copy()
    )
