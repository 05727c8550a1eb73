"""True answers that come later: kept in the bucket, and joined to the requests that were kept.

A file names the requests by `request_id` (a column of the request log; with `instance`, counted from 0, where a request
has several), or by a key: a column of the instances, such as a customer's number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.request_batch import Batch
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.groups import Outcome, answer_of, are_numbers, class_of
from edge_tasks.errors import EdgeError
from edge_tasks.monitoring import requests, samples
from edge_tasks.repo import layout

REQUEST_ID, INSTANCE = "request_id", "instance"


@dataclass(frozen=True)
class Labels:
    """True answers, by request and instance, and by the value of a key column."""

    by_request: dict[tuple[str, int], Any] = field(default_factory=dict)
    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.by_request) + sum(map(len, self.by_key.values()))

    def of_batch(self, batch: Batch) -> list[Any]:
        """Return the true answer to each instance of some requests; None where it is not known."""
        if not len(self):
            return [None] * sum(map(len, batch.asked))
        return [
            self._of(request_id, place, instance)
            for request_id, instances in zip(batch.request_ids, batch.asked, strict=True)
            for place, instance in enumerate(instances)
        ]

    def _of(self, request_id: str, place: int, instance: Any) -> Any:
        found = self.by_request.get((request_id, place))
        if found is None and isinstance(instance, dict):
            for key, labels in self.by_key.items():
                if key in instance:
                    return labels.get(class_of(instance[key]))
        return found


def read_file(path: Path, key: str | None, label: str) -> list[dict[str, Any]]:
    """Return the labels in a file, one row each. Raises EdgeError that says which column is missing."""
    columns = samples.read_columns(path, texts=(REQUEST_ID, key or ""))
    name = key or REQUEST_ID
    for needed, hint in ((name, "--key COLUMN names another one"), (label, "--label COLUMN names another one")):
        if needed not in columns:
            there = ", ".join(f"`{column}`" for column in columns)
            raise EdgeError(f"`{path}` has no column `{needed}`", f"it has {there}; {hint}")
    places = columns.get(INSTANCE, [0] * len(columns[name])) if key is None else [0] * len(columns[name])
    rows = []
    for value, place, answer in zip(columns[name], places, columns[label], strict=True):
        if value is None or answer is None:
            continue
        if not isinstance(place, int | float) or place != int(place):
            raise EdgeError(f"`{path}`: the {INSTANCE} `{place}` is not a whole number", "count from 0")
        named = {"key": key, "value": class_of(value)} if key else {REQUEST_ID: str(value), INSTANCE: int(place)}
        rows.append({**named, "label": answer})
    if not rows:
        raise EdgeError(f"`{path}` holds no labels", f"write `{name}` and `{label}` into each row")
    return rows


def store(cloud: Cloud, config: EdgeConfig, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep labels in the bucket; the same ones again change nothing."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    name = f"{layout.feedback(config, model)}/{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    with sdk_errors("keep the labels"):
        cloud.objects.write(name, content, content_type="application/jsonl")


def load(cloud: Cloud, config: EdgeConfig, model: str) -> Labels:
    """Return all labels that were kept; of two for one request the one that came last."""
    found = Labels()
    with sdk_errors("read the labels"):
        stored = sorted(cloud.objects.list(f"{layout.feedback(config, model)}/"), key=lambda one: one.created)
        for one in stored:
            for line in cloud.objects.read(one.name).splitlines():
                _add(found, line)
    return found


def _add(labels: Labels, line: bytes) -> None:
    """Add a label; a line that is damaged holds none."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        row = json.loads(line)
        if "key" in row:
            labels.by_key.setdefault(str(row["key"]), {})[str(row["value"])] = row["label"]
        else:
            labels.by_request[str(row[REQUEST_ID]), int(row[INSTANCE])] = row["label"]


def delete(cloud: Cloud, config: EdgeConfig, model: str, until: datetime) -> int:
    """Delete the files of labels that were kept before `until`; return how many that were."""
    with sdk_errors("delete labels"):
        old = [one.name for one in cloud.objects.list(f"{layout.feedback(config, model)}/") if one.created < until]
        for name in old:
            cloud.objects.delete(name)
    return len(old)


def by_day(batches: Iterable[Batch], labels: Labels) -> dict[str, Outcome]:
    """Return what was answered on each day (UTC), and how often that was wrong, the oldest day first."""
    days: dict[str, tuple[list[Any], list[Any]]] = {}
    for batch in batches:
        for day in dict.fromkeys(time[:10] for time in batch.times):
            of_day = batch.only([time.startswith(day) for time in batch.times])
            answers, known = days.setdefault(day, ([], []))
            answers += [answer_of(one) for one in requests.answered(of_day)]
            known += labels.of_batch(of_day)
    numeric = are_numbers(answer for answers, _ in days.values() for answer in answers)
    return {day: Outcome.of(*days[day], numeric) for day in sorted(days)}
