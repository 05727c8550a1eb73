"""The runs in the repository's bucket, as the dashboard shows them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.cloud.view_store import ViewStore
from edge_tasks.dashboard.records import OUTPUT_LIMIT, Described, Details, Row, output_piece
from edge_tasks.dashboard.views import Views
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.run_filter import flattened
from edge_tasks.domain.runs import DIED, FINAL_STATUSES, RunRecord, RunSummary, utc_now
from edge_tasks.domain.state import EdgeState
from edge_tasks.errors import NoAnswerError, NotFoundError
from edge_tasks.experiments.listing import describe_run

# Seconds. Between two readings of all runs only those are read that may have changed: the youngest ones.
WHOLE_INTERVAL = 60.0

# Files of a model that its run's page lists.
_MOST_FILES = 500


def open_records(
    cloud: Cloud, config: EdgeConfig, model_name: str | None, reconnect: Callable[[], Cloud | None] = lambda: None
) -> BucketRecords:
    """Return the records of the repository, or of one of its models.

    `reconnect` is asked when nothing answers: local servers that were restarted may have other ports.
    Raises EdgeError when there is no bucket yet, or neither edge.yaml nor a run knows the model.
    """
    if not storage.bucket_exists(cloud):
        raise NotFoundError(f"the bucket `{cloud.bucket_name}` is not there", "invoke init")
    if model_name is not None and model_name not in config.models and not RunStore(cloud, config).list(model_name).runs:
        config.model(model_name)
    return BucketRecords(cloud, config, model_name, reconnect)


def open_views(cloud: Cloud, config: EdgeConfig) -> Views:
    """Return the views that the repository's team has saved."""
    return ViewStore(cloud, config)


