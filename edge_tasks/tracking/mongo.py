"""Sacred's MongoObserver beside ours, for teams that look at their runs with Omniboard.

The address is that of the variable EDGE_MONGO_URI, or of the secret that edge.yaml names. A database that is slow or
away holds no training up, and fails none.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver
from sacred.run import Run

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import EdgeError
from edge_tasks.tracking.waiting import wait_for

URI_VARIABLE = "EDGE_MONGO_URI"

# Seconds that a call may wait for the database, and that the end of a training waits for what is not written yet.
_CALL_LIMIT, _END_LIMIT = 10.0, 30.0
_DATABASE = "sacred"
_EVENTS = ("heartbeat_event", "log_metrics", "completed_event", "interrupted_event", "failed_event", "artifact_event")


def wants_mongo(config: EdgeConfig, environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether runs are to be in a MongoDB, too."""
    return bool(environ.get(URI_VARIABLE) or config.experiments.mongo_uri_secret)


class BackgroundMongoObserver(RunObserver):  # type: ignore[misc]
    """Hands events on to Sacred's MongoObserver, which is made, and works, in a thread of its own.

    `address` returns the database's and may raise EdgeError; `output` is the file with what the run has printed.
    """

    def __init__(self, run: Run, run_id: str, address: Callable[[], str], output: Path, tell: Callable[[str], None]):
        self._run = run
        self._run_id = run_id
        self._address = address
        self._output = output
        self._tell = tell
        self._ended = False
        self._client: Any = None
        self._events: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="run-mongo", daemon=True)
        self._thread.start()

    def __getattribute__(self, name: str) -> Any:
        """Make a method of each event that puts it into the queue."""
        if name in _EVENTS:
            return lambda **values: self._put(name, values)
        return super().__getattribute__(name)

    def join(self) -> None:
        """Wait until everything is written, for a limited time."""
        self._events.put(None)
        if why := wait_for(self._thread, _END_LIMIT, "MongoDB", self._tell):
            self._tell(f"the run {self._run_id} is in MongoDB in part only: {why}")

    def _put(self, event: str, values: dict[str, Any]) -> None:
        if self._ended:
            return
        if "captured_out" in values and self._output.exists():
            values = {**values, "captured_out": self._output.read_text(encoding="utf-8", errors="replace")}
        self._events.put((event, values))

    def _work(self) -> None:
        try:
            observer = self._begun()
            while (entry := self._events.get()) is not None:
                event, values = entry
                getattr(observer, event)(**values)
        except EdgeError as error:
            self._tell(f"the run {self._run_id} is not in MongoDB: {error}")
        except Exception as error:
            # pymongo's messages name the hosts of the address, and neither the user nor the password.
            words = str(error).partition(" (configured timeouts")[0]
            self._tell(f"the run {self._run_id} is not in MongoDB, or in part only: {type(error).__name__}: {words}")
        finally:
            self._ended = True
            if self._client is not None:
                self._client.close()

    def _begun(self) -> Any:
        address = self._address()
        try:
            import pymongo
            from sacred.observers import MongoObserver
        except ImportError:
            raise EdgeError("the package pymongo is not installed", "pip install 'vertex-edge[mongo]'") from None
        self._client = pymongo.MongoClient(
            address, serverSelectionTimeoutMS=int(_CALL_LIMIT * 1000), timeoutMS=int(_CALL_LIMIT * 1000)
        )
        database = self._client.get_default_database(default=_DATABASE)
        # A job that is run again by Vertex AI begins its entry anew.
        database["runs"].delete_one({"_id": self._run_id})
        database["metrics"].delete_many({"run_id": self._run_id})
        observer = MongoObserver(client=self._client, db_name=database.name, failure_dir=tempfile.gettempdir())
        run = self._run
        observer.started_event(
            ex_info=run.experiment_info,
            command=run.main_function.signature.name,
            host_info=run.host_info,
            start_time=run.start_time,
            config=run.config,
            meta_info=run.meta_info,
            _id=self._run_id,
        )
        return observer
