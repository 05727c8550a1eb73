"""Letting CI into Google Cloud: `ci.setup` says or does what it takes, and `ci.token` then says who a job is.

gcloud is a program of the test's own, which writes down what it is asked. The token goes the real way: Google's own
client reads the file that gcloud writes, runs `edge ci.token`, and shows the answer to a server that stands for Google.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import yaml

from tests.repositories import BIN, Repository, copy

ORGANIZATION = "11111111-2222-3333-4444-555555555555"
PROJECT = "66666666-7777-8888-9999-aaaaaaaaaaaa"
CIRCLECI = ("--organization", ORGANIZATION, "--project", PROJECT)

# Writes each call as a line of JSON. What is described is there only if the file says so.
GCLOUD = """#!/usr/bin/env python3
import json, os, pathlib, sys
folder = pathlib.Path(__file__).parent
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["projects", "describe"]:
    print(4242)
elif "describe" in sys.argv:
    sys.exit(0 if (folder / "everything-is-there").exists() else 1)
elif "enable" in sys.argv and (folder / "refused").exists():
    sys.exit("ERROR: (gcloud.services.enable) PERMISSION_DENIED: not you\\nmore words")
"""


@pytest.fixture
def repository(baked: dict[str, Path], tmp_path: Path) -> Repository:
    """A repository for CircleCI in which nothing runs."""
    return copy(baked["hello-world"], tmp_path)


@pytest.fixture
def gcloud(repository: Repository, tmp_path: Path) -> Path:
    """The folder of a gcloud that comes first on the repository's PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gcloud").write_text(GCLOUD)
    (folder / "gcloud").chmod(0o755)
    repository.environment["PATH"] = f"{folder}:{repository.environment['PATH']}"
    return folder


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def changes(folder: Path) -> list[list[str]]:
    return [call for call in calls(folder) if "describe" not in call]


def release_by_default(repository: Repository) -> bool:
    config = yaml.safe_load((repository.root / ".circleci/config.yml").read_text())
    return bool(config["parameters"]["release"]["default"])


# --- setting up ---------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_a_script_and_calls_nothing(repository: Repository, gcloud: Path) -> None:
    printed = repository.run("invoke", "ci.setup", "--dry-run", *CIRCLECI).stdout
    assert calls(gcloud) == []
    assert not release_by_default(repository)
    script = gcloud / "script.sh"
    script.write_text("set -eu\n" + printed)
    subprocess.run([str(BIN / "shellcheck"), "--shell=bash", str(script)], check=True)
    # Pasted into a shell, it does the very same as the task.
    subprocess.run(["bash", str(script)], env=repository.environment, check=True, capture_output=True)
    pasted = changes(gcloud)
    (gcloud / "calls").unlink()
    repository.run("invoke", "ci.setup", "--yes", *CIRCLECI)
    assert changes(gcloud) == pasted
    assert len(pasted) == 11


def test_only_tokens_of_this_repository_s_main_are_trusted(repository: Repository, gcloud: Path) -> None:
    repository.run("invoke", "ci.setup", "--yes", *CIRCLECI)
    (provider,) = [call for call in changes(gcloud) if "create-oidc" in call]
    option = dict(itertools.pairwise(provider))
    assert option["--issuer-uri"] == f"https://oidc.circleci.com/org/{ORGANIZATION}"
    assert option["--allowed-audiences"] == ORGANIZATION  # CircleCI's audience is not an address
    claim = "assertion['oidc.circleci.com/project-id']"
    assert option["--attribute-mapping"] == f"google.subject={claim},attribute.project={claim}"
    assert option["--attribute-condition"] == (
        f"{claim} == '{PROJECT}' && assertion['oidc.circleci.com/vcs-ref'] == 'refs/heads/main'"
    )
    (binding,) = [call for call in changes(gcloud) if "roles/iam.workloadIdentityUser" in call]
    member = (
        "principalSet://iam.googleapis.com/projects/4242/locations/global/workloadIdentityPools/edge-ci/"
        f"attribute.project/{PROJECT}"
    )
    assert member in binding