class BucketRecords:
    """The records of one repository; of one model only when `model_name` is given."""

    def __init__(
        self,
        cloud: Cloud,
        config: EdgeConfig,
        model_name: str | None = None,
        reconnect: Callable[[], Cloud | None] = lambda: None,
    ):
        self._cloud = cloud
        self._reconnect = reconnect
        self._config = config
        self._model_name = model_name
        self._runs = RunStore(cloud, config)
        self._known: dict[tuple[str, str], RunSummary] = {}
        self._unreadable: dict[str, str] = {}
        self._whole_at: float | None = None
        self._reading = threading.Lock()

    def place(self) -> dict[str, Any]:
        """Return the bucket, the models of edge.yaml, and the unreadable objects among the records."""
        names = [self._model_name] if self._model_name else list(self._config.models)
        uri = f"gs://{self._cloud.bucket_name}/{self._config.experiments.directory}"
        return {"bucket": uri, "models": names, "warning": self._warning()}

    def _warning(self) -> dict[str, str] | None:
        if not self._unreadable:
            return None
        name, reason = next(iter(self._unreadable.items()))
        others = f", and {len(self._unreadable) - 1} more like it" if len(self._unreadable) > 1 else ""
        return {"problem": f"{name} is not a run: {reason}{others}", "hint": "remove what does not belong there"}

    def rows(self) -> Iterable[Row]:
        """Return every run as it is now; one that was removed may still be there for a minute."""
        with self._reading, self._connected():
            if self._whole_at is None or time.monotonic() - self._whole_at > WHOLE_INTERVAL:
                self._read_all()
            else:
                self._read_youngest()
            state = StateStore(self._cloud).load()
            now = utc_now()
            return [row_of(run, now, self._serving(state, run)) for run in self._known.values()]

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """When nothing answers to the block, let what is asked next go to where the servers are now."""
        try:
            yield
        except NoAnswerError:
            if cloud := self._reconnect():
                self._cloud, self._runs = cloud, RunStore(cloud, self._config)
            raise

    def _read_all(self) -> None:
        listing = self._runs.list(self._model_name)
        self._known = {(run.model_name, run.run_id): run for run in listing.runs}
        self._unreadable = listing.unreadable
        self._whole_at = time.monotonic()

    def _read_youngest(self) -> None:
        """Read what may have changed: per model, the oldest unfinished run and all after it."""
        now = utc_now()
        for model in {*self.place()["models"], *(model for model, _ in self._known)}:
            runs = [run for run in self._known.values() if run.model_name == model]
            going_on = [run.run_id for run in runs if run.status_at(now) not in (*FINAL_STATUSES, DIED)]
            youngest = max((run.run_id for run in runs), default="")
            listing = self._runs.list(model, first=min(going_on, default=youngest))
            self._known |= {(run.model_name, run.run_id): run for run in listing.runs}

    def _serving(self, state: EdgeState, run: RunSummary) -> str | None:
        """Return the endpoint that the run's model version answers at now."""
        model = state.model(run.model_name)
        for deployment, share in ((model.deployed, ""), (model.candidate, ", a part of the requests")):
            if deployment and deployment.run_id == run.run_id:
                known = self._config.models.get(run.model_name)
                name = known.endpoint_name if known else str(model.endpoint)
                return f"{name} (version {deployment.version}{share})"
        return None

    def details(self, model: str, run_id: str, output_from: int) -> Details:
        """Return one run; of an output that is too long for a page, its end."""
        _check_names(model, run_id)
        record = self._runs.read(model, run_id).record
        begin = output_from or max(0, self._runs.output_size(model, run_id) - OUTPUT_LIMIT)
        output = self._runs.output(model, run_id, begin)
        return Details(
            record,
            self._runs.series(model, run_id),
            output_piece(output, begin),
            self._runs.system(model, run_id),
            tuple(self._artifact(record)),
        )

    def _artifact(self, record: RunRecord) -> Iterator[tuple[str, int]]:
        """Yield the files of the run's model in the bucket, and their bytes."""
        if record.artifact_uri is None:
            return
        bucket, prefix = storage.split_uri(record.artifact_uri.rstrip("/") + "/")
        with contextlib.suppress(NotFoundError), sdk_errors(f"list {record.artifact_uri}"):
            for stored in self._cloud.objects_in(bucket).list(prefix, most=_MOST_FILES):
                yield stored.name.removeprefix(prefix), stored.size

    def artifact_file(self, model: str, run_id: str, name: str, folder: Path) -> Path:
        """Fetch a file of the run's model."""
        _check_names(model, run_id)
        record = self._runs.read(model, run_id).record
        if name not in dict(self._artifact(record)):
            raise NotFoundError(f"the model of the run has no file `{name}`")
        bucket, prefix = storage.split_uri((record.artifact_uri or "").rstrip("/") + "/")
        with sdk_errors(f"read {record.artifact_uri}/{name}"):
            self._cloud.objects_in(bucket).download(f"{prefix}{name}", folder / "file")
        return folder / "file"

    def attached(self, model: str, run_id: str, kind: str, name: str) -> bytes:
        """Return a plot or an attachment; of others than the record's nothing is read."""
        _check_names(model, run_id, name)
        record = self._runs.read(model, run_id).record
        if name not in (record.plots if kind == "plots" else record.attachments):
            raise NotFoundError(f"the run has no file `{name}`")
        return self._runs.file(model, run_id, f"{kind}/{name}")

    def describe(self, model: str, run_id: str, words: Described) -> None:
        """Give a run a name, notes or tags."""
        _check_names(model, run_id)
        changes = {key: value for key, value in vars(words).items() if value is not None}
        record = describe_run(self._cloud, self._config, model, run_id, changes)
        with self._reading:
            self._known[model, run_id] = record.summary()

    def remove(self, model: str, run_id: str) -> None:
        """Remove a run with its files."""
        _check_names(model, run_id)
        self._runs.read(model, run_id)
        self._runs.remove(model, run_id)
        with self._reading:
            self._known.pop((model, run_id), None)

    def file(self, model: str, run_id: str, name: str) -> str:
        """Return the text of a source file; other bytes are shown as such."""
        _check_names(model, run_id)
        if name not in self._runs.read(model, run_id).record.sources:
            raise NotFoundError(f"the run has no file `{name}`")
        return self._runs.source(model, run_id, name).decode(errors="replace")


def _check_names(*names: str) -> None:
    """Refuse what would lead elsewhere in the bucket; names come from the address that a browser asks for."""
    if any("/" in name or name in ("", ".", "..") for name in names):
        raise NotFoundError("there is no such run")


def row_of(run: RunSummary, now: datetime, serving: str | None) -> Row:
    """Return what the table shows of a run, as of `now`; `serving` names the endpoint that it answers at."""
    return Row(
        id=run.run_id,
        model=run.model_name,
        status=run.status_at(now).lower(),
        created=run.created.isoformat(),
        started=_time(run.started),
        ended=_time(run.ended),
        heartbeat=_time(run.heartbeat),
        user=run.user,
        host=run.host,
        target=run.target,
        job=run.job,
        commit=run.commit,
        dirty=run.dirty,
        data=run.data_version or None,
        version=run.model_version.rpartition("@")[2] if run.model_version else None,
        serving=serving,
        tags=run.tags,
        name=run.name,
        error=run.error,
        parameters=flattened(run.parameters),
        metrics=flattened(run.metrics),
    )


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
