"""Sessions of the API, recorded by a proxy, and compared with the emulator, which stands for Vertex AI here as well."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from edge_tasks.emulator.errors import StartError
from edge_tasks.emulator.recording import exchange
from edge_tasks.emulator.recording.__main__ import main
from edge_tasks.emulator.recording.proxy import Proxy
from edge_tasks.emulator.recording.replay import Replay
from tests.emulator.harness import PYTHON_IMAGE, Emulator

PARENT = "projects/secret-project/locations/us-central1"


@pytest.fixture
def recording(emulator: Emulator, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a proxy before the emulator, and its file."""
    path = tmp_path / "session.jsonl"
    emulator.new_bucket("my-private-bucket")
    proxy = Proxy(emulator.url, path)
    serving = threading.Thread(target=proxy.serve)
    serving.start()
    yield proxy.url, path
    proxy.close()
    serving.join()


def session(url: str) -> None:
    def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
        return requests.request(method, f"{url}/v1/{path}", json=body, headers=headers, timeout=30).json()

    label = {"displayName": "of ada@example.org", "labels": {"a": "b"}}
    operation = ask("POST", f"{PARENT}/endpoints", label, Authorization="Bearer ya29.very-secret")
    while not operation.get("done"):
        operation = ask("GET", operation["name"])
    endpoint = operation["response"]["name"]
    ask("GET", f"{endpoint}?key=AIza-very-secret")
    ask("PATCH", f"{endpoint}?updateMask=description", {"description": "d"})
    ask("GET", f"{PARENT}/endpoints/404")
    container = {"imageUri": PYTHON_IMAGE, "command": ["true"], "env": [{"name": "API_TOKEN", "value": "hunter2"}]}
    pools = [{"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, "containerSpec": container}]
    output = {"outputUriPrefix": "gs://my-private-bucket/x"}
    ask(
        "POST",
        f"{PARENT}/customJobs",
        {"displayName": "j", "jobSpec": {"workerPoolSpecs": pools, "baseOutputDirectory": output}},
    )
    ask("DELETE", endpoint)


def test_a_recording_tells_neither_who_nor_where_and_holds_no_secret(recording: tuple[str, Path]) -> None:
    url, path = recording
    session(url)
    text = path.read_text()
    for told in ("secret-project", "ya29", "AIza", "hunter2", "ada@", "my-private-bucket", "Authorization"):
        assert told not in text
    kept = list(exchange.read(path))
    assert [each.method for each in kept if "operations" not in each.path] == [
        *("POST", "GET", "PATCH", "GET", "POST", "DELETE"),
    ]
    assert kept[0].path == "/v1/projects/my-project/locations/us-central1/endpoints"
    assert kept[0].request["displayName"] == "of person@example.com"


def test_a_web_page_is_not_passed_on(recording: tuple[str, Path]) -> None:
    url, path = recording
    refused = requests.get(f"{url}/v1/{PARENT}/endpoints", headers={"Origin": "https://elsewhere.example"}, timeout=10)
    assert refused.status_code == 403
    assert path.read_text() == ""


def test_the_emulator_answers_a_recorded_session_in_the_same_way(
    recording: tuple[str, Path], emulator: Emulator, bucket: str
) -> None:
    url, path = recording
    session(url)
    replay = Replay(emulator.url, {"bucket-1": bucket})
    assert [replay.differences(each) for each in exchange.read(path)] == [[] for _ in exchange.read(path)]


def test_where_the_emulator_answers_in_another_way_the_difference_is_named(
    recording: tuple[str, Path], emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.new_bucket("bucket-1")
    url, path = recording
    session(url)
    kept = list(exchange.read(path))
    missing = next(each for each in kept if each.status == 404)
    missing.response["error"]["message"] = "It is not there."
    got = next(each for each in kept if each.method == "PATCH")
    got.response["satisfiesPzi"] = True
    got.response["description"] = 7
    path.write_text("".join(each.line() for each in kept))
    monkeypatch.setattr("sys.argv", ["recording", "replay", str(path), "--to", emulator.url])
    assert main() == 1
    told = capsys.readouterr().out
    assert "error.message: 'It is not there.' of Vertex AI, 'Endpoint `projects/" in told
    assert "satisfiesPzi: only Vertex AI has it, true" in told
    assert "description: a number of Vertex AI, text here" in told
    assert len(told.splitlines()) == 3


def test_an_id_of_the_recording_stands_for_the_one_that_the_emulator_gives(emulator: Emulator) -> None:
    there = {"name": "projects/my-project/locations/l/models/123456@1", "deployedModel": {"id": "1234567890123456789"}}
    here = {"name": "projects/my-project/locations/l/models/777777@2", "deployedModel": {"id": "9876543210987654321"}}
    replay = Replay(emulator.url, {})
    replay._learn(there, here)
    assert replay._here("undeploy 1234567890123456789 1 of models/123456@1, not 123456@12") == (
        "undeploy 9876543210987654321 1 of models/777777@2, not 123456@12"
    )


@pytest.mark.parametrize("text", ["{}\n", "no JSON\n", "[1]\n"])
def test_what_is_not_a_recording_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(StartError, match="line 1: not an exchange"):
        list(exchange.read(path))


def test_a_file_is_not_written_over(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({}))
    with pytest.raises(FileExistsError):
        Proxy(emulator.url, path)
    assert path.read_text() == "{}"
