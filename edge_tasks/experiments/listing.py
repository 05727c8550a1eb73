"""Finding recorded runs again: all of them, some of them, or one with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.run_store import Listing, RunStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import RunRecord, RunSummary, Series
from edge_tasks.errors import EdgeError, NotFoundError
from edge_tasks.tracking.outbox import Outbox

# Characters of what people write about a run; its name is a part of its summary.
LONGEST_NAME, LONGEST_NOTES = 100, 100_000

# Ids that an error names when several begin alike.
_MOST_NAMED = 5


@dataclass(frozen=True)
class Run:
    """One run with its curves, and what it printed. Its source files are read one by one (`RunStore.source`)."""

    record: RunRecord
    series: dict[str, Series]
    output: bytes


def list_runs(cloud: Cloud, config: EdgeConfig, newest: int | None = None) -> Listing:
    """Return every recorded run, or the newest ones, and the unreadable objects among them."""
    store = RunStore(cloud, config)
    return store.list() if newest is None else store.newest(newest)


def load_run(cloud: Cloud, config: EdgeConfig, model_name: str, run_id: str) -> Run:
    """Return a run with everything. Raises NotFoundError when it is not recorded."""
    store = RunStore(cloud, config)
    return Run(
        store.read(model_name, run_id).record, store.series(model_name, run_id), store.output(model_name, run_id)
    )


def load_record(cloud: Cloud, config: EdgeConfig, run: RunSummary) -> RunRecord:
    """Return the whole record of `run`."""
    return RunStore(cloud, config).read(run.model_name, run.run_id).record


def load_output(cloud: Cloud, config: EdgeConfig, run: RunSummary) -> bytes:
    """Return what `run` has printed."""
    return RunStore(cloud, config).output(run.model_name, run.run_id)


def load_source(cloud: Cloud, config: EdgeConfig, run: RunSummary, path: str) -> bytes:
    """Return one source file of `run`. Raises NotFoundError when it has none at `path`."""
    return RunStore(cloud, config).source(run.model_name, run.run_id, path)


def remove_run(cloud: Cloud, config: EdgeConfig, run: RunSummary) -> None:
    """Remove the record of `run` and its files."""
    RunStore(cloud, config).remove(run.model_name, run.run_id)


def send_unsent(connect: Callable[[], Cloud], config: EdgeConfig, root: Path) -> list[str]:
    """Send the runs that the bucket did not take when they ended, if there are any; return their ids.

    Raises EdgeError when the bucket does not take them now either.
    """
    outbox = Outbox.of(config, root)
    if not outbox.folder.exists():
        return []
    try:
        return outbox.send(RunStore(connect(), config))
    except EdgeError as error:
        raise EdgeError(f"runs are still kept in {outbox.folder}: {error.problem}", error.hint) from None


def change_tags(
    cloud: Cloud, config: EdgeConfig, run: RunSummary, tags: Sequence[str], *, remove: bool = False
) -> tuple[str, ...]:
    """Give `run` these tags, or take them away; return those that it has now."""

    def change(record: RunRecord | None) -> RunRecord:
        if record is None:
            raise NotFoundError(f"the run {run.run_id} was removed meanwhile")
        left = tuple(tag for tag in record.tags if tag not in tags)
        return record.changed(tags=left if remove else (*record.tags, *(tag for tag in tags if tag not in record.tags)))

    return RunStore(cloud, config).update(run.model_name, run.run_id, change).record.tags


def describe_run(
    cloud: Cloud, config: EdgeConfig, model_name: str, run_id: str, changes: Mapping[str, Any]
) -> RunRecord:
    """Give a run a `name`, `notes` or `tags`; return its record. What is empty is taken away. Raises NotFoundError."""
    checked = {
        **({"name": _bounded("name", changes["name"], LONGEST_NAME)} if "name" in changes else {}),
        **({"notes": _bounded("notes", changes["notes"], LONGEST_NOTES)} if "notes" in changes else {}),
        **({"tags": tuple(dict.fromkeys(tag for tag in changes["tags"] if tag))} if "tags" in changes else {}),
    }

    def change(record: RunRecord | None) -> RunRecord:
        if record is None:
            raise NotFoundError(f"there is no run `{run_id}` of `{model_name}`")
        return record.changed(**checked)

    return RunStore(cloud, config).update(model_name, run_id, change).record


def _bounded(what: str, text: str | None, most: int) -> str | None:
    found = (text or "").strip()
    if len(found) > most:
        raise EdgeError(f"the {what} of a run has at most {most:,} characters, not {len(found):,}")
    return found or None


def find_run(runs: Sequence[RunSummary], text: str) -> RunSummary:
    """Return the run whose id begins with `text`; a whole id wins over others that begin with it.

    Raises NotFoundError when there is none, or several.
    """
    found = [run for run in runs if run.run_id == text] or [run for run in runs if run.run_id.startswith(text)]
    if not found:
        raise NotFoundError(f"there is no run `{text}`", "invoke experiments.list shows the runs that there are")
    if len(found) > 1:
        names = ", ".join(run.run_id for run in found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
        raise NotFoundError(f"{len(found)} runs begin with `{text}`: {names}", "write more of the id")
    return found[0]
