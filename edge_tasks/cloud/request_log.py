"""What an endpoint was asked and answered, where its setting has it kept: rows of Vertex AI's six columns.

https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging. On Google Cloud they stand in a BigQuery
table; in the emulator, which has no BigQuery, the table is a folder of JSON lines, as BigQuery exports them.
"""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from edge_tasks.cloud import clock, rest
from edge_tasks.cloud.bucket import CONNECTIONS, Bucket
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.request_batch import Batch, Row, of_lines, of_rows, text_of
from edge_tasks.errors import CloudError, NotFoundError

_SCHEME, _TABLE = "bq://", "request_response_logging"
# So many files of half a megabyte are fetched before they are needed.
_AHEAD = 2
# So many bytes of them are read at once, as fit the processor's cache: four times as many take a sixth longer.
_AT_ONCE = 256 << 10
# Rows in one answer of BigQuery, which has at most 10 MB anyway.
_ROWS = 10_000
# BigQuery answers after so many milliseconds even if it has not finished; then it is asked again.
_PATIENCE = 10_000
_COLUMNS = ("deployed_model_id", "logging_time", "request_id", "request_payload", "response_payload")


@dataclass(frozen=True)
class LogSetting:
    """What an endpoint is told to keep: a share of its predictions, in a table `bq://PROJECT.DATASET.TABLE`."""

    enabled: bool = False
    sampling_rate: float = 0.0
    table: str = ""


def setting(cloud: Cloud, endpoint: str) -> LogSetting:
    """Return what the endpoint is told to keep."""
    with sdk_errors(f"look at the endpoint {endpoint}"):
        found = cloud.endpoints.get_endpoint(name=endpoint).predict_request_response_logging_config
    return LogSetting(bool(found.enabled), float(found.sampling_rate), str(found.bigquery_destination.output_uri))


def keep(cloud: Cloud, endpoint: str, wanted: LogSetting) -> None:
    """Tell the endpoint what to keep from now on."""
    config = {
        "enabled": wanted.enabled,
        "sampling_rate": wanted.sampling_rate,
        "bigquery_destination": {"output_uri": wanted.table},
    }
    with sdk_errors(f"change what {endpoint} keeps"):
        cloud.endpoints.update_endpoint(
            endpoint={"name": endpoint, "predict_request_response_logging_config": config},
            update_mask={"paths": ["predict_request_response_logging_config"]},
        )


def read(cloud: Cloud, endpoint: str, table: str, since: datetime, until: datetime | None = None) -> Iterator[Row]:
    """Yield what an endpoint was asked from `since` to `until` (exclusive), in no order; damaged rows are left out."""
    for batch in batches(cloud, endpoint, table, since, until):
        yield from batch.rows()


def batches(cloud: Cloud, endpoint: str, table: str, since: datetime, until: datetime | None = None) -> Iterator[Batch]:
    """Yield the same by thousands of predictions, which takes half the time.

    It is read in pieces: what is in memory does not grow with what was kept.
    """
    until = until or clock.now(cloud) + timedelta(minutes=1)
    wanted = (f"/{endpoint.rpartition('/')[2]}", text_of(since), text_of(until))
    if cloud.bigquery_url is None:
        contents = _gathered(_from_files(cloud, *_folder(table), since, until))
        found = (of_lines(content, *wanted) for content in contents)
    else:
        found = (of_rows(rows, *wanted) for rows in _from_bigquery(cloud, _table(table), since, until))
    with _no_collection():
        yield from (batch for batch in found if len(batch))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Let Python look for no garbage meanwhile: among thousands of new values that takes longer than reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def dataset_exists(cloud: Cloud, dataset_id: str) -> bool:
    """Say whether BigQuery has the data set: https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets/get."""
    if cloud.bigquery_url is None:
        return False
    with sdk_errors(f"look at the data set {dataset_id}"):
        answer = cloud.session.get(f"{cloud.bigquery_url}/bigquery/v2/projects/{cloud.project}/datasets/{dataset_id}")
    if answer.ok or answer.status_code == 404:
        return bool(answer.ok)
    raise CloudError(f"BigQuery answered {answer.status_code} for the data set {dataset_id}", "invoke doctor")


def delete(cloud: Cloud, table: str, until: datetime) -> int:
    """Delete the rows before `until`, in files whole days of them; return how many files or rows that were."""
    if cloud.bigquery_url is not None:
        return _delete_from_bigquery(cloud, _table(table), until)
    bucket, folder = _folder(table)
    objects = cloud.objects_in(bucket)
    try:
        with sdk_errors("look at the request log"):
            names = [name for name in objects.names(f"{folder}/") if _day_of(name, folder) < f"{until:%Y-%m-%d}"]
    except NotFoundError:
        return 0
    with sdk_errors("delete rows of the request log"), ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(objects.delete, names))
    return len(names)


def _day_of(name: str, folder: str) -> str:
    return name.removeprefix(f"{folder}/").partition("/")[0]


