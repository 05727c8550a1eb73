"""The Sacred observer that records a run in the bucket, and how the decorator in train.py attaches it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sacred import SETTINGS
from sacred.observers import RunObserver
from sacred.run import Run

from edge_tasks.cloud.secret_manager import read_secret
from edge_tasks.domain.json_values import plain
from edge_tasks.domain.runs import COMPLETED, FAILED, RUNNING, utc_now
from edge_tasks.tracking.backend import TrackingBackend
from edge_tasks.tracking.event_log import EventLog, short_result
from edge_tasks.tracking.output_capture import output_into
from edge_tasks.tracking.sinks.mongo import URI_VARIABLE, MongoEvents, wants_mongo
from edge_tasks.tracking.uploader_process import tell

# The id of the run that a training repeats; set by `experiments.reproduce`.
REPRODUCED_VARIABLE = "EDGE_REPRODUCED_FROM"

# What of a folder of plots is kept.
PLOT_SUFFIXES = (".csv", ".json", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")

# Seconds between two signs of life when Sacred is told to give none (`-b 0`), or few.
_LONGEST_INTERVAL = 30.0


class EventObserver(RunObserver):  # type: ignore[misc]
    """Writes what Sacred tells of a run into its event log."""

    def __init__(self, events: EventLog):
        self._events = events

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        """Take what Sacred has collected since the last time."""
        del info
        self._events.log(metrics_by_name)

    def artifact_event(self, name: str, filename: str, metadata: Any = None, content_type: str | None = None) -> None:
        """Keep a file that the training hands to `_run.add_artifact`."""
        del metadata, content_type
        self._events.keep("attachments", _safe_name(name), Path(filename))

    def heartbeat_event(self, info: Any, captured_out: str, beat_time: datetime, result: Any) -> None:
        """See to it that somebody records the run."""
        del info, captured_out, beat_time, result
        self._events.keep_recorded()

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        """Write the end of a run that went well."""
        self._end(stop_time, status=COMPLETED, result=short_result(result))

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        """Write the end of a run that somebody ended."""
        self._end(interrupt_time, status=status)

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        """Write the end of a run that failed."""
        error = fail_trace[-1].strip().removeprefix("error: ")
        self._end(fail_time, status=FAILED, error=error, trace="".join(fail_trace))

    def join(self) -> None:
        """Wait until everything is written, for a limited time."""
        self._events.end()

    def _end(self, moment: datetime, **changes: Any) -> None:
        # Sacred's times are UTC and do not say so.
        self._events.note(ended=moment.replace(tzinfo=timezone.utc), **changes)


class Telling:
    """What a training tells of its run on top of what Sacred tells; nothing where nobody records it."""

    def __init__(self, events: EventLog | None = None):
        self._events = events

    def __call__(self, **changes: Any) -> None:
        """Change fields of the record."""
        if self._events:
            self._events.note(**changes)

    def plots(self, folder: Path) -> None:
        """Record the plots in `folder`: tables (CSV, JSON) and images."""
        if self._events is None or not folder.is_dir():
            return
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix.lower() in PLOT_SUFFIXES:
                self._events.keep("plots", _safe_name(path.relative_to(folder).as_posix()), path)


def _safe_name(name: str) -> str:
    """Return a name that is one part of a path, and of an address: folders become a part of it."""
    return re.sub(r"[^\w.() -]+", "-", name).strip(".- ")[:120] or "file"


@contextlib.contextmanager
def recorded(
    run: Run, run_id: str, model_name: str, backend: TrackingBackend, facts: Mapping[str, Any]
) -> Iterator[Telling]:
    """Record the Sacred `run`, whose main function is the block, with its output.

    `facts` are fields of the record that are known from the start; what is yielded takes those that show later.
    """
    if run.unobserved:
        yield Telling()
        return
    interval = min(run.beat_interval if run.beat_interval > 0 else _LONGEST_INTERVAL, _LONGEST_INTERVAL)
    started = {"status": RUNNING, "started": str(utc_now()), "ended": None, "error": None, "trace": None}
    begin = {
        "begun": {**started, **_host(run)},
        "facts": facts,
        "sources": _sources(run),
        "interval": interval,
    }
    try:
        events = EventLog(backend, model_name, run_id, begin)
    except OSError as error:
        tell(f"the run {run_id} is not recorded: {error}")
        yield Telling()
        return
    run.observers.append(EventObserver(events))
    if wants_mongo(backend.config):
        run.observers.append(MongoEvents(run, run_id, _mongo_address(backend), events.output, tell))
    with _captured(run, events.output):
        yield Telling(events)


_warn_if_unobserved = Run.warn_if_unobserved


def silence_sacred(main: Callable[..., Any]) -> None:
    """Suppress Sacred's "no observers" warning for `main`: the observer is attached after the run has started.

    Only a script asks for that; a train.py that is imported leaves Sacred as it is.
    """
    main.observed_later = True  # type: ignore[attr-defined]
    Run.warn_if_unobserved = _warn_if_never_observed


def _warn_if_never_observed(run: Run) -> None:
    if not getattr(run.main_function, "observed_later", False):
        _warn_if_unobserved(run)


@contextlib.contextmanager
def _captured(run: Run, output: Path) -> Iterator[None]:
    """Take the output of the block, unless Sacred is told not to (`-C no`)."""
    with contextlib.ExitStack() as stack:
        if (run.capture_mode or SETTINGS.CAPTURE_MODE) != "no":
            try:
                stack.enter_context(output_into(output))
            except OSError as error:
                tell(f"the output of this run is not recorded: {error}")
        yield


def _mongo_address(backend: TrackingBackend) -> Callable[[], str]:
    """Return what gets the address of the MongoDB that runs are to be in, too."""
    secret = backend.config.experiments.mongo_uri_secret or ""
    return lambda: os.environ.get(URI_VARIABLE) or read_secret(backend.cloud(), secret)


def _host(run: Run) -> dict[str, Any]:
    """Return the fields that tell of the machine and what is installed on it."""
    machine = {name: value for name, value in run.host_info.items() if name != "ENV"}
    packages = dict(package.partition("==")[::2] for package in run.experiment_info.get("dependencies", ()))
    return {
        "host": socket.gethostname(),
        "machine": plain(machine),
        "environment": {"python": platform.python_version(), **packages},
        "reproduced_from": os.environ.get(REPRODUCED_VARIABLE),
    }


def _sources(run: Run) -> dict[str, str]:
    """Return the source files that Sacred has found, by their paths below the folder of train.py."""
    base = Path(run.experiment_info["base_dir"])
    names = [str(name) for name, _ in run.experiment_info["sources"]]
    return {name: str(base / name) for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}
