"""Rows of BigQuery, read by its REST API from a stand-in that answers as Google documents it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud import request_log
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.request_batch import Batch, text_of
from edge_tasks.errors import CloudError, NotFoundError
from tests.json_service import Asked, served

NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
ENDPOINT = "projects/1/locations/us-central1/endpoints/77"
TABLE = "bq://my-project.edge_churn.request_response_logging"
FIELDS = ("endpoint", "deployed_model_id", "logging_time", "request_id", "request_payload", "response_payload")


def cell(value: Any) -> dict[str, Any]:
    return {"v": [{"v": text} for text in value] if isinstance(value, list) else value}


def row(number: int, endpoint: str = ENDPOINT) -> dict[str, Any]:
    """A row as BigQuery answers it, with times in microseconds, as it is asked to."""
    time = str(int((NOW - timedelta(minutes=number)).timestamp() * 1e6))
    asked, answered = [json.dumps({"age": number}), "a text"], [json.dumps([number]), "0.5"]
    values = (endpoint, str(number % 2), time, str(2**61 + number), asked, answered)
    return {"f": [cell(value) for value in values]}


class BigQuery:
    """Answers a query after a while, in pages: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query."""

    def __init__(self, rows: list[dict[str, Any]], page: int = 3, waits: int = 2) -> None:
        self.rows, self.page, self.waits = rows, page, waits
        self.queries: list[dict[str, Any]] = []
        self.error: tuple[int, Any] | None = None
        self.url = ""
        self.deleted: int | None = None

    def answer(self, asked: Asked) -> tuple[int, Any]:
        method, path, query, _, body = asked
        if self.error is not None:
            return self.error
        if method == "POST":
            assert path == "/bigquery/v2/projects/my-project/queries"
            self.queries.append(body)
        else:
            assert path == "/bigquery/v2/projects/my-project/queries/job_1"
            assert query["location"] == ["EU"]
            assert query["formatOptions.useInt64Timestamp"] == ["true"]
        whole: dict[str, Any] = {"jobReference": {"projectId": "my-project", "jobId": "job_1", "location": "EU"}}
        if self.waits:
            self.waits -= 1
            return 200, whole | {"jobComplete": False}
        if self.deleted is not None:
            # BigQuery writes numbers of 64 bits as texts.
            return 200, whole | {"jobComplete": True, "numDmlAffectedRows": str(self.deleted)}
        start = int(query.get("pageToken", ["0"])[0])
        schema = {"fields": [{"name": name, "type": "STRING"} for name in FIELDS]}
        whole |= {"jobComplete": True, "schema": schema, "rows": self.rows[start : start + self.page]}
        if start + self.page < len(self.rows):
            whole["pageToken"] = str(start + self.page)
        return 200, whole


@contextmanager
def serving(bigquery: BigQuery) -> Iterator[BigQuery]:
    with served(bigquery.answer) as bigquery.url:
        yield bigquery


def cloud_at(bigquery: BigQuery) -> Cloud:
    return Cloud(
        project="my-project", region="us-central1", bucket_name="b", vertex_url="http://127.0.0.1:1",
        logging_url="http://127.0.0.1:1", storage_url=None, credentials=AnonymousCredentials(), console_url=None,
        bigquery_url=bigquery.url,
    )  # fmt: skip


def read(bigquery: BigQuery) -> Batch:
    found = list(request_log.batches(cloud_at(bigquery), ENDPOINT, TABLE, NOW - timedelta(hours=1), NOW))
    columns = ("deployed_model_ids", "times", "request_ids", "asked", "answered")
    return Batch(*([value for batch in found for value in getattr(batch, name)] for name in columns))


def test_all_pages_of_an_answer_that_takes_its_time_are_read() -> None:
    with serving(BigQuery([row(number) for number in range(1, 11)])) as bigquery:
        found = read(bigquery)
    assert found.asked == [[{"age": number}, "a text"] for number in range(1, 11)]
    assert found.answered == [[[number], 0.5] for number in range(1, 11)]
    assert found.deployed_model_ids == [str(number % 2) for number in range(1, 11)]
    assert found.request_ids == [str(2**61 + number) for number in range(1, 11)]
    assert [one.time for one in found.rows()] == [NOW - timedelta(minutes=number) for number in range(1, 11)]
    assert found.times == [text_of(NOW - timedelta(minutes=number)) for number in range(1, 11)]


def test_the_query_asks_for_the_time_by_parameters() -> None:
    with serving(BigQuery([], waits=0)) as bigquery:
        assert len(read(bigquery)) == 0
    (query,) = bigquery.queries
    assert "FROM `my-project.edge_churn.request_response_logging` WHERE logging_time >= @since" in query["query"]
    assert query["useLegacySql"] is False
    values = {one["name"]: one["parameterValue"]["value"] for one in query["queryParameters"]}
    assert values == {"since": "2026-11-27T11:00:00+00:00", "until": "2026-11-27T12:00:00+00:00"}


def test_old_rows_are_deleted_by_a_query() -> None:
    with serving(BigQuery([])) as bigquery:
        bigquery.deleted = 12
        assert request_log.delete(cloud_at(bigquery), TABLE, NOW) == 12
        (query,) = bigquery.queries
        assert query["query"] == (
            "DELETE FROM `my-project.edge_churn.request_response_logging` WHERE logging_time < @until"
        )
        bigquery.error = (404, {"error": {"code": 404, "message": "Not found: Table"}})
        assert request_log.delete(cloud_at(bigquery), TABLE, NOW) == 0


def test_rows_of_others_and_damaged_ones_are_left_out() -> None:
    damaged = row(2)
    damaged["f"][2] = cell("no time")
    with serving(BigQuery([row(1, "projects/1/locations/us-central1/endpoints/78"), damaged, row(3)])) as bigquery:
        assert read(bigquery).asked == [[{"age": 3}, "a text"]]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        ((404, {"error": {"code": 404, "message": "Not found: Table"}}), NotFoundError, "BigQuery has no table"),
        ((403, {"error": {"code": 403, "message": "Access Denied"}}), CloudError, "BigQuery answered 403: Access"),
        ((400, "<html>"), CloudError, "BigQuery answered 400: <html>"),
    ],
)
def test_what_bigquery_refuses_is_told(error: tuple[int, Any], kind: type[CloudError], text: str) -> None:
    with serving(BigQuery([])) as bigquery:
        bigquery.error = error
        with pytest.raises(kind, match=text):
            read(bigquery)


def test_a_bigquery_that_cannot_be_reached_is_an_error() -> None:
    bigquery = BigQuery([])
    bigquery.url = "http://127.0.0.1:1"
    with pytest.raises(CloudError):
        list(request_log.read(replace(cloud_at(bigquery)), ENDPOINT, TABLE, NOW - timedelta(hours=1), NOW))