def test_the_account_gets_no_more_roles_than_it_needs(repository: Repository, gcloud: Path) -> None:
    path = repository.root / "edge.yaml"
    text = path.read_text()
    account = "trainer@my-gcp-project.iam.gserviceaccount.com"
    path.write_text(text.rstrip() + f"\n    training_service_account: {account}\n")
    repository.run("invoke", "ci.setup", "--yes", *CIRCLECI)
    given = {
        (call[call.index("add-iam-policy-binding") + 1], call[call.index("--role") + 1])
        for call in changes(gcloud)
        if "--role" in call
    }
    own = next(name for name, role in given if role == "roles/iam.workloadIdentityUser")
    assert own.startswith("edge-ci-")
    assert given - {(own, "roles/iam.workloadIdentityUser")} == {
        ("my-gcp-project", "roles/aiplatform.user"),
        ("my-gcp-project", "roles/logging.viewer"),
        ("my-gcp-project", "roles/monitoring.viewer"),
        ("gs://my-gcp-project-my-project", "roles/storage.objectAdmin"),
        ("gs://my-gcp-project-my-project", "roles/storage.legacyBucketReader"),
        (account, "roles/iam.serviceAccountUser"),
    }


def test_ci_may_read_kept_requests_when_that_is_asked_for(repository: Repository) -> None:
    def roles(*flags: str) -> set[str]:
        printed = repository.run("invoke", "ci.setup", "--dry-run", *CIRCLECI, *flags).stdout
        return set(re.findall(r"roles/bigquery\.\w+", printed))

    assert roles() == set()
    assert roles("--request-logs") == {"roles/bigquery.jobUser", "roles/bigquery.dataViewer"}
    path = repository.root / "edge.yaml"
    path.write_text(path.read_text().rstrip() + "\n    monitoring: {keep: 30d}\n")
    assert roles("--request-logs") == {"roles/bigquery.jobUser", "roles/bigquery.dataEditor"}


def test_what_is_there_is_not_made_again(repository: Repository, gcloud: Path) -> None:
    (gcloud / "everything-is-there").touch()
    said = repository.run("invoke", "ci.setup", "--yes", *CIRCLECI).stderr
    assert said.count("done already: ") == 3
    assert not [call for call in changes(gcloud) if "create" in call or "create-oidc" in call]


def test_releasing_is_switched_on_and_the_comments_stay(repository: Repository, gcloud: Path) -> None:
    before = (repository.root / ".circleci/config.yml").read_text()
    said = repository.run("invoke", "ci.setup", "--yes", *CIRCLECI).stderr
    assert release_by_default(repository)
    after = (repository.root / ".circleci/config.yml").read_text()
    assert after == before.replace("default: false", "default: true", 1)
    assert "Add user key" in said
    assert calls(gcloud)


def test_without_a_yes_nothing_is_changed(repository: Repository, gcloud: Path) -> None:
    problem, hint = repository.fails("invoke", "ci.setup", *CIRCLECI)
    assert problem == "nothing was changed"
    assert "--yes" in hint
    assert calls(gcloud) == []


def test_what_gcloud_refuses_is_told_in_its_words(repository: Repository, gcloud: Path) -> None:
    (gcloud / "refused").touch()
    problem, hint = repository.fails("invoke", "ci.setup", "--yes", *CIRCLECI)
    assert problem == "cannot switch on the services: PERMISSION_DENIED: not you"
    assert "lists the roles that are needed" in hint
    assert not release_by_default(repository)


def test_github_s_repository_is_that_of_the_remote(repository: Repository) -> None:
    shutil.rmtree(repository.root / ".circleci")
    (repository.root / ".github/workflows").mkdir(parents=True)
    (repository.root / ".github/workflows/release.yml").touch()
    problem, _ = repository.fails("invoke", "ci.setup", "--dry-run")
    assert problem == "it is not clear which repository"
    for url in ("git@github.com:acme/churn.git", "https://github.com/acme/churn"):
        repository.run("git", "remote", "remove", "origin", check=False)
        repository.run("git", "remote", "add", "origin", url)
        done = repository.run("invoke", "ci.setup", "--dry-run")
        assert "assertion.repository == 'acme/churn' && assertion.ref == 'refs/heads/main'" in done.stdout
        assert "--allowed-audiences" not in done.stdout
        assert "--output-file .github/google-cloud.json" in done.stdout
        assert "EDGE_RELEASE" in done.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "CircleCI knows the organization by an id like 00000000-0000-0000-0000-000000000000, and it is not given"),
        (("--organization", "acme", "--project", PROJECT), "and `acme` is not one"),
        (("--organization", ORGANIZATION, "--project", "x' || true"), "and `x' || true` is not one"),
        (("--ci", "jenkins"), "there is no CI `jenkins`"),
        (("--ci", "github", "--repository", "a'b/c"), "`a'b/c` is not a repository of GitHub"),
    ],
)
def test_what_is_no_id_is_refused(repository: Repository, options: tuple[str, ...], problem: str) -> None:
    told, _ = repository.fails("invoke", "ci.setup", "--dry-run", *options)
    assert problem in told


