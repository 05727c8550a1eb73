"""What an endpoint was asked and answered, where its setting has it kept: rows of Vertex AI's six columns.

https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging. On Google Cloud they stand in a BigQuery
table; in the emulator, which has no BigQuery, the table is a folder of JSON lines, as BigQuery exports them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from edge_tasks.cloud.bucket import CONNECTIONS
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import CloudError, NotFoundError

_loads: Callable[[str | bytes], Any] = json.loads
with contextlib.suppress(ImportError):  # it comes with the emulator, and is three times as fast
    from orjson import loads as _loads

_SCHEME, _TABLE = "bq://", "request_response_logging"
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


class Row(NamedTuple):
    """One prediction that was kept: its instances and predictions, each a JSON value."""

    deployed_model_id: str
    time: datetime
    asked: list[Any]
    answered: list[Any]
    request_id: str = ""


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
    """Yield the rows of an endpoint from `since` to `until` (exclusive), in no order; damaged ones are left out."""
    until = until or datetime.now(timezone.utc) + timedelta(minutes=1)
    if cloud.bigquery_url is None:
        found = _from_files(cloud, *_folder(table), since, until)
    else:
        found = _from_bigquery(cloud, _table(table), since, until)
    number = f"/{endpoint.rpartition('/')[2]}"
    for values in found:
        row = _row(values, number)
        if row is not None and since <= row.time < until:
            yield row


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


def _row(values: Mapping[str, Any], endpoint: str) -> Row | None:
    try:
        if not values["endpoint"].endswith(endpoint):
            return None
        return Row(
            values["deployed_model_id"],
            _moment(values["logging_time"]),
            [_value(text) for text in values["request_payload"]],
            [_value(text) for text in values["response_payload"]],
            str(values.get("request_id", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _value(text: str) -> Any:
    try:
        return _loads(text)
    except ValueError:
        pass
    try:
        return json.loads(text)  # which knows NaN
    except ValueError:
        # A text stands there as it is.
        return text


# --- the emulator's files ---


def _from_files(
    cloud: Cloud, bucket: str, folder: str, since: datetime, until: datetime
) -> Iterator[Mapping[str, Any]]:
    objects = cloud.objects_in(bucket)
    names: list[str] = []
    day = since.date()
    try:
        with sdk_errors("read the request log"):
            while day <= until.date():
                names += [stored.name for stored in objects.list(f"{folder}/{day:%Y-%m-%d}/")]
                day += timedelta(days=1)
    except NotFoundError:
        return
    with sdk_errors("read the request log"), ThreadPoolExecutor(CONNECTIONS) as pool:
        for content in pool.map(objects.read, names):
            yield from map(_line, content.splitlines())


def _line(line: bytes) -> Mapping[str, Any]:
    try:
        found = _loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# --- BigQuery: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query ---


def _from_bigquery(cloud: Cloud, table: str, since: datetime, until: datetime) -> Iterator[Mapping[str, Any]]:
    query = (
        f"SELECT endpoint, {', '.join(_COLUMNS)} FROM `{table}` "  # noqa: S608  (its parts were checked when it was set)
        "WHERE logging_time >= @since AND logging_time < @until"
    )
    for answer in _query(cloud, table, query, {"since": since, "until": until}):
        names = [column["name"] for column in answer.get("schema", {}).get("fields", [])]
        for row in answer.get("rows", []):
            yield {name: _cell(cell["v"]) for name, cell in zip(names, row["f"], strict=True)}


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
    try:
        answer = response.json()
        message = str(answer["error"]["message"]) if "error" in answer else ""
    except (ValueError, TypeError, KeyError):
        answer, message = {}, str(response.text[:300])
    if response.status_code == 404:
        raise NotFoundError(f"BigQuery has no table {table}: {message}", "invoke model.monitor --on")
    if not response.ok:
        raise CloudError(f"BigQuery answered {response.status_code}: {message}", "invoke doctor")
    return dict(answer)


def _cell(value: Any) -> Any:
    return [cell["v"] for cell in value] if isinstance(value, list) else value


def _moment(value: str) -> datetime:
    """Read a time: ISO 8601, or BigQuery's microseconds since 1970."""
    if "T" in value:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return datetime.fromtimestamp(int(value) / 1e6, timezone.utc)
