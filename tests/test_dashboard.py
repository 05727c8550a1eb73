"""The dashboard's server, its feed and its export, without a browser."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.dashboard.assets import asset_names, read_asset
from edge_tasks.dashboard.export import export_page
from edge_tasks.dashboard.feed import Feed
from edge_tasks.dashboard.loop import SECTIONS
from edge_tasks.dashboard.records import output_piece, plain
from edge_tasks.dashboard.server import DashboardServer
from edge_tasks.domain.progress import Silence
from edge_tasks.errors import CloudError, EdgeError, ServerError
from tests.invented_loop import InventedLoop
from tests.invented_runs import InventedRuns, invented_row
from tests.repositories import ROOT

FIRST = invented_row(0)


@pytest.fixture
def runs() -> InventedRuns:
    return InventedRuns(3)


@pytest.fixture
def server(runs: InventedRuns) -> Iterator[DashboardServer]:
    server = DashboardServer(runs, InventedLoop(runs), port=0)
    server.feed.read()
    with server.running():
        yield server


def request(
    server: DashboardServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send one request word for word, as a client library would not."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def get_json(server: DashboardServer, path: str) -> Any:
    status, headers, content = request(server, path)
    assert status == 200, content
    assert headers["Content-Type"].startswith("application/json")
    return json.loads(content)


# --- routes -----------------------------------------------------------------------------------------------------


def test_the_page_and_everything_it_names_is_served(server: DashboardServer) -> None:
    status, headers, content = request(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'(?:src|href)="(page/[^"]+)"', content.decode())
    assert "page/scripts.js" in named
    for path in named:
        assert request(server, f"/{path}")[0] == 200, path


def test_the_page_gets_its_own_scripts_as_one_in_their_order_and_strict(server: DashboardServer) -> None:
    named = re.findall(r'<script src="page/(\w+\.js)" defer>', read_asset("index.html").decode())
    _, _, content = request(server, "/page/scripts.js")
    assert content == b"".join(read_asset(name) for name in named)
    assert content.startswith(b'"use strict";\n')
    page = request(server, "/")[2].decode()
    assert re.findall(r'<script src="page/([^"]+)"', page) == ["theme.js", "vendor/uPlot.iife.min.js", "scripts.js"]


def test_every_script_of_the_package_is_named_by_the_page() -> None:
    page = read_asset("index.html").decode()
    assert not [name for name in asset_names() if name.endswith((".js", ".css")) and f'"page/{name}"' not in page]


def test_the_page_asks_no_other_host() -> None:
    for name in asset_names():
        text = read_asset(name).decode()
        hosts = set(re.findall(r"""(?:https?:)?//([\w.-]+\.\w+)""", text)) if not name.startswith("vendor/") else set()
        # Names that nobody asks: of SVG's language, and of a right that the request in Python names.
        assert hosts <= {"www.w3.org", "www.googleapis.com"}, name


def test_the_chart_library_is_the_one_that_the_document_names() -> None:
    shipped = re.search(r"uPlot \(v([\d.]+)\)", read_asset("vendor/uPlot.iife.min.js").decode())
    named = re.search(r"\(https://github\.com/leeoniya/uPlot\) ([\d.]+) ", (ROOT / "docs" / "dashboard.md").read_text())
    assert shipped
    assert named
    assert shipped[1] == named[1]
    assert "MIT License" in read_asset("vendor/uPlot.LICENSE.txt").decode()


def test_runs_and_one_run_and_its_file(server: DashboardServer) -> None:
    update = get_json(server, "/api/runs")
    assert len(update["runs"]) == 3
    assert update["place"]["bucket"] == "gs://my-bucket/experiments"
    run = next(run for run in update["runs"] if run["id"] == FIRST.id)
    assert run["parameters"] == FIRST.parameters
    details = get_json(server, f"/api/runs/{FIRST.model}/{FIRST.id}")
    assert set(details["series"]) == {"loss", "accuracy", "learning_rate"}
    assert details["output"]["from"] == 0
    (file,) = details["files"]
    assert "log_scalar" in get_json(server, f"/api/runs/{FIRST.model}/{FIRST.id}/files/{file['name']}")["text"]