# --- the token ----------------------------------------------------------------------------------------------------


def jwt(expires: float) -> str:
    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part({'aud': ORGANIZATION, 'exp': expires})}.signature"


class Google(ThreadingHTTPServer):
    """Stands for GitHub's token service and Google's, and keeps what it is shown."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.shown: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Google

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer request-token"
        audience = parse_qs(self.path.partition("?")[2])["audience"][0]
        self._send({"value": f"github-token-for-{audience}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "generateAccessToken" in self.path:
            assert self.headers["Authorization"] == "Bearer federated"
            self._send({"accessToken": "google", "expireTime": "2099-01-01T00:00:00Z"})
        else:
            self.server.shown.append({key: values[0] for key, values in parse_qs(body).items()})
            self._send({"access_token": "federated", "expires_in": 3600, "token_type": "Bearer"})

    def _send(self, document: dict[str, object]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def google() -> Iterator[Google]:
    server = Google()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


AUDIENCE = "//iam.googleapis.com/projects/4242/locations/global/workloadIdentityPools/edge-ci/providers/circleci-1"
LOG_IN = """
import google.auth, google.auth.transport.requests
credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
credentials.refresh(google.auth.transport.requests.Request())
print(credentials.token)
"""


def log_in(repository: Repository, google: Google, **environment: str) -> str:
    """Log in as a CI job does: with Google's client, and the file as gcloud's create-cred-config writes it."""
    document = {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{google.url}/v1/token",
        "credential_source": {"executable": {"command": "edge ci.token", "timeout_millis": 30000}},
        "service_account_impersonation_url": f"{google.url}/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
    }
    path = repository.root / ".circleci/google-cloud.json"
    path.write_text(json.dumps(document))
    environment |= {
        "GOOGLE_APPLICATION_CREDENTIALS": str(path),
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1",
        "GOOGLE_CLOUD_PROJECT": "my-gcp-project",  # else Google's client asks Google for it
    }
    done = repository.run("python", "-c", LOG_IN, check=True, **environment)
    assert done.stdout.strip() == "google"
    return google.shown[-1]["subject_token"]


def test_a_job_of_circleci_logs_in_with_its_own_token(repository: Repository, google: Google) -> None:
    token = jwt(time.time() + 3600)
    assert log_in(repository, google, CIRCLE_OIDC_TOKEN=token) == token
    assert google.shown[-1]["audience"] == AUDIENCE


def test_a_job_that_runs_longer_than_its_token_gets_a_new_one(
    repository: Repository, google: Google, tmp_path: Path
) -> None:
    fresh = jwt(time.time() + 3600)
    program = tmp_path / "bin" / "circleci"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = \'run oidc get --claims {{"aud": "{ORGANIZATION}"}}\' ] && echo {fresh}\n')
    program.chmod(0o755)
    path = f"{program.parent}:{repository.environment['PATH']}"
    assert log_in(repository, google, CIRCLE_OIDC_TOKEN=jwt(time.time() - 1), PATH=path) == fresh


def test_a_job_of_github_asks_github(repository: Repository, google: Google) -> None:
    token = log_in(
        repository,
        google,
        ACTIONS_ID_TOKEN_REQUEST_URL=f"{google.url}/token?api-version=2.0",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="request-token",
    )
    assert token == f"github-token-for-https:{AUDIENCE}"


def test_outside_ci_there_is_no_token_and_the_reason_is_told(repository: Repository) -> None:
    problem, hint = repository.fails("invoke", "ci.token", GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE=AUDIENCE)
    assert problem == "there is no token that says which CI job this is"
    assert "id-token: write" in hint


def test_a_token_is_not_printed_into_a_log(repository: Repository) -> None:
    problem, _ = repository.fails("invoke", "ci.token", CIRCLE_OIDC_TOKEN=jwt(time.time() + 3600))
    assert problem == "a token is for Google's client alone, which asks for it by itself"