def _table(table: str) -> str:
    """Return a table's name in a query."""
    project, dataset, name = [*table.removeprefix(_SCHEME).split("."), "", ""][:3]
    return f"{project}.{dataset}.{name or _TABLE}"


def _folder(table: str) -> tuple[str, str]:
    """Return the bucket and the folder that are the emulator's table."""
    project, dataset, name = _table(table).split(".")
    return f"{project.replace(':', '-')}-bigquery-tables", f"{dataset}/{name}"


# --- the emulator's files ---


def _from_files(cloud: Cloud, bucket: str, folder: str, since: datetime, until: datetime) -> Iterator[bytes]:
    """Yield the content of each file of these days; some are fetched ahead."""
    objects = cloud.objects_in(bucket)
    ahead: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        for name in _files(objects, folder, since, until):
            ahead.append(pool.submit(_content, objects, name))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _gathered(contents: Iterator[bytes]) -> Iterator[bytes]:
    """Join small files: an endpoint that is asked now and then has thousands of them."""
    waiting: list[bytes] = []
    for content in contents:
        waiting.append(content.strip(b"\n"))
        if sum(map(len, waiting)) >= _AT_ONCE:
            yield b"\n".join(waiting)
            waiting = []
    if waiting:
        yield b"\n".join(waiting)


def _files(objects: Bucket, folder: str, since: datetime, until: datetime) -> Iterator[str]:
    day = since.date()
    try:
        with sdk_errors("read the request log"):
            while day <= until.date():
                yield from objects.names(f"{folder}/{day:%Y-%m-%d}/")
                day += timedelta(days=1)
    except NotFoundError:
        return


def _content(objects: Bucket, name: str) -> bytes:
    try:
        with sdk_errors("read the request log"):
            return objects.read(name)
    except NotFoundError:
        # Deleted meanwhile, as what is too old is.
        return b""


# --- BigQuery: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query ---


def _from_bigquery(cloud: Cloud, table: str, since: datetime, until: datetime) -> Iterator[list[Any]]:
    query = (
        f"SELECT endpoint, {', '.join(_COLUMNS)} FROM `{table}` "  # noqa: S608  (its parts were checked when it was set)
        "WHERE logging_time >= @since AND logging_time < @until"
    )
    for answer in _query(cloud, table, query, {"since": since, "until": until}):
        names = [column["name"] for column in answer.get("schema", {}).get("fields", [])]
        yield [
            {name: _cell(cell["v"]) for name, cell in zip(names, row["f"], strict=True)}
            for row in answer.get("rows", [])
        ]


def _delete_from_bigquery(cloud: Cloud, table: str, until: datetime) -> int:
    query = f"DELETE FROM `{table}` WHERE logging_time < @until"  # noqa: S608  (its parts were checked when it was set)
    try:
        return sum(int(answer.get("numDmlAffectedRows", 0)) for answer in _query(cloud, table, query, {"until": until}))
    except NotFoundError:
        return 0


def _query(cloud: Cloud, table: str, query: str, times: Mapping[str, datetime]) -> Iterator[Mapping[str, Any]]:
    """Run a query with `times` as its parameters; yield the pages of the answer when it has ended."""
    parameters = [
        {"name": name, "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": moment.isoformat()}}
        for name, moment in times.items()
    ]
    body = {
        "query": query,
        "useLegacySql": False,
        "parameterMode": "NAMED",
        "queryParameters": parameters,
        "maxResults": _ROWS,
        "timeoutMs": _PATIENCE,
        "formatOptions": {"useInt64Timestamp": True},
    }
    answer = _ask(cloud, "POST", "queries", table, json=body)
    job = answer.get("jobReference", {})
    while True:
        if answer.get("jobComplete"):
            yield answer
            if not answer.get("pageToken"):
                return
        following = {
            "location": job.get("location"),
            "maxResults": _ROWS,
            "timeoutMs": _PATIENCE,
            "pageToken": answer.get("pageToken"),
            "formatOptions.useInt64Timestamp": "true",
        }
        answer = _ask(cloud, "GET", f"queries/{job.get('jobId')}", table, params=following)


def _ask(cloud: Cloud, method: str, path: str, table: str, **options: Any) -> dict[str, Any]:
    with sdk_errors(f"read {table} of BigQuery"):
        url = f"{cloud.bigquery_url}/bigquery/v2/projects/{cloud.project}/{path}"
        response = cloud.session.request(method, url, **options)
    answer, message = rest.read(response)
    message = message or str(response.text[:300])
    if response.status_code == 404:
        raise NotFoundError(f"BigQuery has no table {table}: {message}", "invoke model.monitor --on")
    if not response.ok:
        raise CloudError(f"BigQuery answered {response.status_code}: {message}", "invoke doctor")
    return answer or {}


def _cell(value: Any) -> Any:
    return [cell["v"] for cell in value] if isinstance(value, list) else value
