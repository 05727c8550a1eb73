"""The dashboard on Cloud Run: what its server answers there, its commands, and the very program of its image."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud import hosted_dashboard
from edge_tasks.cloud.client import Cloud, client_environment
from edge_tasks.cloud.hosted_dashboard import HostedDashboard
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.dashboard.server import DashboardServer, Hosting
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Silence
from edge_tasks.errors import CloudError, EdgeError
from edge_tasks.models import costs
from edge_tasks.releases import teardown
from edge_tasks.setup import dashboard_service, infrastructure
from edge_tasks.setup.infrastructure import Wanted
from tests.invented_loop import InventedLoop
from tests.invented_runs import InventedRuns

HOST = "edge-dashboard-1a2b3c4d-4711.europe-west1.run.app"
JSON = {"Content-Type": "application/json"}


def ask(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": HOST, **named})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# --- the server, where it is hosted ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs() -> InventedRuns:
    return InventedRuns(3)


def hosted(runs: InventedRuns, changes: bool) -> Iterator[DashboardServer]:
    server = DashboardServer(runs, InventedLoop(runs), 0, Hosting(changes, frozenset({"runs.example.com"})))
    with server.running():
        yield server


@pytest.fixture(scope="module")
def shows(runs: InventedRuns) -> Iterator[DashboardServer]:
    yield from hosted(runs, changes=False)


@pytest.fixture(scope="module")
def changes(runs: InventedRuns) -> Iterator[DashboardServer]:
    yield from hosted(runs, changes=True)


@pytest.mark.parametrize("host", [HOST, "runs.example.com", "127.0.0.1:8766", "localhost:1"])
def test_it_answers_under_the_names_that_it_has_there(shows: DashboardServer, host: str) -> None:
    status, content = ask(shows.server_port, "/", Host=host)
    assert status == 200
    assert b"data-key" not in content


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "run.app.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_other_names_and_other_pages_are_refused(changes: DashboardServer, headers: dict[str, str]) -> None:
    assert ask(changes.server_port, "/api/runs", **headers)[0] == 403
    assert ask(changes.server_port, "/api/runs/m/1", "DELETE", "{}", X_Edge_Key="hosted", **headers)[0] == 403


def test_the_first_page_waits_for_the_runs(shows: DashboardServer) -> None:
    status, content = ask(shows.server_port, "/api/runs?since=")
    assert (status, len(json.loads(content)["runs"])) == (200, 3)


def test_nothing_is_changed_unless_that_was_asked_for(
    shows: DashboardServer, changes: DashboardServer, runs: InventedRuns
) -> None:
    row = next(iter(runs.rows()))
    path, body = f"/api/runs/{row.key}", json.dumps({"name": "told"})
    said = {"X_Edge_Key": "hosted", **{name.replace("-", "_"): value for name, value in JSON.items()}}
    status, content = ask(shows.server_port, path, "PATCH", body, **said)
    assert (status, b"--changes" in content) == (403, True)
    assert ask(changes.server_port, path, "PATCH", body, Content_Type="application/json")[0] == 403, "no header of ours"
    # `gcloud run services proxy`: Cloud Run's name as Host, the browser's own origin.
    assert ask(changes.server_port, path, "PATCH", body, Origin="http://127.0.0.1:8766", **said)[0] == 200
    assert ask(changes.server_port, path, "PATCH", body, Origin=f"https://{HOST}", **said)[0] == 200
    assert next(one for one in runs.rows() if one.key == row.key).name == "told"
    assert b'<html lang="en" data-key="hosted">' in ask(changes.server_port, "/")[1]


class Kept:
    """Views in memory."""

    def __init__(self) -> None:
        self.views: dict[str, Any] = {}

    def list(self) -> list[Any]:
        return list(self.views.values())

    def save(self, view: Any, *, replace: bool = False) -> None:
        self.views[view.name] = view

    def remove(self, name: str) -> None:
        del self.views[name]


@pytest.mark.parametrize(
    ("headers", "by"),
    [
        ({"X_Goog_Authenticated_User_Email": "accounts.google.com:ada@example.com"}, "ada@example.com"),
        (
            {"Authorization": "Bearer e30." + base64.urlsafe_b64encode(b'{"email":"eve@example.com"}').decode() + ".x"},
            "eve@example.com",
        ),
        ({"Authorization": "Bearer nonsense"}, "somebody"),
        ({}, "somebody"),
    ],
)
def test_a_view_tells_whom_google_has_let_in(runs: InventedRuns, headers: dict[str, str], by: str) -> None:
    kept = Kept()
    server = DashboardServer(runs, InventedLoop(runs), 0, Hosting(changes=True), kept)
    said = {"X_Edge_Key": "hosted", "Content_Type": "application/json", **headers}
    with server.running():
        body = json.dumps({"name": "mine", "address": "#/groups"})
        assert ask(server.server_port, "/api/views", "POST", body, **said)[0] == 200
        (view,) = json.loads(ask(server.server_port, "/api/views")[1])["views"]
        assert (view["name"], view["by"]) == ("mine", by)
        assert ask(server.server_port, "/api/views/mine", "DELETE", "{}", **said)[0] == 200
    assert kept.views == {}


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_google(config: EdgeConfig) -> EdgeConfig:
    return config.model_copy(update={"target": "gcp"})


def commands(config: EdgeConfig, **options: bool) -> list[str]:
    steps = dashboard_service.preparing(
        config, **{"changes": False, "request_logs": False, "by_terraform": False, **options}
    )
    return [shlex.join(step.command) for step in steps]


def test_its_account_may_read_and_with_changes_change_what_runs_have(on_google: EdgeConfig) -> None:
    roles = {word for line in commands(on_google) for word in line.split() if word.startswith("roles/")}
    assert roles == {
        *("roles/aiplatform.viewer", "roles/logging.viewer", "roles/monitoring.viewer"),
        *("roles/storage.objectViewer", "roles/storage.legacyBucketReader"),
    }
    more = set(commands(on_google, changes=True)) - set(commands(on_google))
    bucket = on_google.storage_bucket.bucket_name
    (admin,) = [line for line in more if "objectAdmin" in line]
    assert f'startsWith("projects/_/buckets/{bucket}/objects/{on_google.experiments.directory}/")' in admin
    assert len(more) == 3, "that, and the role to ask endpoints: made, and given"
    assert {"roles/bigquery.jobUser", "roles/bigquery.dataViewer"} <= {
        word for line in commands(on_google, request_logs=True) for word in line.split()
    }


def test_where_terraform_makes_the_ground_only_changes_are_left(on_google: EdgeConfig) -> None:
    assert commands(on_google, by_terraform=True) == []
    left = commands(on_google, by_terraform=True, changes=True)
    assert [line.split()[1:3] for line in left] == [
        ["iam", "roles"], ["storage", "buckets"], ["projects", "add-iam-policy-binding"],
    ]  # fmt: skip


def test_terraform_makes_the_same_account_with_the_same_roles(on_google: EdgeConfig) -> None:
    files = infrastructure.terraform_files(on_google, Wanted(dashboard=True), [], "infra")
    main = files["main.tf"]
    account = dashboard_service.account(on_google)
    assert f'account_id   = "{account.account_id}"' in main
    assert len(re.findall(r'resource "google_(?:project|storage_bucket)_iam_member" "dashboard_', main)) == 5
    assert "dashboard_service_account" in files["outputs.tf"]
    assert "--dashboard" in files["README.md"]
    assert account.account_id not in infrastructure.terraform_files(on_google, Wanted(), [], "infra")["main.tf"]


def test_nobody_is_let_in_but_the_members(on_google: EdgeConfig) -> None:
    members = dashboard_service.check_members(["user:ada@example.com,group:team@example.com", "domain:example.com"])
    run, *let_in = dashboard_service.deploying(on_google, "IMAGE", members, changes=False)
    assert "--no-allow-unauthenticated" in run.command
    assert [step.command[-2] for step in let_in] == [
        "user:ada@example.com",
        "group:team@example.com",
        "domain:example.com",
    ]
    assert all("roles/run.invoker" in step.command for step in let_in)


@pytest.mark.parametrize(
    "member", ["allUsers", "allAuthenticatedUsers", "ada@example.com", "user:ada", "user:a b@c.de"]
)
def test_a_member_that_is_none_or_everybody_is_refused(member: str) -> None:
    with pytest.raises(EdgeError) as caught:
        dashboard_service.check_members([member])
    assert "--member" in (caught.value.hint or "")


def test_the_image_is_the_same_for_the_same_content(root: Path, on_google: EdgeConfig) -> None:
    files = dashboard_service.contents(root)
    uri = dashboard_service.image_uri(on_google, files)
    assert uri == dashboard_service.image_uri(on_google, dashboard_service.contents(root))
    assert uri != dashboard_service.image_uri(on_google, {**files, "edge.yaml": b"other"})
    assert all(re.fullmatch(r"[a-z0-9.\[\]-]+==\S+", line) for line in files["requirements.txt"].decode().splitlines())


# --- the program of the image ---------------------------------------------------------------------------------------

# What the image has, besides Python: any other package that is imported ends the program.
GUARD = """\
import re, sys
from importlib import metadata
plain = lambda name: re.sub("[-_.]+", "-", name.lower())
pinned = {plain(line.partition("==")[0]) for line in open("requirements.txt").read().split()}
there = {module: set(map(plain, names)) for module, names in metadata.packages_distributions().items()}
class Guard:
    def find_spec(self, name, path=None, target=None):
        owners = there.get(name, set())
        if path is None and name != "edge_tasks" and owners and not owners & pinned:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Guard())
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def program(
    root: Path, config: EdgeConfig, cloud: Cloud, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The image's program in the image's files, and no other of ours; the emulator stands for Google."""
    dashboard_service.write(dashboard_service.contents(root), tmp_path)
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    port = free_port()
    emulator = {
        name: value for name, value in client_environment(config, root).items() if not name.startswith("PYTHON")
    }
    environment = {**os.environ, **emulator, "PYTHONPATH": str(tmp_path), "EDGE_TARGET": "gcp", "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tasks.dashboard"],
        cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process, port
    if process.poll() is None:
        process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.slow
def test_the_program_of_the_image_serves_with_what_the_image_has(
    program: tuple[subprocess.Popen[str], int], config: EdgeConfig
) -> None:
    process, port = program
    assert process.stderr is not None
    first = process.stderr.readline()
    assert f"listens on port {port}" in first, first + process.stderr.read()
    status, content = ask(port, "/api/runs?since=")
    document = json.loads(content)
    assert (status, document["problem"]) == (200, None)
    assert config.storage_bucket.bucket_name in document["place"]["bucket"]
    for section in ("models", "endpoints", "jobs", "pipelines", "monitoring"):
        answer = json.loads(ask(port, f"/api/loop/{section}")[1])
        assert answer["problem"] is None, section
    assert json.loads(ask(port, "/api/views")[1]) == {"views": []}
    assert ask(port, "/page/app.js")[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


# --- deployed, told of, and taken away ------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A gcloud that writes down what it is asked, and knows everything that is described."""
    folder = tmp_path / "bin"
    folder.mkdir()
    written = folder / "calls"
    (folder / "gcloud").write_text(f'#!/bin/sh\necho "$@" >> {written}\n')
    (folder / "gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return written


def test_what_was_deployed_is_known_to_cost_and_teardown_and_taken_away(
    cloud: Cloud, config: EdgeConfig, calls: Path
) -> None:
    assert hosted_dashboard.find(cloud) is None
    one = HostedDashboard(
        "edge-dashboard-1", "p", "europe-west1", "IMAGE", "edge-dashboard-1@p.iam.gserviceaccount.com",
        "2026-11-28T20:00:00+00:00", "ada",
    )  # fmt: skip
    hosted_dashboard.note(cloud, one)
    assert hosted_dashboard.find(cloud) == one
    (running,) = costs.running(cloud, counted=False)
    assert running.row(None)[:2] == ["dashboard edge-dashboard-1", "Cloud Run, while it answers"]
    assert running.document(None)["use"] is None
    StateStore(cloud).create()
    things = teardown.find(cloud, config, bucket=False)
    assert [str(thing) for thing in things] == ["dashboard on Cloud Run: edge-dashboard-1 in europe-west1"]
    teardown.remove(cloud, config, things, Silence(), 0)
    assert hosted_dashboard.find(cloud) is None
    done = [line.split()[:3] for line in calls.read_text().splitlines() if "delete" in line]
    assert done == [["run", "services", "delete"], ["iam", "service-accounts", "delete"]]
    assert teardown.find(cloud, config, bucket=False) == []


def test_an_account_of_terraforms_stays(calls: Path) -> None:
    one = HostedDashboard("edge-dashboard-1", "p", "europe-west1", "IMAGE", "", "2026-11-28T20:00:00+00:00", "ada")
    assert [purpose for purpose, _, _ in hosted_dashboard.removal(one)] == ["delete the service edge-dashboard-1"]


def test_a_note_that_is_broken_is_told(cloud: Cloud) -> None:
    cloud.objects.write(".edge_state/dashboard.json", b"[]")
    with pytest.raises(CloudError, match="is broken"):
        hosted_dashboard.find(cloud)
