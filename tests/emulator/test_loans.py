"""Connections that are lent to a model's server: nobody can tell, but by the time that an answer takes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.emulator.http.protocol import FEWEST_ALIKE
from edge_tasks.serving.borrowed import Given, Terms
from edge_tasks.serving.http_protocol import Answer
from edge_tasks.serving.tally import Tally
from tests.emulator.harness import ECHO, Emulator, eventually, model_of
from tests.seeds import first

ENOUGH = 2 * FEWEST_ALIKE


class Client:
    """One connection that is kept open."""

    def __init__(self, emulator: Emulator) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", int(emulator.url.rpartition(":")[2]), timeout=60)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and body of an answer; a body of bytes is sent as it is."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self._connection.request("GET" if body is None else "POST", f"/v1/{path}", sent, headers)
        answer = self._connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())

    def predict(self, endpoint: str, *instances: Any, **headers: str) -> tuple[int, Any]:
        status, _, body = self.ask(f"{endpoint}:predict", {"instances": instances}, **headers)
        return status, body

    def send(self, data: bytes) -> None:
        if self._connection.sock is None:
            self._connection.connect()
        self._connection.sock.sendall(data)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    opened = Client(emulator)
    yield opened
    opened.close()


@pytest.fixture
def deployed(emulator: Emulator) -> Callable[[str | bytes], str]:
    """Deploys a model whose predict is a lambda, and returns the endpoint."""

    def deploy(predict: str | bytes) -> str:
        endpoint = emulator.create_endpoint()
        emulator.deployed(endpoint, emulator.upload(predict if isinstance(predict, bytes) else model_of(predict)))
        return endpoint

    return deploy


def echo_once(mark: Path, action: str) -> str:
    """A lambda that answers with what it was asked, and before that acts once if the mark is there."""
    removed = f"__import__('os').unlink({str(mark)!r})"
    return f"lambda rows: (__import__('os').path.exists({str(mark)!r}) and ({removed}, {action}), rows)[1]"


def borrowed(emulator: Emulator) -> int:
    """How many connections of clients the model servers have."""
    port = int(emulator.url.rpartition(":")[2])
    found = 0
    for process in emulator.tree()[1:]:
        with contextlib.suppress(psutil.Error):
            found += sum(bool(one.laddr) and one.laddr.port == port for one in process.net_connections("tcp"))
    return found


def lent(emulator: Emulator, client: Client, endpoint: str, *instances: Any, **headers: str) -> None:
    """Ask until the connection is lent."""
    before = borrowed(emulator)
    for _ in range(ENOUGH):
        assert client.predict(endpoint, *instances, **headers)[0] == 200
    assert borrowed(emulator) == before + 1


def test_requests_that_are_alike_are_answered_without_the_emulator(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed(ECHO)
    expected = client.ask(f"{endpoint}:predict", {"instances": [[1, "é"]], "parameters": None})
    lent(emulator, client, endpoint, 1)
    os.kill(emulator.process.pid, signal.SIGSTOP)
    try:
        for number in range(20):
            assert client.predict(endpoint, number)[1]["predictions"] == [number]
        found = client.ask(f"{endpoint}:predict", {"instances": [[1, "é"]], "parameters": None})
    finally:
        os.kill(emulator.process.pid, signal.SIGCONT)
    assert found == expected


def test_many_clients_at_once_get_each_its_own_answer(emulator: Emulator, deployed: Callable[..., str]) -> None:
    endpoint = deployed(ECHO)

    def ask(number: int) -> bool:
        client = Client(emulator)
        answers = [client.predict(endpoint, number, step) for step in range(200)]
        client.close()
        return all(answer[1]["predictions"] == [number, step] for step, answer in enumerate(answers))

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(ask, range(8)))
    eventually(lambda: borrowed(emulator) == 0, "all connections given back")


def test_whatever_comes_on_a_lent_connection_is_answered_as_on_a_new_one(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed("lambda rows: [1 / row for row in rows]")
    asks: list[Callable[[Client], Any]] = [
        lambda one: one.predict(endpoint, 2),
        lambda one: one.predict(endpoint, 4, 8),
        lambda one: one.predict(endpoint),
        lambda one: one.predict(endpoint, 0),
        lambda one: one.predict(endpoint, "x"),
        lambda one: one.predict(endpoint, *[2] * 20_000),
        lambda one: one.predict(endpoint, *["x" * 1_600_000]),
        lambda one: one.ask(endpoint),
        lambda one: one.ask(f"{endpoint}:predict", b"{"),
        lambda one: one.ask(f"{endpoint}:predict", b""),
        lambda one: one.ask(f"{endpoint}:predict", b"[]"),
        lambda one: one.ask(f"{endpoint}:predict", {"instances": 1}),
        lambda one: one.ask(f"{endpoint}:predict", {"instances": [2], "parameters": {"a": 1}}),
        lambda one: one.ask(f"{endpoint}:predict", {"instances": [2], "labels": {"a": "1"}}),
        lambda one: one.ask(f"{endpoint}:predict", {"instances": [2], "nope": 1}),
        lambda one: one.ask(f"{endpoint}:predict", {"instances": [2]}, Connection="close"),
        lambda one: one.ask(f"{endpoint}:predict", {"instances": [2]}, Origin="https://elsewhere.example"),
        lambda one: one.ask(f"{endpoint}:predict?nope=1", {"instances": [2]}),
        lambda one: one.ask(f"{endpoint}:rawPredict", {"instances": [2]}),
        lambda one: one.ask("projects/p/locations/l/endpoints/404:predict", {"instances": [2]}),
    ]
    fresh = []
    for ask in asks:
        new = Client(emulator)
        fresh.append(ask(new))
        new.close()
    chance = random.Random(first())
    for _ in range(40):
        lent_before = chance.randrange(2 * ENOUGH)
        for _ in range(lent_before):
            assert asks[0](client) == fresh[0]
        number = chance.randrange(len(asks))
        assert asks[number](client) == fresh[number], number


def test_a_request_in_two_pieces_is_answered_on_a_lent_connection(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed(ECHO)
    lent(emulator, client, endpoint, 1)
    other = socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])), timeout=30)
    other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = other.makefile("rb")
    for number in range(60):
        body = b'{"instances": [%d]}' % number
        whole = (
            f"POST /v1/{endpoint}:predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        cut = (number * 7) % len(whole)
        other.sendall(whole[:cut])
        if number % 3 == 0:
            time.sleep(0.3 if number == 30 else 0.004)
        other.sendall(whole[cut:])
        assert stream.readline().split()[1] == b"200"
        length = int(http.client.parse_headers(stream)["content-length"])
        assert json.loads(stream.read(length))["predictions"] == [number]
    stream.close()
    other.close()


def test_requests_that_come_together_on_a_lent_connection_are_answered_in_their_order(
    emulator: Emulator, deployed: Callable[..., str]
) -> None:
    endpoint = deployed(ECHO)

    def asked(number: int) -> bytes:
        body = b'{"instances": [%d]}' % number
        return (
            f"POST /v1/{endpoint}:predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])), timeout=30) as connection:
        stream = connection.makefile("rb")
        for first in range(0, 200, 4):
            numbers = range(first, first + (1 if first < 100 else 4))
            connection.sendall(b"".join(map(asked, numbers)))
            for number in numbers:
                assert stream.readline().split()[1] == b"200"
                length = int(http.client.parse_headers(stream)["content-length"])
                assert json.loads(stream.read(length))["predictions"] == [number]


@pytest.mark.slow
def test_a_change_of_the_endpoint_goes_for_the_next_request(emulator: Emulator, client: Client) -> None:
    endpoint = emulator.create_endpoint()
    ids = [emulator.deployed(endpoint, emulator.upload(ECHO), {"0": 100}) for _ in range(2)]
    for turn in range(12):
        wanted = ids[turn % 2]
        body = {"trafficSplit": {wanted: 100}}
        assert emulator.call("PATCH", f"{endpoint}?updateMask=trafficSplit", body).status == 200
        for _ in range(ENOUGH):
            assert client.predict(endpoint, 1)[1]["deployedModelId"] == wanted
    split = {"trafficSplit": {ids[0]: 50, ids[1]: 50}}
    assert emulator.call("PATCH", f"{endpoint}?updateMask=trafficSplit", split).status == 200
    assert {client.predict(endpoint, 1)[1]["deployedModelId"] for _ in range(60)} == set(ids)
    emulator.response(
        emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": ids[0], "trafficSplit": {ids[1]: 100}})
    )
    lent(emulator, client, endpoint, 1)
    emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": ids[1]}))
    assert client.predict(endpoint, 1)[0] == 400
    assert borrowed(emulator) == 0


@pytest.mark.slow
def test_a_fault_on_demand_goes_for_the_next_request(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed(ECHO)
    lent(emulator, client, endpoint, 1)
    assert emulator.post("/_emulator/faults", {"rpc": "Predict", "error": "UNAVAILABLE"}).status == 200
    try:
        assert client.predict(endpoint, 1)[0] == 503
    finally:
        assert emulator.call("DELETE", "/_emulator/faults").status == 200
    lent(emulator, client, endpoint, 1)


@pytest.mark.slow
def test_a_model_is_asked_once_for_each_request_also_where_it_fails(
    emulator: Emulator, client: Client, deployed: Callable[..., str], tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    endpoint = deployed(f"lambda rows: [open({str(calls)!r}, 'a').write('x'), 1 / rows[0]]")
    told = client.predict(endpoint, 0)
    for _ in range(3):
        lent(emulator, client, endpoint, 1)
        assert client.predict(endpoint, 0) == told
    assert told[1]["error"]["message"] == "Prediction failed: Exception during sklearn prediction: division by zero"
    assert len(calls.read_text()) == 1 + 3 * (ENOUGH + 1)


@pytest.mark.slow
def test_a_server_that_dies_while_it_predicts_loses_no_request(
    emulator: Emulator, client: Client, deployed: Callable[..., str], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    endpoint = deployed(echo_once(mark, "__import__('os').kill(__import__('os').getpid(), 9)"))
    for number in range(3):
        lent(emulator, client, endpoint, 1)
        mark.touch()
        assert client.predict(endpoint, number)[1]["predictions"] == [number]
        assert not mark.exists()


def test_a_server_that_dies_between_requests_is_started_again(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed("lambda rows: [__import__('os').getpid()]")
    lent(emulator, client, endpoint, 1)
    before = client.predict(endpoint, 1)[1]["predictions"][0]
    os.kill(before, signal.SIGKILL)
    assert client.predict(endpoint, 1)[1]["predictions"][0] != before


@pytest.mark.slow
def test_a_request_to_a_server_that_is_stuck_is_taken_back_and_answered_once(
    emulator: Emulator, client: Client, deployed: Callable[..., str], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    endpoint = deployed(echo_once(mark, "__import__('time').sleep(5)"))
    lent(emulator, client, endpoint, 1)
    mark.touch()
    assert client.predict(endpoint, 7)[1]["predictions"] == [7]
    for number in range(ENOUGH):
        assert client.predict(endpoint, number)[1]["predictions"] == [number]


def test_what_is_answered_on_lent_connections_is_counted(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed(ECHO)
    lent(emulator, client, endpoint, 1)
    for number in range(100):
        assert client.predict(endpoint, number)[0] == 200
    assert _count(emulator, endpoint) == ENOUGH + 100
    client.predict(endpoint, 1)
    assert _count(emulator, endpoint) == ENOUGH + 101


def _count(emulator: Emulator, endpoint: str) -> int:
    now = datetime.now(timezone.utc)
    query = {
        "filter": 'metric.type="aiplatform.googleapis.com/prediction/online/response_count"'
        f' AND resource.labels.endpoint_id="{endpoint.rpartition("/")[2]}"',
        "interval.startTime": f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        "interval.endTime": f"{now + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}",
    }
    answer = emulator.get("/v3/projects/test-project/timeSeries", params=query)
    assert answer.status == 200, answer.body
    return sum(int(point["value"]["int64Value"]) for one in answer.body["timeSeries"] for point in one["points"])


@pytest.mark.parametrize("header", ["Authorization", "Cookie", "X-Goog-Api-Key"])
def test_a_connection_whose_requests_hold_a_secret_stays_with_the_emulator(
    emulator: Emulator, client: Client, deployed: Callable[..., str], header: str
) -> None:
    endpoint = deployed(ECHO)
    for _ in range(3 * FEWEST_ALIKE):
        assert client.predict(endpoint, 1, **{header: "secret"})[0] == 200
    assert borrowed(emulator) == 0


def test_a_slow_model_keeps_its_threads(emulator: Emulator, client: Client, deployed: Callable[..., str]) -> None:
    endpoint = deployed("lambda rows: (__import__('time').sleep(0.02), rows)[1]")
    for number in range(3 * FEWEST_ALIKE):
        assert client.predict(endpoint, number)[1]["predictions"] == [number]


@pytest.mark.slow
def test_an_answer_larger_than_the_socket_takes_is_written_to_its_end(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed("lambda rows: ['x' * rows[0]]")
    lent(emulator, client, endpoint, 1)
    size = 20_000_000
    body = b'{"instances": [%d]}' % size
    for _ in range(2):
        client._connection.request("POST", f"/v1/{endpoint}:predict", body)
        time.sleep(0.2)
        answer = client._connection.getresponse()
        assert len(json.loads(answer.read())["predictions"][0]) == size
    assert client.predict(endpoint, 3)[1]["predictions"] == ["xxx"]


def test_an_answer_that_breaks_off_ends_the_connection(
    emulator: Emulator, client: Client, deployed: Callable[..., str]
) -> None:
    endpoint = deployed("lambda rows: [str(__import__('os').getpid()) + 'x' * rows[0]]")
    lent(emulator, client, endpoint, 1)
    server = int(client.predict(endpoint, 0)[1]["predictions"][0])
    client._connection.request("POST", f"/v1/{endpoint}:predict", b'{"instances": [20000000]}')
    answer = client._connection.getresponse()
    os.kill(server, signal.SIGKILL)
    with answer, pytest.raises(http.client.IncompleteRead):
        answer.read()


@pytest.mark.slow
def test_an_idle_connection_comes_back(emulator: Emulator, client: Client, deployed: Callable[..., str]) -> None:
    endpoint = deployed(ECHO)
    lent(emulator, client, endpoint, 1)
    eventually(lambda: borrowed(emulator) == 0, "the connection is given back")
    lent(emulator, client, endpoint, 1)


@pytest.mark.slow
def test_an_emulator_that_stops_ends_what_it_has_lent(own_emulator: Callable[..., Emulator]) -> None:
    emulator = own_emulator()
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(ECHO))
    client = Client(emulator)
    lent(emulator, client, endpoint, 1)
    tree = emulator.tree()
    assert emulator.stop() == 0
    assert "Traceback" not in emulator.log_text()
    assert not psutil.wait_procs(tree, timeout=5)[1]
    with pytest.raises((http.client.HTTPException, OSError)):
        client.predict(endpoint, 1)
    client.close()


# -- terms and tallies --

TERMS = Terms(
    before=b"POST /v1/e:predict HTTP/1.1\r\nContent-Length: ",
    after=b"\r\nAccept: */*\r\n\r\n",
    fields=frozenset({"instances", "parameters"}),
    head=b"HTTP/1.1 200 OK\r\ncontent-length: ",
    members=b',"deployedModelId":"1"}',
    edges=(0.1, 1.0, 10.0),
)


@given(st.binary(max_size=300), st.binary(max_size=50), st.data())
def test_a_request_is_known_when_it_is_there_and_not_before(body: bytes, more: bytes, data: st.DataObject) -> None:
    whole = TERMS.before + str(len(body)).encode() + TERMS.after + body
    assert TERMS.request(whole + more) == (len(whole), body)
    cut = data.draw(st.integers(1, len(whole) - 1))
    found = TERMS.request(whole[:cut])
    assert found is not None
    assert found[0] > cut


@given(st.binary(min_size=1, max_size=100))
def test_another_request_is_not_answered(data: bytes) -> None:
    found = TERMS.request(data)
    assert found is None or TERMS.before.startswith(data)


def test_terms_and_answers_are_the_same_on_the_other_side() -> None:
    assert Terms.unpacked(TERMS.packed()) == TERMS
    one = Given(Answer(400, b'{"error": "\xff"}'), 1.5)
    assert Given.unpacked(one.packed()) == one
    assert Given.unpacked(one.packed()[:-1]) is None
    assert Given.unpacked(b"") is None


@pytest.mark.parametrize(
    "answer",
    [Answer(400, b'{"predictions": []}'), Answer(200, b"x"), Answer(200, b"[]"), Answer(200, b'{"predictions": 1}')],
)
def test_an_answer_that_is_not_a_prediction_is_not_written(answer: Answer) -> None:
    assert TERMS.answer(answer) is None


def test_a_prediction_is_written_with_what_belongs_to_it() -> None:
    body = b'{"predictions":[1],"metadata":{},"deployedModelId":"1"}'
    written = TERMS.answer(Answer(200, b'{"predictions": [1], "metadata": {}, "other": 1}'))
    assert written == b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_both_sides_of_a_tally_see_the_same() -> None:
    page = Tally.make_file()
    ours, theirs = Tally(page, TERMS.edges), Tally(page, TERMS.edges)
    os.close(page)
    for milliseconds in (0.05, 0.1, 5.0, 5.0, 100.0):
        theirs.add(milliseconds)
    assert ours.read().buckets == (1, 1, 2, 1)
    assert ours.read().total == pytest.approx(110.15)
    assert ours.read().squares == pytest.approx(10050.0125)
    assert theirs.is_open
    ours.end()
    assert not theirs.is_open
