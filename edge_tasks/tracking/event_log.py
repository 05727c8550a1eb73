"""What the record of a run is made of, as the training tells it: lines of JSON in a file that another process reads.

That process (`edge_tasks.tracking.uploader_process`) does all that takes time. A training never waits for it but at its
end, and no trouble with it becomes the training's.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_tasks.domain.json_values import plain
from edge_tasks.tracking.backend import TrackingBackend
from edge_tasks.tracking.uploader import END_LIMIT
from edge_tasks.tracking.uploader_process import END, EVENTS_FILE, tell

# The recorder's END_LIMIT, and seconds to start, to tell mirrors and to keep what the bucket did not take.
_LONGEST_END = END_LIMIT + 15.0
# Seconds that it has after Ctrl-C.
_HURRY = 5.0

# Recorders that one training starts because another was killed.
_MOST_RESTARTS = 3

# Bytes of a plot or an attachment.
LONGEST_FILE = 10 << 20

# Characters of what a main function returned.
_LONGEST_RESULT = 10_000


class EventLog:
    """One run's events in a file, and the process that reads it. Raises OSError when one of them cannot be."""

    def __init__(self, backend: TrackingBackend, model_name: str, run_id: str, begin: Mapping[str, Any]):
        self._run_id = run_id
        self._folder = Path(tempfile.mkdtemp(prefix="edge-run-"))
        self.output = self._folder / "output.txt"
        self._file = (self._folder / EVENTS_FILE).open("ab", buffering=0)
        self._unwritten = b""
        self._full = False
        self._restarts = 0
        self._lock = threading.Lock()
        self._process_id = os.getpid()
        self._put(
            {
                "root": str(backend.root),
                "in_job": backend.in_job,
                "model_name": model_name,
                "run_id": run_id,
                "output": str(self.output),
                **begin,
            }
        )
        try:
            self._recorder = self._started()
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def note(self, **changes: Any) -> None:
        """Change fields of the record."""
        self._put({"note": {name: plain(value) for name, value in changes.items()}})

    def log(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Add to the series, as Sacred's observers get it: lists of steps, values and times for each metric."""
        series = {
            name: {
                "steps": [_number(step) or 0 for step in more["steps"]],
                "values": [_number(value) for value in more["values"]],
                "timestamps": [f"{moment.isoformat()}Z" for moment in more["timestamps"]],
            }
            for name, more in metrics.items()
        }
        if series:
            self._put({"log": series})

    def keep(self, kind: str, name: str, path: Path) -> None:
        """Have a file recorded with the run: `kind` is plots or attachments. The file may go away at once."""
        copy = self._folder / kind / name
        try:
            if path.stat().st_size > LONGEST_FILE:
                tell(f"`{name}` is not recorded: it is larger than {LONGEST_FILE >> 20} MiB")
                return
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        except OSError as error:
            tell(f"`{name}` is not recorded: {error}")
        else:
            self._put({"file": {"kind": kind, "name": name, "path": str(copy)}})

    def keep_recorded(self) -> None:
        """Start another recorder if the last one was killed, so that the run continues showing signs of life."""
        if os.getpid() == self._process_id and self._recorder.poll() and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            # What it cannot do now is done at the end.
            with contextlib.suppress(OSError):
                self._restart()

    def end(self) -> None:
        """Have the last of it written; waits for a limited time."""
        if os.getpid() != self._process_id:
            return
        try:
            self._finish()
            if self._recorder.returncode:
                self._restart()
                self._finish()
            if self._recorder.returncode:
                tell(f"the run {self._run_id} is recorded in part only: its recorder was killed")
        except OSError as error:
            tell(f"the run {self._run_id} is recorded in part only: {error}")
        except subprocess.TimeoutExpired:
            tell(f"the run {self._run_id} is recorded in part only: its recorder did not end")
            self._recorder.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _finish(self) -> None:
        try:
            self._recorder.communicate(self._unwritten + END, timeout=_LONGEST_END)
        except KeyboardInterrupt:
            self._recorder.send_signal(signal.SIGINT)
            self._recorder.wait(_HURRY)

    def _restart(self) -> None:
        """Put another recorder in the place of one that was killed. The event log is still whole."""
        if self._recorder.stdin:
            self._recorder.stdin.close()
        self._recorder = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        # In its own session: Ctrl-C is meant for the training, whose last words are still to be written.
        return subprocess.Popen(
            [sys.executable, "-m", "edge_tasks.tracking.uploader_process", str(self._folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _put(self, line: Mapping[str, Any]) -> None:
        if os.getpid() != self._process_id:
            return  # a process that the training forked has no part in its record
        with self._lock:
            self._unwritten += json.dumps(line).encode() + b"\n"
            try:
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
            except OSError as error:
                if not self._full:
                    tell(f"the run {self._run_id} cannot be recorded for now: {error}")
                self._full = True


def short_result(value: Any) -> Any:
    """Return what a main function returned, if it is not too long to keep."""
    result = plain(value)
    text = json.dumps(result)
    return result if len(text) <= _LONGEST_RESULT else f"{text[:_LONGEST_RESULT]}..."


def _number(value: Any) -> float | None:
    """Return a logged value as a finite number, else None."""
    try:
        number = float(value)
    except Exception:
        # Types of other libraries raise what they like, such as RuntimeError for a tensor of two numbers.
        return None
    return number if math.isfinite(number) else None
