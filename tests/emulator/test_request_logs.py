"""What an endpoint is asked and answers is kept, if it is set so, as rows of Vertex AI's six columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import pytest

from tests.emulator.harness import ECHO, PARENT, Emulator, eventually, model_of

COLUMNS = {"endpoint", "deployed_model_id", "logging_time", "request_id", "request_payload", "response_payload"}


def setting(table: str, rate: float = 1.0) -> dict[str, Any]:
    return {"enabled": True, "samplingRate": rate, "bigqueryDestination": {"outputUri": table}}


def logging_endpoint(emulator: Emulator, table: str, rate: float = 1.0, model: bytes = ECHO) -> tuple[str, str]:
    """Return the name of an endpoint that logs, and of its deployed model."""
    endpoint = emulator.create_endpoint(predictRequestResponseLoggingConfig=setting(table, rate))
    return endpoint, emulator.deployed(endpoint, emulator.upload(model))


def rows(emulator: Emulator, bucket: str, prefix: str) -> list[dict[str, Any]]:
    listed = emulator.session.get(
        f"{emulator.storage_url}/storage/v1/b/{bucket}/o", params={"prefix": prefix}, timeout=10
    ).json()
    return [
        json.loads(line)
        for item in listed.get("items", [])
        for line in emulator.read(bucket, item["name"]).decode().splitlines()
    ]


def test_each_prediction_is_a_row_of_six_columns(emulator: Emulator) -> None:
    endpoint, deployed = logging_endpoint(emulator, "bq://log-project.watched.asked")
    assert emulator.predict(endpoint, [{"age": 3, "city": "Köln"}, {"age": None}]).status == 200
    assert emulator.predict(endpoint, ["a text"]).status == 200
    day = f"watched/asked/{datetime.now(timezone.utc):%Y-%m-%d}/"
    found = eventually(
        lambda: len(both := rows(emulator, "log-project-bigquery-tables", day)) == 2 and both, "two rows"
    )
    assert all(row.keys() == COLUMNS for row in found)
    assert [row["request_payload"] for row in found] == [['{"age":3,"city":"Köln"}', '{"age":null}'], ["a text"]]
    assert [row["response_payload"] for row in found] == [['{"age":3,"city":"Köln"}', '{"age":null}'], ["a text"]]
    assert {row["deployed_model_id"] for row in found} == {deployed}
    assert {row["endpoint"].rpartition("/")[2] for row in found} == {endpoint.rpartition("/")[2]}
    assert len({row["request_id"] for row in found}) == 2
    assert all(re.fullmatch(r"[0-9]+", row["request_id"]) for row in found)
    assert all(datetime.fromisoformat(row["logging_time"]).tzinfo for row in found)


@pytest.mark.slow
def test_raw_predictions_are_kept_too(emulator: Emulator) -> None:
    endpoint, _ = logging_endpoint(emulator, "bq://log-project.raw")
    assert emulator.post(f"{endpoint}:rawPredict", {"instances": [1, 2]}).status == 200
    table = "raw/request_response_logging/"
    (row,) = eventually(lambda: rows(emulator, "log-project-bigquery-tables", table), "a row")
    assert (row["request_payload"], row["response_payload"]) == (["1", "2"], ["1", "2"])


def test_a_failed_prediction_is_not_kept(emulator: Emulator) -> None:
    model = model_of("lambda rows: [1 / row for row in rows]")
    endpoint, _ = logging_endpoint(emulator, "bq://log-project.failures", model=model)
    assert emulator.predict(endpoint, [0]).status == 400
    assert emulator.predict(endpoint, [2]).status == 200
    table = "failures/request_response_logging/"
    (row,) = eventually(lambda: rows(emulator, "log-project-bigquery-tables", table), "a row")
    assert row["request_payload"] == ["2"]


def test_the_sampling_rate_says_how_many_are_kept(emulator: Emulator) -> None:
    endpoint, _ = logging_endpoint(emulator, "bq://log-project.sampled", 0.25)
    for number in range(200):
        assert emulator.predict(endpoint, [number]).status == 200
    marker = {"predictRequestResponseLoggingConfig": setting("bq://log-project.sampled.end")}
    mask = {"updateMask": "predictRequestResponseLoggingConfig"}
    assert emulator.call("PATCH", endpoint, marker, params=mask).status == 200
    assert emulator.predict(endpoint, ["end"]).status == 200
    eventually(lambda: rows(emulator, "log-project-bigquery-tables", "sampled/end/"), "the last row")
    kept = len(rows(emulator, "log-project-bigquery-tables", "sampled/request_response_logging/"))
    # Six standard deviations of a binomial distribution.
    assert 13 < kept < 87


def test_without_a_table_the_endpoint_has_one_of_its_own(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint(
        displayName="my endpoint-ä", predictRequestResponseLoggingConfig={"enabled": True, "samplingRate": 1.0}
    )
    emulator.deployed(endpoint, emulator.upload(ECHO))
    assert emulator.predict(endpoint, [7]).status == 200
    project, number = PARENT.split("/")[1], endpoint.rpartition("/")[2]
    folder = f"logging_my_endpoint___{number}/request_response_logging/"
    (row,) = eventually(lambda: rows(emulator, f"{project}-bigquery-tables", folder), "a row")
    assert row["request_payload"] == ["7"]


@pytest.mark.slow
def test_an_endpoint_that_is_not_set_so_keeps_nothing(emulator: Emulator) -> None:
    endpoint, _ = logging_endpoint(emulator, "bq://log-project.off.asked")
    off = {"predictRequestResponseLoggingConfig": setting("bq://log-project.off.asked") | {"enabled": False}}
    mask = {"updateMask": "predictRequestResponseLoggingConfig"}
    assert emulator.call("PATCH", endpoint, off, params=mask).status == 200
    assert emulator.predict(endpoint, [1]).status == 200
    on = {"predictRequestResponseLoggingConfig": setting("bq://log-project.off.after")}
    assert emulator.call("PATCH", endpoint, on, params=mask).status == 200
    assert emulator.predict(endpoint, [2]).status == 200
    eventually(lambda: rows(emulator, "log-project-bigquery-tables", "off/after/"), "a row")
    assert rows(emulator, "log-project-bigquery-tables", "off/asked/") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"enabled": True, "samplingRate": -0.1},
        {"enabled": True, "samplingRate": 1.5},
        setting("gs://bucket/path"),
        setting("bq://"),
        setting("bq://p.d.t.more"),
        setting("bq://p.data-set"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_refused(emulator: Emulator, wrong: dict[str, Any]) -> None:
    body = {"displayName": "wrong", "predictRequestResponseLoggingConfig": wrong}
    assert emulator.post(f"{PARENT}/endpoints", body).error == (400, "INVALID_ARGUMENT")
    endpoint = emulator.create_endpoint()
    body["name"] = endpoint
    mask = {"updateMask": "predictRequestResponseLoggingConfig"}
    assert emulator.call("PATCH", endpoint, body, params=mask).error == (400, "INVALID_ARGUMENT")


def test_rows_of_a_stopped_emulator_are_there_afterwards(own_emulator: Callable[..., Emulator]) -> None:
    first = own_emulator()
    endpoint, _ = logging_endpoint(first, "bq://log-project.stopped")
    assert first.predict(endpoint, [1]).status == 200
    assert first.stop() == 0
    assert len(rows(own_emulator(first.data), "log-project-bigquery-tables", "stopped/")) == 1


def test_the_sdk_sets_it(emulator: Emulator, aiplatform: Any) -> None:
    endpoint = aiplatform.Endpoint.create(
        display_name="watched",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
        request_response_logging_bq_destination_table="bq://log-project.sdk.asked",
    )
    emulator.deployed(endpoint.resource_name, emulator.upload(ECHO))
    assert endpoint.predict([[1, 2]]).predictions == [[1, 2]]
    (row,) = eventually(lambda: rows(emulator, "log-project-bigquery-tables", "sdk/asked/"), "a row")
    assert row["request_payload"] == ["[1.0,2.0]"]


@pytest.mark.slow
def test_a_row_that_cannot_be_written_is_lost_and_the_prediction_is_answered(emulator: Emulator) -> None:
    """What is nested more deeply than JSON is written here, and a table whose name no bucket can have."""
    model = model_of("lambda rows: [1] * len(rows)")
    endpoint, _ = logging_endpoint(emulator, "bq://log-project.deep", model=model)
    nested: Any = 1
    for _ in range(300):
        nested = {"a": nested}
    assert emulator.predict(endpoint, [nested]).status == 200
    assert emulator.predict(endpoint, [2]).status == 200
    table = "deep/request_response_logging/"
    found = eventually(lambda: rows(emulator, "log-project-bigquery-tables", table), "the next row")
    assert [row["request_payload"] for row in found] == [["2"]]
    nowhere, _ = logging_endpoint(emulator, "bq://X.a.b", model=model)
    assert emulator.predict(nowhere, [1]).status == 200
    eventually(lambda: "rows of a request log are lost" in emulator.log_text(), "the log tells it")
    assert emulator.predict(nowhere, [1]).status == 200


@pytest.mark.slow
def test_what_was_deleted_does_not_come_back_with_the_next_row(emulator: Emulator) -> None:
    """The last file of a table grows by being written again."""
    endpoint, _ = logging_endpoint(emulator, "bq://log-project.forgotten")
    bucket, prefix = "log-project-bigquery-tables", "forgotten/"

    def asked() -> list[str]:
        return [one for row in rows(emulator, bucket, prefix) for one in row["request_payload"]]

    for number in (1, 2):
        emulator.predict(endpoint, [number])
        eventually(lambda number=number: str(number) in asked(), "the row is kept")  # type: ignore[misc]
    assert asked() == ["1", "2"]
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o"
    for item in emulator.session.get(url, params={"prefix": prefix}, timeout=10).json()["items"]:
        emulator.session.delete(f"{url}/{quote(item['name'], safe='')}", timeout=10)
    emulator.predict(endpoint, [3])
    assert eventually(asked, "the next row") == ["3"]