def test_output_goes_on_where_the_page_has_read_to(server: DashboardServer, runs: InventedRuns) -> None:
    runs.outputs[FIRST.key] = "begun\n"
    path = f"/api/runs/{FIRST.model}/{FIRST.id}"
    first = get_json(server, path)["output"]
    runs.outputs[FIRST.key] += "ended\n"
    assert first == {"text": "begun\n", "from": 0, "to": 6}
    assert get_json(server, f"{path}?output_from=6")["output"] == {"text": "ended\n", "from": 6, "to": 12}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/page/nothing.js",
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/vendor/../../server.py",
        "/api/runs/digits/nothing",
        f"/api/runs/{FIRST.model}/{FIRST.id}/files/..%2F..%2Fetc%2Fpasswd",
    ],
)
def test_what_is_not_there_is_not_found(server: DashboardServer, path: str) -> None:
    assert request(server, path)[0] == 404


@pytest.mark.parametrize("method", ["PUT", "OPTIONS"])
def test_other_methods_are_refused(server: DashboardServer, method: str) -> None:
    status, headers, _ = request(server, "/api/runs", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def change(server: DashboardServer, path: str, method: str, body: Any, **headers: str) -> tuple[int, str]:
    """Send a request that changes something, with the key unless `headers` say otherwise."""
    named = {"X_Edge_Key": server.key, "Content_Type": "application/json", **headers}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request(
            method, path, json.dumps(body), {name.replace("_", "-"): value for name, value in named.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


RUN = f"/api/runs/{FIRST.model}/{FIRST.id}"


def test_a_run_is_named_and_removed_by_who_has_the_key(server: DashboardServer, runs: InventedRuns) -> None:
    words = {"name": "first <b>try</b>", "notes": "it *works*", "tags": ["best", "two words"]}
    assert change(server, RUN, "PATCH", words) == (200, "{}")
    (row,) = [row for row in runs.rows() if row.key == FIRST.key]
    assert (row.name, row.tags, runs.notes[row.key]) == ("first <b>try</b>", ("best", "two"), "it *works*")
    assert change(server, RUN, "PATCH", {"name": ""})[0] == 200
    (row,) = [row for row in runs.rows() if row.key == FIRST.key]
    assert (row.name, row.tags) == (None, ("best", "two"))
    assert change(server, RUN, "DELETE", {})[0] == 200
    assert FIRST.key not in {row.key for row in runs.rows()}
    assert FIRST.id not in {run["id"] for run in get_json(server, "/api/runs")["runs"]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Edge_Key": ""}, 403),
        ({"X_Edge_Key": "guessed"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Content_Type": "text/plain"}, 400),
    ],
)
def test_nobody_else_changes_anything(
    server: DashboardServer, runs: InventedRuns, headers: dict[str, str], status: int
) -> None:
    for path, method in ((RUN, "PATCH"), ("/api/models/digits/predict", "POST")):
        assert change(server, path, method, {"name": "x"}, **headers)[0] == status
    if status == 403:
        assert change(server, RUN, "DELETE", {}, **headers)[0] == 403
    assert FIRST.key in {row.key for row in runs.rows()}
    assert not [row for row in runs.rows() if row.name]


@pytest.mark.parametrize("body", [[], "x", {"tags": 1}, None])
def test_a_change_that_is_none_is_refused(server: DashboardServer, body: Any) -> None:
    assert change(server, RUN, "PATCH", body)[0] == 400


def test_an_endpoint_is_asked_and_its_words_are_passed_on(server: DashboardServer) -> None:
    path = "/api/models/digits/predict"
    status, text = change(server, path, "POST", {"instances": [1]})
    assert (status, json.loads(text)["answer"]["predictions"]) == (200, ["stays"])
    status, text = change(server, path, "POST", {"instances": ["refuse"]})
    assert status == 502
    assert "column `age` is a text" in text
    assert "explanations" in json.loads(change(server, path.replace("predict", "explain"), "POST", {})[1])["answer"]


def test_every_section_is_told_and_its_problem(server: DashboardServer) -> None:
    for name in SECTIONS:
        found = get_json(server, f"/api/loop/{name}")
        assert (found["problem"], found["content"] is None) == (None, False), name
    server.loop.problem = CloudError("no answer", "check the network")  # type: ignore[attr-defined]
    told = get_json(server, "/api/loop/jobs")
    assert (told["content"], told["problem"]["problem"]) == (None, "no answer")


def test_a_file_is_saved_and_never_shown(server: DashboardServer) -> None:
    status, headers, content = request(server, f"/files{RUN.removeprefix('/api')}/artifact/signature.json")
    assert (status, content) == (200, b"<script>alert(1)</script>")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''signature.json"
    assert request(server, f"/files{RUN.removeprefix('/api')}/artifact/..%2F..%2Fother")[0] == 404
    image = get_json(server, f"{RUN}/plots/tree.svg")
    assert (image["type"], image["base64"][:4]) == ("image/svg+xml", "PHN2")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_web_pages_are_refused(server: DashboardServer, headers: dict[str, str]) -> None:
    for path in ("/", "/api/runs"):
        status, _, content = request(server, path, **headers)
        assert status == 403
        assert FIRST.id.encode() not in content


def test_the_page_may_load_nothing_from_elsewhere(server: DashboardServer) -> None:
    for path in ("/", "/api/runs", "/nothing"):
        headers = request(server, path)[1]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_taken_port_is_told(server: DashboardServer, runs: InventedRuns) -> None:
    with pytest.raises(ServerError, match=f"port {server.server_port} of this machine is taken"):
        DashboardServer(runs, InventedLoop(runs), server.server_port)


def test_without_a_port_a_second_dashboard_takes_another(runs: InventedRuns) -> None:
    first, second = DashboardServer(runs, InventedLoop(runs)), DashboardServer(runs, InventedLoop(runs))
    try:
        assert first.url != second.url
    finally:
        first.server_close()
        second.server_close()


def test_it_listens_on_this_machine_only(server: DashboardServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_silent_connection_stops_nobody(server: DashboardServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert get_json(server, "/api/runs")["runs"]


# --- what changed -----------------------------------------------------------------------------------------------


def test_only_what_changed_is_told_again(runs: InventedRuns) -> None:
    feed = Feed(runs, interval=3600)
    feed.read()
    all_runs = feed.update("")
    assert len(all_runs.runs) == 3
    seen = all_runs.head["revision"]
    assert feed.update(seen).runs == ()
    runs.change(FIRST, status="died")
    feed.read()
    (told,) = feed.update(seen).runs
    assert json.loads(told)["status"] == "died"


def test_a_removed_run_is_told_until_it_is_back(runs: InventedRuns) -> None:
    feed = Feed(runs, interval=3600)
    feed.read()
    seen = feed.update("").head["revision"]
    runs.drop(FIRST)
    feed.read()
    assert feed.update(seen).head["removed"] == [FIRST.key]
    assert len(feed.update("").runs) == 2
    runs.add(FIRST)
    feed.read()
    again = feed.update(seen)
    assert again.head["removed"] == []
    assert len(again.runs) == 1


def test_a_page_of_another_dashboard_is_told_everything(runs: InventedRuns) -> None:
    first, second = Feed(runs, interval=3600), Feed(runs, interval=3600)
    first.read()
    second.read()
    update = second.update(first.update("").head["revision"])
    assert update.head["whole"]
    assert len(update.runs) == 3


def test_a_problem_is_told_beside_the_runs_that_were_read_before(runs: InventedRuns) -> None:
    feed = Feed(runs, interval=3600)
    feed.read()
    runs.problem = CloudError("no answer", "check the network")
    feed.read()
    update = feed.update("")
    assert update.head["problem"] == {"problem": "no answer", "hint": "check the network"}
    assert len(update.runs) == 3
    runs.problem = None
    feed.read()
    assert feed.update("").head["problem"] is None


def test_runs_are_read_only_while_a_page_asks(runs: InventedRuns) -> None:
    feed = Feed(runs, interval=0)
    time.sleep(0.05)
    assert runs.readings == 0
    deadline = time.monotonic() + 30
    while not feed.update("").runs:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- values -----------------------------------------------------------------------------------------------------


def test_numbers_that_json_or_a_browser_lacks_go_as_words() -> None:
    values = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": 2**60, "d": -(2**53) + 1, "e": True, "f": 0.5}
    assert plain(values) == {
        "a": "NaN",
        "b": ["Infinity", "-Infinity"],
        "c": "1152921504606846976",
        "d": -(2**53) + 1,
        "e": True,
        "f": 0.5,
    }


@pytest.mark.parametrize("text", ["plain", "größer", "日本", "🙂"])
def test_a_character_that_is_half_there_waits_for_the_next_piece(text: str) -> None:
    content = text.encode()
    for cut in range(len(content) + 1):
        first = output_piece(content[:cut], 0)
        second = output_piece(content[first.to :], first.to)
        assert first.text + second.text == text
        assert "\ufffd" not in first.text
        assert second.to == len(content)


# --- export -----------------------------------------------------------------------------------------------------


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def received(path: Path) -> Any:
    """What a script of an export hands to the page."""
    match = re.fullmatch(r'source\.receive\(("[^"]*"), (".*")\);\n', path.read_text(encoding="utf-8"))
    assert match
    return json.loads(json.loads(match[2]))


def test_an_export_holds_the_page_the_runs_and_nothing_else(runs: InventedRuns, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "export"
    assert export_page(runs, InventedLoop(runs), folder, Silence()) == 3
    page = {f"page/{name}" for name in asset_names() - {"index.html"}}
    data = {f"runs/{row.key}.js" for row in runs.rows()}
    loop = {f"loop/{name}.js" for name in SECTIONS}
    models = {
        f"models/{name}/{what}.js"
        for name in {row.model for row in runs.rows()}
        for what in ("watched", "drifts", "traffic")
    }
    assert files(folder) == {"index.html", "runs.js", "views.js"} | page | data | loop | models
    assert len(received(folder / "runs.js")["runs"]) == 3
    run = received(folder / "runs" / f"{FIRST.key}.js")
    assert "log_scalar" in run["file_texts"]["train.py"]
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


def test_an_export_replaces_an_earlier_one(runs: InventedRuns, tmp_path: Path) -> None:
    export_page(runs, InventedLoop(runs), tmp_path / "export", Silence())
    runs.drop(FIRST)
    export_page(runs, InventedLoop(runs), tmp_path / "export", Silence())
    assert f"runs/{FIRST.key}.js" not in files(tmp_path / "export")


def test_an_export_takes_no_folder_with_other_files(runs: InventedRuns, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(EdgeError, match="holds other files"):
        export_page(runs, InventedLoop(runs), tmp_path, Silence())
    with pytest.raises(EdgeError, match="is a file"):
        export_page(runs, InventedLoop(runs), tmp_path / "thesis.txt", Silence())
    assert files(tmp_path) == {"thesis.txt"}


def test_a_failed_export_leaves_the_earlier_one(runs: InventedRuns, tmp_path: Path) -> None:
    export_page(runs, InventedLoop(runs), tmp_path / "export", Silence())
    before = files(tmp_path)
    runs.problem = CloudError("no answer")
    with pytest.raises(CloudError):
        export_page(runs, InventedLoop(runs), tmp_path / "export", Silence())
    assert files(tmp_path) == before


def test_a_record_whose_names_are_no_names_of_files_is_left_out(runs: InventedRuns, tmp_path: Path) -> None:
    runs.change(FIRST, id="../../outside")
    assert export_page(runs, InventedLoop(runs), tmp_path / "deep" / "export", Silence()) == 2
    assert not [path for path in files(tmp_path) if "outside" in path]
