"""Which drift has already led to something: one note for each version that serves, so that nothing happens twice.

A column that has changed is noted until it is well within its threshold again. Two jobs at once write over the same
generation of the note, so one of them alone acts.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import ConflictError, NotFoundError
from edge_tasks.monitoring import requests
from edge_tasks.monitoring.watch import Watched
from edge_tasks.repo import layout

# A noted column has recovered when its distance is below this part of its threshold.
RECOVERED = 0.5


@dataclass
class Drift:
    """The columns that have changed and that nobody was told of; and the issue in which people were told of others."""

    new: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    issue: str | None = None


@contextlib.contextmanager
def noted(cloud: Cloud, config: EdgeConfig, watched: Watched, version: str) -> Iterator[Drift]:
    """Give what is new of a drift, noted before anything is done about it.

    When that fails the note is taken back, so that the next run does it. What the caller sets as `issue` is kept.
    """
    name = layout.drift_note(config, watched.model, version)
    before, generation = _read(cloud, name)
    drift = _drift(watched, before)
    columns = [*drift.known, *drift.new]
    if columns == before.get("columns", []):
        yield drift
        return
    note = {"columns": columns, "issue": drift.issue, "at": f"{requests.now(cloud):%Y-%m-%dT%H:%M:%SZ}"}
    try:
        generation = _write(cloud, name, note, generation)
    except ConflictError:  # another job has just noted it
        yield Drift(known=columns, issue=drift.issue)
        return
    try:
        yield drift
    except BaseException:
        _write(cloud, name, before or {"columns": []}, generation)
        raise
    if drift.issue != note["issue"]:
        _write(cloud, name, note | {"issue": drift.issue}, generation)


def _drift(watched: Watched, before: dict[str, Any]) -> Drift:
    changed = [one.column for one in watched.changed]
    if not watched.is_enough:
        return Drift(known=list(before.get("columns", [])), issue=before.get("issue"))
    near = {one.column for one in watched.comparisons if one.distance > one.threshold * RECOVERED}
    known = [column for column in before.get("columns", []) if column in near]
    return Drift([column for column in changed if column not in known], known, before.get("issue"))


def _read(cloud: Cloud, name: str) -> tuple[dict[str, Any], int]:
    try:
        with sdk_errors("read what a drift has led to"):
            content, generation = cloud.objects.read_versioned(name)
        return dict(json.loads(content)), generation
    except NotFoundError:
        return {}, 0
    except ValueError:  # written by hand, or cut off: as if there was none
        return {}, generation


def _write(cloud: Cloud, name: str, note: dict[str, Any], generation: int) -> int:
    with sdk_errors("note what a drift leads to"):
        return cloud.objects.write(name, json.dumps(note), content_type="application/json", generation=generation)
