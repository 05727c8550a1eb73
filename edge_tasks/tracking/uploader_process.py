"""The process that records one training: `python -m edge_tasks.tracking.uploader_process FOLDER PID_OF_THE_TRAINING`.

It is a separate process so that loading Google's client and writing take nothing from the training's interpreter, and
so that somebody is left to say that a training was killed. The training appends lines of JSON to FOLDER/events.jsonl
(see `edge_tasks.tracking.event_log`), which are read here every second. Whichever of the two is killed, the log is
there. What a full disk did not take of it comes through stdin, as does the word that the training is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_tasks.domain.runs import DIED, FINAL_STATUSES, RunRecord, Series, utc_now
from edge_tasks.errors import EdgeError
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tracking.backend import TrackingBackend
from edge_tasks.tracking.system_metrics import SystemMetrics
from edge_tasks.tracking.uploader import Uploader

EVENTS_FILE = "events.jsonl"

# What the training says last, through stdin.
END = b"end\n"
_STDIN, _CHUNK = 0, 1 << 16

# Seconds between two looks into the event log.
_LOOK = 1.0

# Seconds in which the last output of a killed training reaches its file.
_LAST_WORDS = 0.5

_KILLED = "the process of the training ended without a word: killed, or out of memory"


def main() -> None:
    """Record the training whose event log is in the folder that the arguments name."""
    folder, training = Path(sys.argv[1]), int(sys.argv[2])
    # A person who ends the training with all its processes still wants to know what became of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    lines = _Events(folder / EVENTS_FILE).lines(training)
    begin = next(lines, None)
    if begin is None:
        return  # the disk was full, and the training ended before there was room
    try:
        recording = _begun(begin, training)
    except EdgeError as error:
        tell(f"the run {begin['run_id']} is not recorded: {error}")
        return
    status = None
    for line in lines:
        changes = line.get("note", {})
        recording.note(**changes)
        recording.log({name: Series(**one) for name, one in line.get("log", {}).items()})
        if file := line.get("file"):
            recording.keep(file["kind"], file["name"], Path(file["path"]))
        status = changes.get("status", status)
    killed = status not in FINAL_STATUSES
    if killed:
        time.sleep(_LAST_WORDS)
        recording.note(status=DIED, ended=utc_now(), error=_KILLED)
    # From now on the training passes Ctrl-C on, which ends the waiting.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        recording.end()
    if killed:
        shutil.rmtree(folder, ignore_errors=True)


def tell(text: str) -> None:
    """Say what went wrong with the record of a run, which stops no training."""
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        sys.stderr.write(f"warning: {text}\n")
        sys.stderr.flush()


class _Events:
    """What the training writes: lines in a file, the last of them, and END, possibly through stdin."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._unfinished = self._from_stdin = b""

    def lines(self, training: int) -> Iterator[dict[str, Any]]:
        """Yield each line when it is there, until the process `training` is over."""
        over = False
        while True:
            content = self._unfinished + self._file.read()
            if over:
                content += self._from_stdin.removesuffix(END)
            *lines, self._unfinished = content.split(b"\n")
            yield from map(json.loads, lines)
            if over:
                return
            over = self._is_over(training)

    def _is_over(self, training: int) -> bool:
        """Say whether the process `training` is over, after some waiting.

        Processes that it forked may hold its end of the pipe open when it is killed, so its pid is looked at, too.
        """
        readable, _, _ = select.select([_STDIN], [], [], _LOOK)
        if not readable:
            return os.getppid() != training
        more = os.read(_STDIN, _CHUNK)
        self._from_stdin += more
        return not more or self._from_stdin.endswith(END)


def _begun(begin: Mapping[str, Any], training: int) -> Uploader:
    """Return the recording that the first line of an event log asks for, which has begun."""
    root, run_id, model_name = Path(begin["root"]), begin["run_id"], begin["model_name"]
    begun, facts = begin["begun"], begin["facts"]
    backend = TrackingBackend(load_config(root), root, in_job=begin["in_job"])

    def first(before: RunRecord | None) -> RunRecord:
        if before is None:
            return RunRecord(
                **{**facts, **begun, "run_id": run_id, "model_name": model_name, "created": begun["started"]}
            )
        gaps = {name: value for name, value in facts.items() if not getattr(before, name)}
        return before.changed(**begun, **gaps)

    system = SystemMetrics(training)
    system.start()
    recording = Uploader(
        model_name,
        run_id,
        Path(begin["output"]),
        backend.store,
        first,
        tell,
        begin["interval"],
        backend.mirror(run_id, tell),
        backend.kept(),
        system.series,
    )
    recording.start({name: Path(path) for name, path in begin["sources"].items()})
    return recording


if __name__ == "__main__":
    main()
