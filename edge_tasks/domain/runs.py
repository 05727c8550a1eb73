"""The record of one training run: who trained what, where, with what, and what came of it. Pure values.

Reading and writing it is the work of `edge_tasks.cloud.run_store`. Two formats are defined here, both JSON: the
record (an object in the bucket), and its summary, which is the object's custom metadata, so that a listing needs no
download.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_tasks.domain.provenance import Provenance, data_version
from edge_tasks.errors import EdgeError

if TYPE_CHECKING:
    from typing_extensions import Self

FORMAT_VERSION = 1

# Sacred's words, and one of ours for a run of which nothing is heard any more.
QUEUED, RUNNING, COMPLETED, FAILED, INTERRUPTED = "QUEUED", "RUNNING", "COMPLETED", "FAILED", "INTERRUPTED"
DIED = "DIED"
FINAL_STATUSES = (COMPLETED, FAILED, INTERRUPTED)
STATUSES = (QUEUED, RUNNING, *FINAL_STATUSES, DIED)

# A run gives a sign of life every 10 s, and writing one may take a minute of repetitions.
SILENT_FOR = timedelta(seconds=120)
# Vertex AI keeps a job in its queue for a day; one whose record is still QUEUED then never began.
QUEUED_FOR = timedelta(hours=25)

# Bytes. Google allows 8 KiB for the names and values of an object's custom metadata.
# https://cloud.google.com/storage/quotas#objects
LONGEST_SUMMARY = 8000
_LONGEST_ERROR = 300

_Run = TypeVar("_Run", bound="RunSummary")


# Fields that a later version adds are not a reason to refuse a record. Numbers that JSON has no word for are texts.
_CONFIG = ConfigDict(extra="ignore", frozen=True, protected_namespaces=(), ser_json_inf_nan="strings")


class RunSummary(Provenance):
    """What a table of runs shows of one. Times are UTC. Of data and environment it has no more than a hash."""

    model_config = _CONFIG

    run_id: str = Field(min_length=1)
    model_name: str = Field(min_length=1)
    status: str = Field(description="as it was written; `status_at` knows of runs that died")
    created: datetime = Field(description="when it was started, or submitted as a job")
    started: datetime | None = Field(default=None, description="when the training began; null while it is queued")
    heartbeat: datetime | None = Field(default=None, description="the last sign of life")
    ended: datetime | None = None
    host: str | None = Field(default=None, description="the machine that it ran on")
    target: str | None = None
    job: str | None = Field(default=None, description="resource name of the job; null when trained in process")
    data_version: str = Field(default="", description="one hash over all data; empty without data")
    data: dict[str, str] = Field(default_factory=dict, exclude=True)
    environment: dict[str, str] = Field(default_factory=dict, exclude=True)
    metrics: dict[str, Any] = Field(default_factory=dict, description="final ones; curves are in the series")
    error: str | None = Field(default=None, description="one line: why it did not complete")
    model_version: str | None = Field(default=None, description="versioned resource name in the registry")
    tags: tuple[str, ...] = ()
    name: str | None = Field(default=None, description="what a person calls it")
    cut: bool = Field(default=False, description="whether parameters, metrics and tags were too long for a summary")

    def status_at(self, now: datetime) -> str:
        """Return the status, which is DIED when the run should have been heard of since."""
        if self.status == RUNNING and now - (self.heartbeat or self.started or self.created) > SILENT_FOR:
            return DIED
        if self.status == QUEUED and now - self.created > QUEUED_FOR:
            return DIED
        return self.status

    def seconds_at(self, now: datetime) -> float | None:
        """Return how long the training has taken; to its last sign of life when it died. None before it began."""
        if self.started is None:
            return None
        end = self.ended or (self.heartbeat if self.status_at(now) == DIED else now) or self.started
        return max(0.0, (end - self.started).total_seconds())

    def changed(self, **changes: Any) -> Self:
        """Return the same with other values in some fields, which are checked."""
        return type(self).model_validate({**dict(self), **changes})


class RunRecord(RunSummary):
    """All that is kept of a run, but for its series, its output and its source files."""

    format_version: int = FORMAT_VERSION
    script: str = "train.py"
    data: dict[str, str] = Field(default_factory=dict, description="path of each data file to its DVC hash")
    result: Any = Field(default=None, description="what the main function returned")
    trace: str | None = Field(default=None, description="the traceback of a failure")
    artifact_uri: str | None = Field(default=None, description="gs:// folder of the artifact; null when only on disk")
    artifact_sha256: str | None = None
    sources: dict[str, int] = Field(default_factory=dict, description="bytes of each source file")
    plots: dict[str, int] = Field(default_factory=dict, description="bytes of each plot: CSV, JSON or an image")
    attachments: dict[str, int] = Field(default_factory=dict, description="bytes of each of Sacred's artifacts")
    notes: str | None = Field(default=None, description="what people write about it")
    machine: dict[str, Any] = Field(default_factory=dict, description="what Sacred tells of the host")
    environment: dict[str, str] = Field(default_factory=dict, description="Python and library versions")
    reproduced_from: str | None = Field(default=None, description="the id of the run that this one repeats")

    @property
    def own_result(self) -> Any:
        """What the main function returned, or None when that says no more than the metrics."""
        return None if self.result == self.metrics else self.result

    def summary(self) -> RunSummary:
        """Return the part that a table shows."""
        values = {name: getattr(self, name) for name in RunSummary.model_fields}
        shown = {"data": {}, "environment": {}, "data_version": data_version(self.data)}
        return RunSummary(**{**values, **shown, "error": _first_line(self.error)})


class Series(BaseModel):
    """One metric over the course of a training; the lists are of one length. A value that is not a number is null."""

    model_config = _CONFIG

    steps: list[float] = Field(default_factory=list)
    values: list[float | None] = Field(default_factory=list)
    timestamps: list[str] = Field(default_factory=list, description="UTC, ISO 8601")


def dump_record(record: RunRecord) -> str:
    """Return `record` as JSON."""
    return record.model_dump_json(indent=2, exclude={"data_version", "cut"}) + "\n"


def parse_record(text: str | bytes) -> RunRecord:
    """Return the record that `dump_record` wrote. Raises EdgeError that says what is wrong with `text`."""
    try:
        version = json.loads(text)["format_version"]
    except (ValueError, TypeError, KeyError):
        raise EdgeError("it is not a record of a run") from None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise EdgeError(
            f"it has format {version}, this version of vertex-edge knows up to {FORMAT_VERSION}",
            "git pull, then pip install -r requirements.txt",
        )
    return _validated(RunRecord, text)


def dump_summary(record: RunRecord) -> str:
    """Return the summary of `record` as ASCII of at most LONGEST_SUMMARY bytes.

    When it is longer, the parts that can be long are left out, and it is marked as cut.
    """
    summary = record.summary()
    text = _compact(summary)
    if len(text) > LONGEST_SUMMARY:
        text = _compact(summary.changed(parameters={}, metrics={}, tags=(), cut=True))
    return text


def parse_summary(text: str) -> RunSummary:
    """Return the summary that `dump_summary` wrote. Raises EdgeError when `text` is something else."""
    return _validated(RunSummary, text)


def dump_series(series: dict[str, Series]) -> str:
    """Return the series of a run as JSON: name to steps, values and timestamps."""
    return json.dumps({name: one.model_dump(mode="json") for name, one in series.items()}, separators=(",", ":"))


def parse_series(text: str | bytes) -> dict[str, Series]:
    """Return the series that `dump_series` wrote. Raises EdgeError when `text` is something else."""
    try:
        return {name: Series.model_validate(one) for name, one in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise EdgeError("it holds no series of metrics") from None


def utc_now() -> datetime:
    """Return the time, as records hold it."""
    return datetime.now(timezone.utc)


def _compact(summary: RunSummary) -> str:
    document = json.loads(summary.model_dump_json(exclude_defaults=True))
    return json.dumps(document, separators=(",", ":"))


def _validated(kind: type[_Run], text: str | bytes) -> _Run:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise EdgeError(f"it is not a record of a run: {f'{key}: ' if key else ''}{first['msg']}") from None


def _first_line(error: str | None) -> str | None:
    return error.strip().partition("\n")[0][:_LONGEST_ERROR] if error else None
