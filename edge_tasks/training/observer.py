"""The Sacred observer that records a run in the bucket, and how the decorator in train.py attaches it."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sacred import SETTINGS
from sacred.observers import RunObserver
from sacred.run import Run

from edge_tasks.adapters.cloud import Cloud, connect, connect_from_job, was_initialised
from edge_tasks.adapters.dvc import hash_of
from edge_tasks.adapters.run_store import RunStore
from edge_tasks.adapters.secret_manager import read_secret
from edge_tasks.adapters.storage import bucket_exists
from edge_tasks.errors import EdgeError
from edge_tasks.training.capture import output_into
from edge_tasks.training.context import Order
from edge_tasks.training.mirror import Mirror
from edge_tasks.training.mongo import URI_VARIABLE, BackgroundMongoObserver, wants_mongo
from edge_tasks.training.recording import Recording, plain, short_result
from edge_tasks.values.config import EdgeConfig
from edge_tasks.values.run_record import COMPLETED, FAILED, RUNNING, RunRecord, utc_now
from edge_tasks.work.kept_runs import KeptRuns

# The id of the run that a training repeats; set by `experiments.reproduce`.
REPRODUCED_VARIABLE = "EDGE_REPRODUCED_FROM"

# Seconds between two signs of life when Sacred is told to give none (`-b 0`), or few.
_LONGEST_INTERVAL = 30.0


class BucketObserver(RunObserver):  # type: ignore[misc]
    """Passes what Sacred tells of a run on to its recording."""

    def __init__(self, recording: Recording):
        self._recording = recording

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        """Take what Sacred has collected since the last time."""
        del info
        self._recording.log(metrics_by_name)

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
        self._recording.end()

    def _end(self, moment: datetime, **changes: Any) -> None:
        # Sacred's times are UTC and do not say so.
        self._recording.note(ended=moment.replace(tzinfo=timezone.utc), **changes)


@contextlib.contextmanager
def recorded(
    run: Run, run_id: str, model_name: str, place: Place, facts: Mapping[str, Any]
) -> Iterator[Callable[..., None]]:
    """Record the Sacred `run`, whose main function is the block, with its output.

    `facts` are fields of the record that are known from the start; what is yielded takes those that show later.
    """
    if run.unobserved:
        yield lambda **_: None
        return
    now = utc_now()
    begun = {"status": RUNNING, "started": now, "ended": None, "error": None, "trace": None, **_host(run)}

    def begin(before: RunRecord | None) -> RunRecord:
        if before is None:
            return RunRecord(run_id=run_id, model_name=model_name, created=now, **begun, **facts)
        gaps = {name: value for name, value in facts.items() if not getattr(before, name)}
        return before.changed(**begun, **gaps)

    interval = min(run.beat_interval if run.beat_interval > 0 else _LONGEST_INTERVAL, _LONGEST_INTERVAL)
    recording = Recording(model_name, run_id, place.store, begin, tell, interval, place.mirror(run_id), place.kept)
    recording.start(_sources(run))
    run.observers.append(BucketObserver(recording))
    if wants_mongo(place.config):
        run.observers.append(BackgroundMongoObserver(run, run_id, place.mongo_address, recording.output, tell))
    with _captured(run, recording.output):
        yield recording.note


@contextlib.contextmanager
def recorded_job(run: Run, config: EdgeConfig, order: Order) -> Iterator[Callable[..., None]]:
    """Record the Sacred `run` of a job: one record for all its replicas, and for all attempts that Vertex AI makes."""
    from edge_tasks.training.job import is_primary

    if not is_primary():
        yield lambda **_: None
        return
    job_id = os.environ.get("CLOUD_ML_JOB_ID")
    place = config.google_cloud_project
    parent = f"projects/{place.project_id}/locations/{place.region}"
    facts = {
        **order_facts(order, config),
        "job": f"{parent}/customJobs/{job_id}" if job_id else None,
        "tags": [f"tuning-{order.run_id.rpartition('-')[0]}"] if order.search else [],
    }
    with recorded(run, order.run_id, order.model_name, Place.of_job(config), facts) as note:
        yield note


def order_facts(order: Order, config: EdgeConfig) -> dict[str, Any]:
    """Return what the record of a job says because its order says so."""
    return {
        "script": order.script,
        "user": order.user,
        "target": config.target,
        "commit": order.commit,
        "dirty": order.dirty,
        "data": {path: hash_of(url) for path, url in order.data.items()},
        "parameters": plain(order.parameters),
    }


class Place:
    """Where runs are recorded: the repository's bucket and, when edge.yaml says so, Vertex AI Experiments.

    Nothing is connected before it is needed, which is on the recording's own thread.
    """

    def __init__(self, config: EdgeConfig, connect: Callable[[], Cloud], kept: KeptRuns | None = None):
        self.config = config
        self.kept = kept
        self._connect = connect

    @classmethod
    def of_laptop(cls, config: EdgeConfig, root: Path) -> Place:
        """Return the place as this machine sees it."""

        def connected() -> Cloud:
            if not was_initialised(config, root):
                raise EdgeError(f"there is no bucket `{config.storage_bucket.bucket_name}` yet", "invoke init")
            return connect(config, root)

        return cls(config, connected, KeptRuns.of(config, root))

    @classmethod
    def of_job(cls, config: EdgeConfig) -> Place:
        """Return the place as the job that this process is sees it."""
        return cls(config, lambda: connect_from_job(config))

    def store(self) -> RunStore:
        """Return where the records are. Raises EdgeError when that is not there (yet)."""
        cloud = self._connect()
        if not bucket_exists(cloud):
            raise EdgeError(f"the bucket `{cloud.bucket_name}` does not exist", "invoke init")
        return RunStore(cloud, self.config)

    def mongo_address(self) -> str:
        """Return the address of the MongoDB that runs are to be in, too."""
        address = os.environ.get(URI_VARIABLE)
        return address or read_secret(self._connect(), self.config.experiments.mongo_uri_secret or "")

    def mirror(self, run_id: str) -> Mirror | None:
        """Return what shows the run in Vertex AI Experiments, if that is wanted."""
        experiment = self.config.experiments.vertex_experiment
        if experiment is None:
            return None

        def show(record: RunRecord) -> None:
            from edge_tasks.adapters.vertex_experiments import show_run

            show_run(self._connect(), experiment, record)

        return Mirror(show, "Vertex AI Experiments", run_id, tell)


def tell(text: str) -> None:
    """Say what went wrong with the record of a run, which stops no training."""
    sys.stderr.write(f"warning: {text}\n")
    sys.stderr.flush()


def silence_sacred(main: Callable[..., Any]) -> None:
    """Keep Sacred from warning that nobody observes the runs of `main`: their observer comes when they have begun."""
    main.observed_later = True  # type: ignore[attr-defined]


_warn_if_unobserved = Run.warn_if_unobserved


def _warn_if_never_observed(run: Run) -> None:
    if not getattr(run.main_function, "observed_later", False):
        _warn_if_unobserved(run)


Run.warn_if_unobserved = _warn_if_never_observed


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


def _sources(run: Run) -> dict[str, Path]:
    """Return the source files that Sacred has found, by their paths below the folder of train.py."""
    base = Path(run.experiment_info["base_dir"])
    names = [str(name) for name, _ in run.experiment_info["sources"]]
    return {name: base / name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}
