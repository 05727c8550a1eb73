"""What endpoints were asked and answered, where their setting wants it kept.

https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging: Vertex AI writes a row of six columns for
each sampled prediction into a BigQuery table. Here the row is a line of JSON, as BigQuery exports it, and the table
`bq://PROJECT.DATASET.TABLE` is a folder, with a folder for each day (UTC):

    gs://PROJECT-bigquery-tables/DATASET/TABLE/2026-11-27/142233-0a1b2c3d.jsonl

A prediction neither waits for its line nor fails with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from edge_tasks.emulator.errors import ApiError, invalid
from edge_tasks.emulator.projects import project_id

if TYPE_CHECKING:
    from edge_tasks.emulator.clock import Clock
    from edge_tasks.emulator.runtime.bucket import Storage
    from edge_tasks.emulator.schema.surface import Message

SCHEME = "bq://"
DEFAULT_TABLE = "request_response_logging"
# Seconds until a line can be read.
DELAY = 1.0
# An object grows to so many bytes, by being written again, until the next one is begun.
SEGMENT = 512 << 10
# The largest row that BigQuery takes: https://cloud.google.com/bigquery/quotas#streaming_inserts.
LARGEST_ROW = 10 << 20
# So many bytes wait at most, while Cloud Storage does not take them.
LARGEST_BACKLOG = 64 << 20
# What is older than so many days is removed, as is the oldest when a table has more bytes.
DAYS_TO_KEEP = 30
SECONDS_TO_CLEAN = 3600.0
LARGEST_TABLE = 4 << 30
LOG = logging.getLogger(__name__)


class Destination(NamedTuple):
    """Where an endpoint's rows go, and which share of its predictions."""

    bucket: str
    folder: str
    sampling_rate: float


@dataclass
class _Table:
    """The rows of one table that wait, and the object that is being filled."""

    waiting: list[bytes] = field(default_factory=list)
    waiting_bytes: int = 0
    name: str = ""
    content: bytes = b""
    generation: int = 0


def check(endpoint: Message) -> None:
    """Refuse a setting that cannot be followed."""
    config = endpoint.predict_request_response_logging_config
    if not config.enabled:
        return
    # Vertex AI documents (0, 1]; the SDK sends 0 unless it is told otherwise, and then nothing is kept.
    if not 0 <= config.sampling_rate <= 1:
        raise invalid("predict_request_response_logging_config.sampling_rate must be in the range (0, 1].")
    destination_of(endpoint)


def destination_of(endpoint: Message) -> Destination | None:
    """Return where the rows of an endpoint go; None when it does not log."""
    config = endpoint.predict_request_response_logging_config
    if not config.enabled:
        return None
    uri = config.bigquery_destination.output_uri
    if uri and not re.fullmatch(rf"{SCHEME}[A-Za-z0-9:-]+(\.\w+){{0,2}}", uri):
        raise invalid(f"bigquery_destination.output_uri must be bq://PROJECT[.DATASET[.TABLE]], not {uri[:200]!r}.")
    project, dataset, table = [*uri.removeprefix(SCHEME).split("."), "", ""][:3]
    if not dataset:
        name = re.sub(r"\W", "_", endpoint.display_name, flags=re.ASCII)
        dataset = f"logging_{name}_{endpoint.name.rpartition('/')[2]}"
    project = project_id(project or endpoint.name.split("/")[1]).replace(":", "-")
    return Destination(f"{project}-bigquery-tables", f"{dataset}/{table or DEFAULT_TABLE}", config.sampling_rate)


