"""Predictions: what is refused, what is passed through, and servers that die."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from edge_tasks.emulator.clock import Clock
from edge_tasks.emulator.services.request_counts import (
    BUCKETS,
    FILE,
    GROWTH,
    MINUTES_TO_KEEP,
    SCALE,
    Answers,
    Counted,
    RequestCounts,
    Series,
    bucket_of,
)
from tests.emulator.harness import ECHO, PARENT, Answer, Emulator, model_of

LIMIT = 1_572_864
ASKED = '{"instances": [1, "é"]}'.encode()


@pytest.fixture(scope="module")
def endpoint(emulator: Emulator) -> str:
    """An endpoint that answers with what it was asked."""
    name = emulator.create_endpoint()
    emulator.deployed(name, emulator.upload(ECHO))
    return name


def test_an_endpoint_without_traffic_says_so(emulator: Emulator) -> None:
    answer = emulator.predict(emulator.create_endpoint())
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert "doesn't have traffic_split." in answer.message


def test_an_unknown_endpoint_is_not_found(emulator: Emulator) -> None:
    assert emulator.predict("projects/p/locations/l/endpoints/404").error == (404, "NOT_FOUND")


def test_bad_instances_are_the_clients_fault(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of("lambda rows: [1 / row for row in rows]")))
    answer = emulator.predict(endpoint, [0])
    assert answer.error == (400, "FAILED_PRECONDITION")
    assert answer.message == "Prediction failed: Exception during sklearn prediction: division by zero"
    assert emulator.predict(endpoint, [2]).body["predictions"] == [0.5]


@pytest.mark.parametrize("body", [{}, {"instances": 1}, {"instances": [], "nope": 1}, [], "x"])
def test_a_wrong_body_is_refused(emulator: Emulator, endpoint: str, body: object) -> None:
    assert emulator.post(f"{endpoint}:predict", body).error == (400, "INVALID_ARGUMENT")


def test_the_limit_of_a_request_is_that_of_vertex(emulator: Emulator, endpoint: str) -> None:
    def ask(size: int) -> tuple[int, str]:
        body = b'{"instances": ["%s"]}' % (b"x" * (size - 19))
        url = f"{emulator.url}/v1/{endpoint}:predict"
        response = emulator.session.post(url, data=body, timeout=30)
        return response.status_code, response.text

    assert ask(LIMIT)[0] == 200
    status, text = ask(LIMIT + 1)
    assert (status, '"FAILED_PRECONDITION"' in text) == (400, True)
    assert f"The request size ({LIMIT + 1} bytes) exceeds 1.500MB limit." in text


def test_raw_predict_passes_bodies_through_and_names_the_model_in_headers(emulator: Emulator, endpoint: str) -> None:
    url = f"{emulator.url}/v1/{endpoint}:rawPredict"
    bare = emulator.session.post(url, json={"instances": [1]}, timeout=30)
    assert bare.json() == {"predictions": [1]}
    assert bare.headers["X-Vertex-AI-Model-Version-Id"] == "1"
    body = {"httpBody": {"contentType": "application/json", "data": base64.b64encode(b'{"instances": [2]}').decode()}}
    wrapped = emulator.session.post(url, json=body, timeout=30).json()
    assert base64.b64decode(wrapped["data"]) == b'{"predictions":[2]}'


@pytest.mark.parametrize("verb", ["rawPredict", "streamRawPredict"])
def test_the_content_type_of_a_body_cannot_carry_a_second_request(emulator: Emulator, endpoint: str, verb: str) -> None:
    second = "text/plain\r\nContent-Length: 2\r\n\r\n{}POST /predict HTTP/1.1\r\nHost: model\r\nX: "
    for content_type in (second, 1):
        body = {"httpBody": {"contentType": content_type, "data": ""}}
        answer = emulator.session.post(f"{emulator.url}/v1/{endpoint}:{verb}", json=body, timeout=30)
        assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert emulator.post(f"{endpoint}:predict", {"instances": [3]}).body["predictions"] == [3]


def test_stream_raw_predict_takes_bodies_of_ten_megabytes(emulator: Emulator, endpoint: str) -> None:
    def ask(size: int) -> int:
        body = b'{"instances": ["' + b"x" * (size - 19) + b'"]}'
        return emulator.session.post(
            f"{emulator.url}/v1/{endpoint}:streamRawPredict", data=body, timeout=30
        ).status_code

    assert (ask(10 * 1024 * 1024), ask(10 * 1024 * 1024 + 1)) == (200, 400)


def _pieces(url: str, head: str = "", body: bytes = ASKED, version: str = "1.1") -> list[bytes]:
    """Return a request to predict: its head, and its body with the length of it unless `head` says otherwise."""
    length = "" if "Transfer-Encoding" in head else f"Content-Length: {len(body)}\r\n"
    return [f"POST {url} HTTP/{version}\r\nHost: 127.0.0.1\r\n{length}{head}\r\n".encode(), body]


def _answers(emulator: Emulator, pieces: list[bytes], count: int = 1) -> list[tuple[int, object]]:
    """Send pieces one after another on a new connection; return the status and the body of each answer."""
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.005 if len(pieces) > 1 else 0)
        found = []
        stream = connection.makefile("rb")
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = http.client.parse_headers(stream)
            found.append((status, json.loads(stream.read(int(headers["Content-Length"])))))
    return found


@pytest.mark.parametrize(
    "cut",
    [
        lambda url: [b"".join(_pieces(url))],
        lambda url: [b"".join(_pieces(f"{url}?%24alt=json%3Benum-encoding%3Dint"))],
        lambda url: _pieces(url),
        lambda url: [bytes([byte]) for byte in b"".join(_pieces(url))],
        lambda url: [b"".join(_pieces(url, "Connection: close\r\n"))],
        lambda url: [b"".join(_pieces(url, version="1.0"))],
        lambda url: [b"".join(_pieces(url, "Upgrade: h2c\r\nConnection: Upgrade\r\n"))],
        lambda url: _pieces(url, "Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(ASKED), ASKED)),
    ],
    ids=["whole", "with-a-query", "head-first", "byte-by-byte", "closing", "http-1.0", "offering-http-2", "chunked"],
)  # fmt: skip
def test_a_prediction_is_the_same_however_its_request_comes(
    emulator: Emulator, endpoint: str, cut: Callable[[str], list[bytes]]
) -> None:
    ((status, body),) = _answers(emulator, cut(f"/v1/{endpoint}:predict"))
    assert status == 200
    assert body == emulator.predict(endpoint, [1, "é"]).body


def test_requests_that_come_together_are_answered_in_their_order(emulator: Emulator, endpoint: str) -> None:
    def ask(number: int) -> bytes:
        return b"".join(_pieces(f"/v1/{endpoint}:predict", body=b'{"instances": [%d]}' % number))

    look = f"GET /v1/{endpoint} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for pieces in (
        [ask(1), look, ask(3)],
        [ask(1) + look + ask(3)],
        [ask(1), look + ask(3)],
        [ask(1) + look[:20], look[20:], ask(3)],
    ):
        first, second, third = _answers(emulator, pieces, 3)
        assert first[1]["predictions"] == [1]  # type: ignore[index]
        assert second[1]["name"].endswith(endpoint.rpartition("/")[2])  # type: ignore[index]
        assert third[1]["predictions"] == [3]  # type: ignore[index]


@pytest.mark.parametrize(
    "head", ["Content-Length: 5x\r\n", "Content-Length: \r\n", "Content-Length: 5\r\nContent-Length: 6\r\n"]
)
def test_a_length_that_is_not_one_is_refused(emulator: Emulator, endpoint: str, head: str) -> None:
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"POST /v1/{endpoint}:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n12345".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("verb", ["predict", "rawPredict", "streamRawPredict"])
def test_models_of_publishers_are_absent(emulator: Emulator, verb: str) -> None:
    answer = emulator.post(f"{PARENT}/publishers/google/models/some:{verb}", {"instances": []})
    assert (answer.error, "publisher" in answer.message) == ((501, "UNIMPLEMENTED"), True)


def test_numbers_of_numpy_become_plain_json(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    source = "lambda rows: __import__('numpy').asarray(rows).sum(axis=1)"
    emulator.deployed(endpoint, emulator.upload(model_of(source)))
    assert emulator.predict(endpoint, [[1, 2], [3, 4]]).body["predictions"] == [3, 7]


def test_a_booster_of_xgboost_is_served_by_its_image(emulator: Emulator, bucket: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    data = xgboost.DMatrix([[0.0], [1.0], [2.0], [3.0]], label=[0, 0, 1, 1])
    booster = xgboost.train({"objective": "reg:squarederror"}, data, num_boost_round=2)
    emulator.put(bucket, "x/model.bst", bytes(booster.save_raw("ubj")))
    image = "us-docker.pkg.dev/vertex-ai/prediction/xgboost-cpu.2-1:latest"
    model = emulator.upload(None, image=image, model={"artifactUri": f"gs://{bucket}/x"})
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, model)
    low, high = emulator.predict(endpoint, [[0], [3]]).body["predictions"]
    assert low < high


def test_a_model_server_that_was_killed_comes_back_with_the_next_request(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of("lambda rows: [__import__('os').getpid()]")))
    (first,) = emulator.predict(endpoint).body["predictions"]
    psutil.Process(first).kill()
    (second,) = emulator.predict(endpoint).body["predictions"]
    assert first != second


@pytest.mark.slow
def test_a_model_server_that_hangs_is_ended_and_comes_back(emulator: Emulator, tmp_path: Path) -> None:
    endpoint = emulator.create_endpoint(clientConnectionConfig={"inferenceTimeout": "1.5s"})
    source = f"lambda rows: [__import__('os').mkfifo('{tmp_path}/gate') or open('{tmp_path}/gate')] if rows == ['hang']"
    emulator.deployed(endpoint, emulator.upload(model_of(f"{source} else [__import__('os').getpid()]")))
    # After some quick answers, the next comes without a thread.
    first = [emulator.predict(endpoint).body["predictions"] for _ in range(20)]
    answer = emulator.predict(endpoint, ["hang"])
    assert answer.error == (504, "DEADLINE_EXCEEDED")
    assert "did not answer within 1.5 s" in answer.message
    assert emulator.predict(endpoint).body["predictions"] not in first


def test_a_model_that_ends_its_server_is_an_error_and_not_a_loop(emulator: Emulator) -> None:
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of("lambda rows: __import__('os')._exit(1)")))
    answer = emulator.predict(endpoint)
    assert answer.error == (503, "UNAVAILABLE")
    assert "ended while it predicted" in answer.message


def test_a_slow_model_holds_nobody_up(emulator: Emulator, endpoint: str, tmp_path: Path) -> None:
    """The slow model answers only after its gate, a named pipe, was opened: by then others have been answered."""
    gate = f"{tmp_path}/gate"
    slow = emulator.create_endpoint()
    source = f"lambda rows: [__import__('os').mkfifo({gate!r}) or open({gate!r}).read()]"
    emulator.deployed(slow, emulator.upload(model_of(source)))
    answers: list[object] = []
    client = threading.Thread(target=lambda: answers.append(emulator.predict(slow).body["predictions"]))
    client.start()
    assert [emulator.predict(endpoint, [n]).body["predictions"] for n in range(20)] == [[n] for n in range(20)]
    assert not answers
    while True:
        try:
            # Not by its name alone: that would make a file when the pipe is not there yet.
            with open(os.open(gate, os.O_WRONLY), "w") as pipe:  # noqa: PTH123
                pipe.write("open")
            break
        except FileNotFoundError:
            continue
    client.join()
    assert answers == [["open"]]


# --- counted ------------------------------------------------------------------------------------------------------

COUNTED = (
    'metric.type="aiplatform.googleapis.com/prediction/online/response_count" AND resource.labels.endpoint_id="{}"'
)


LATENCIES = COUNTED.replace("response_count", "prediction_latencies")
SUM = {"aggregation.perSeriesAligner": "ALIGN_SUM"}


def counts(emulator: Emulator, name: str, metric: str = COUNTED, **changes: str) -> Answer:
    query = {
        "filter": metric.format(name.rpartition("/")[2]),
        "interval.startTime": "2020-01-01T00:00:00Z",
        "interval.endTime": "2100-01-01T00:00:00Z",
        **changes,
    }
    return emulator.get("/v3/projects/test-project/timeSeries", params=query)


def test_answers_are_counted_by_deployed_model_and_status_with_the_time_that_they_took(emulator: Emulator) -> None:
    name = emulator.create_endpoint()
    emulator.deployed(name, emulator.upload(model_of("lambda rows: [1 / row for row in rows]")))
    assert counts(emulator, name).body == {}
    for instance in (1, 2, 0):
        emulator.predict(name, [instance])
    emulator.post(f"{name}:rawPredict", {"instances": [1]})
    now = datetime.now(timezone.utc)
    begin, end = (f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (-1, 1))
    whole = {**SUM, "aggregation.alignmentPeriod": "7200s", "interval.startTime": begin, "interval.endTime": end}
    found = {
        one["metric"]["labels"]["response_code"]: int(one["points"][0]["value"]["int64Value"])
        for one in counts(emulator, name, **whole).body["timeSeries"]
    }
    assert (found.pop("2xx"), sum(found.values())) == (3, 1)
    (series,) = counts(emulator, name, LATENCIES, **whole).body["timeSeries"]
    assert (series["metric"]["labels"]["latency_type"], series["valueType"], series["unit"]) == (
        "total", "DISTRIBUTION", "ms",
    )  # fmt: skip
    value = series["points"][0]["value"]["distributionValue"]
    assert (value["count"], sum(map(int, value["bucketCounts"]))) == ("4", 4)
    assert 0 < value["mean"] < 60_000
    minutes = [point for one in counts(emulator, name).body["timeSeries"] for point in one["points"]]
    assert sum(int(point["value"]["int64Value"]) for point in minutes) == 4
    assert all(point["interval"]["endTime"].endswith(":00Z") for point in minutes)
    assert counts(emulator, name, **{"interval.endTime": "2020-01-02T00:00:00Z"}).body == {}
    assert emulator.get("/v3/projects/another-project/timeSeries", params=None).error == (501, "UNIMPLEMENTED")


@pytest.mark.parametrize(
    "changes",
    [
        {"filter": 'metric.type="compute.googleapis.com/instance/cpu/utilization"'},
        {"filter": COUNTED.partition(" AND")[0]},
        {"filter": f'{LATENCIES} AND metric.labels.latency_type="model"'},
        {"aggregation.perSeriesAligner": "ALIGN_RATE"},
        {"aggregation.alignmentPeriod": "60s"},
        {"secondaryAggregation.alignmentPeriod": "60s"},
    ],
    ids=str,
)
def test_other_questions_to_cloud_monitoring_are_refused_by_name(emulator: Emulator, changes: dict[str, str]) -> None:
    answer = counts(emulator, "endpoints/1", **changes)
    assert answer.error == (501, "UNIMPLEMENTED")
    assert counts(emulator, "endpoints/1", **{"interval.endTime": "soon"}).error == (400, "INVALID_ARGUMENT")
    short = {**SUM, "aggregation.alignmentPeriod": "30s"}
    assert counts(emulator, "endpoints/1", **short).error == (400, "INVALID_ARGUMENT")


ENDPOINT = "projects/511276864447/locations/us-central1/endpoints/1"


def test_counts_survive_a_restart_and_are_dropped_when_they_are_old(tmp_path: Path) -> None:
    clock = Clock()
    now = clock.now()

    async def kept(*asked: tuple[str, float]) -> dict[str, list[int]]:
        counted = RequestCounts(tmp_path, clock)
        for deployed, milliseconds in asked:
            counted.add(ENDPOINT, deployed, 200, milliseconds)
        rows = await counted.read("1", now - timedelta(days=100), now + timedelta(days=100))
        await counted.close()
        found: dict[str, list[int]] = {}
        for row in rows:
            assert row.answers.count == sum(row.answers.buckets.values())
            found.setdefault(row.series.deployed, []).append(row.answers.count)
        return found

    assert asyncio.run(kept(("7", 1.0), ("7", 2.0))) == {"7": [2]}
    assert sum(asyncio.run(kept(("7", 5.0)))["7"]) == 3
    clock._ahead = timedelta(days=50)
    assert asyncio.run(kept(("8", 1.0))) == {"8": [1]}
    (tmp_path / FILE).write_bytes(b"something else" * 100)
    assert asyncio.run(kept()) == {}
    assert asyncio.run(kept(("9", 1.0))) == {"9": [1]}


def test_six_weeks_of_counts_are_written_by_the_minute_and_not_as_a_whole(tmp_path: Path) -> None:
    clock = Clock()

    async def fill() -> None:
        counted = RequestCounts(tmp_path, clock)
        first = int(clock.now().timestamp()) // 60 - MINUTES_TO_KEEP + 10
        series = Series(ENDPOINT, "7", "2xx")
        answers = Answers(300, 900.0, 3000.0, {12: 200, 13: 100})
        rows = [Counted(series, first + minute, answers) for minute in range(MINUTES_TO_KEEP - 10)]
        await counted._in_thread(lambda: counted._write(rows))
        size = (tmp_path / FILE).stat().st_size
        assert size / MINUTES_TO_KEEP < 80, "bytes for each minute"
        counted.add(ENDPOINT, "7", 200, 3.0)
        started = time.perf_counter()
        await counted.save()
        assert time.perf_counter() - started < 1.0
        await counted.close()

    asyncio.run(fill())


@pytest.mark.parametrize("milliseconds", [0.0, 0.05, 0.1, 3.0, 159_000.0, 1e9])
def test_a_latency_lies_within_the_bounds_of_its_bucket(milliseconds: float) -> None:
    bucket = bucket_of(milliseconds)
    assert 0 <= bucket <= BUCKETS + 1
    low = SCALE * GROWTH ** (bucket - 1) if bucket else 0
    assert low <= milliseconds * (1 + 1e-9)
    assert bucket > BUCKETS or milliseconds < SCALE * GROWTH**bucket * (1 + 1e-9)
