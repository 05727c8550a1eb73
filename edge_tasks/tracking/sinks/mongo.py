"""Sacred's MongoObserver in addition to ours, for teams that look at their runs with Omniboard.

The address is that of the variable EDGE_MONGO_URI, or of the secret that edge.yaml names. A database that is slow or
away holds no training up, and fails none.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver
from sacred.run import Run

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import EdgeError
from edge_tasks.tracking.sinks.background import BackgroundSink

URI_VARIABLE = "EDGE_MONGO_URI"

# Seconds that a call may wait for the database, and that the end of a training waits for what is not written yet.
_CALL_LIMIT, _END_LIMIT = 10.0, 30.0
_DATABASE = "sacred"


def wants_mongo(config: EdgeConfig, environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether runs are to be in a MongoDB, too."""
    return bool(environ.get(URI_VARIABLE) or config.experiments.mongo_uri_secret)


_Event = tuple[str, dict[str, Any]]


def _handed_on(event: str) -> Callable[..., None]:
    def hand_on(self: MongoEvents, **values: Any) -> None:
        self.put(event, values)

    return hand_on


class MongoEvents(RunObserver):  # type: ignore[misc]
    """Hands Sacred's events on to its MongoObserver, which is made, and works, in its own thread.

    `address` returns the database's and may raise EdgeError; `output` is the file with what the run has printed.
    """

    heartbeat_event = _handed_on("heartbeat_event")
    log_metrics = _handed_on("log_metrics")
    completed_event = _handed_on("completed_event")
    interrupted_event = _handed_on("interrupted_event")
    failed_event = _handed_on("failed_event")
    artifact_event = _handed_on("artifact_event")

    def __init__(self, run: Run, run_id: str, address: Callable[[], str], output: Path, tell: Callable[[str], None]):
        self._output = output
        self._sink: BackgroundSink[_Event] = BackgroundSink(
            lambda: _opened(run, run_id, address()),
            "MongoDB",
            f"the run {run_id} is not in MongoDB, or in part only",
            tell,
        )

    def put(self, event: str, values: dict[str, Any]) -> None:
        """Take one event, with what the run has really printed."""
        if "captured_out" in values and self._output.exists():
            values = {**values, "captured_out": self._output.read_text(encoding="utf-8", errors="replace")}
        self._sink.put((event, values))

    def join(self) -> None:
        """Wait until everything is written, for a limited time."""
        self._sink.end(_END_LIMIT)


@contextlib.contextmanager
def _opened(run: Run, run_id: str, address: str) -> Iterator[Callable[[_Event], None]]:
    """Begin the run's entry in the database at `address`, and yield what takes its events."""
    try:
        import pymongo
        from sacred.observers import MongoObserver
    except ImportError:
        raise EdgeError("the package pymongo is not installed", "pip install 'pymongo>=4.2,<5'") from None
    limit = int(_CALL_LIMIT * 1000)
    with pymongo.MongoClient[Any](address, serverSelectionTimeoutMS=limit, timeoutMS=limit) as client:
        database = client.get_default_database(default=_DATABASE)
        # A job that is run again by Vertex AI begins its entry again.
        database["runs"].delete_one({"_id": run_id})
        database["metrics"].delete_many({"run_id": run_id})
        observer = MongoObserver(client=client, db_name=database.name, failure_dir=tempfile.gettempdir())
        observer.started_event(
            ex_info=run.experiment_info,
            command=run.main_function.signature.name,
            host_info=run.host_info,
            start_time=run.start_time,
            config=run.config,
            meta_info=run.meta_info,
            _id=run_id,
        )
        yield lambda event: getattr(observer, event[0])(**event[1])