class RequestLogs:
    """The tables, and the one task that writes what waits for them."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._random = random.Random()  # noqa: S311  (an id is not a secret, and need not cost a system call)
        self._tables: dict[tuple[str, str], _Table] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._lost = 0

    def add(
        self,
        destination: Destination,
        endpoint: str,
        deployed_model_id: str,
        asked: Sequence[Any],
        answered: Sequence[Any],
    ) -> None:
        """Keep one prediction: instances and predictions, or whole bodies as texts."""
        try:
            line = orjson.dumps(
                {
                    "endpoint": endpoint,
                    "deployed_model_id": deployed_model_id,
                    "logging_time": self._clock.now().isoformat(timespec="microseconds"),
                    "request_id": str(self._random.getrandbits(62)),
                    "request_payload": [_text(value) for value in asked],
                    "response_payload": [_text(value) for value in answered],
                }
            )
        except orjson.JSONEncodeError as error:
            # orjson reads what is nested more deeply than it writes.
            self._lose(1, str(error))
            return
        table = self._tables.get(destination[:2])
        if table is None:
            table = self._tables[destination[:2]] = _Table()
        if len(line) > LARGEST_ROW or table.waiting_bytes > LARGEST_BACKLOG:
            self._lose(1, "too large" if len(line) > LARGEST_ROW else "Cloud Storage does not take them")
            return
        table.waiting.append(line)
        table.waiting_bytes += len(line)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_all())

    async def close(self) -> None:
        """Write what waits."""
        self._closing.set()
        if self._writing is not None:
            await self._writing

    async def _write_all(self) -> None:
        """Write what waits again and again, until the end is asked for, and then once more."""
        closing = asyncio.ensure_future(self._closing.wait())
        cleaned = -SECONDS_TO_CLEAN
        while not closing.done():
            await asyncio.wait([closing], timeout=DELAY)
            await self._write_waiting()
            if time.monotonic() - cleaned > SECONDS_TO_CLEAN:
                cleaned = time.monotonic()
                for bucket, folder in list(self._tables):
                    await self._attempt("the old rows of a request log stay", self._remove_old, bucket, folder)

    async def _write_waiting(self) -> None:
        for (bucket, folder), table in list(self._tables.items()):
            if table.waiting:
                lines, table.waiting, table.waiting_bytes = table.waiting, [], 0
                if not await self._attempt("rows of a request log are lost", self._write, bucket, folder, table, lines):
                    self._lose(len(lines), "Cloud Storage does not take them")

    async def _attempt(self, what: str, work: Any, *arguments: Any) -> bool:
        try:
            await asyncio.to_thread(work, *arguments)
        except (ApiError, OSError) as error:
            LOG.warning("%s: %s", what, error)
            return False
        except Exception:
            # A fault of ours, after which the next rows are still written.
            LOG.exception("%s", what)
            return False
        return True

    def _write(self, bucket: str, folder: str, table: _Table, lines: Sequence[bytes]) -> None:
        now = self._clock.now()
        day = f"{folder}/{now:%Y-%m-%d}/"
        new = b"\n".join(lines) + b"\n"
        self._storage.make_bucket(bucket)
        if 0 < len(table.content) < SEGMENT and table.name.startswith(day):
            whole = table.content + new
            generation = self._storage.put_over(whole, bucket, table.name, table.generation)
            if generation is not None:
                table.content, table.generation = whole, generation
                return
            # It was deleted: what was in it must not come back.
        table.name, table.content = f"{day}{now:%H%M%S}-{secrets.token_hex(4)}.jsonl", b""
        table.generation = self._storage.put_over(new, bucket, table.name, 0) or 0
        table.content = new

    def _remove_old(self, bucket: str, folder: str) -> None:
        first = f"{self._clock.now() - timedelta(days=DAYS_TO_KEEP):%Y-%m-%d}"
        sizes = self._storage.sizes(bucket, f"{folder}/")
        total = sum(sizes.values())
        for name in sorted(sizes):
            if total <= LARGEST_TABLE and name.removeprefix(f"{folder}/")[:10] >= first:
                break
            self._storage.delete(bucket, name)
            total -= sizes[name]

    def _lose(self, rows: int, why: str) -> None:
        if not self._lost:
            LOG.warning("rows of a request log are lost: %s", why)
        self._lost += rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def payload(body: bytes, name: str) -> Sequence[Any]:
    """Return the instances of a raw request, or the predictions of a raw answer; else the body as one text."""
    try:
        value = orjson.loads(body)
        found = value.get(name) if isinstance(value, dict) else None
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, list) else [body.decode("utf-8", "replace")]
