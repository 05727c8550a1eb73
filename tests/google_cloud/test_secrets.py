"""No secret reaches edge.yaml, the bucket (state, lock, packages), labels, a job's environment, or the logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tasks.cloud import gcloud
from edge_tasks.errors import CloudError
from tests.google_cloud.conftest import BUCKET, CREDENTIALS, PROJECT, Google
from tests.repositories import Repository

SECRETS = (CREDENTIALS["refresh_token"], CREDENTIALS["client_secret"], "mongo-pa55word", "env-pa55word")


def test_secrets_stay_on_this_machine(google: Google) -> None:
    """Train as a job and deploy with secrets all around, then look at every byte that left."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1, storage  # type: ignore[attr-defined,unused-ignore]

    google.repository.environment["MONGO_URI"] = "mongodb://ada:mongo-pa55word@host/db"
    google.repository.environment["DATABASE_PASSWORD"] = "env-pa55word"
    (google.repository.root / ".env").write_text("PASSWORD=env-pa55word\n")
    (google.repository.root / "models" / "hello-world" / ".env").write_text("PASSWORD=env-pa55word\n")
    google.init()
    outputs = [
        google.repository.run(*command)
        for command in (
            ["python", "models/hello-world/train.py", "with", "is_vertex=True"],
            ["invoke", "model.deploy"],
            ["invoke", "model.why"],
            ["invoke", "state.show", "--history"],
            ["invoke", "doctor"],
        )
    ]
    client = storage.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": google.buckets.url})
    left = [blob.download_as_bytes() for blob in client.list_blobs(BUCKET)]
    left += [str(blob.metadata).encode() for blob in client.list_blobs(BUCKET)]
    left += [unpacked for content in list(left) for unpacked in archive(content)]
    jobs = aiplatform_v1.JobServiceClient(
        credentials=AnonymousCredentials(),
        transport="rest",
        client_options={"api_endpoint": google.repository.environment["VERTEX_EMULATOR_URL"]},
    )
    parent = f"projects/{PROJECT}/locations/europe-west1"
    left += [str(job).encode() for job in jobs.list_custom_jobs(parent=parent)]
    left += [(result.stdout + result.stderr).encode() for result in outputs]
    left += [path.read_bytes() for path in tracked_or_new(google.repository.root)]
    assert len(left) > 20
    for secret in SECRETS:
        assert not [content for content in left if secret.encode() in content], secret
    google.repository.run("invoke", "teardown", "--yes")


def archive(content: bytes) -> list[bytes]:
    """Return the files in a gzipped tar archive; nothing for anything else."""
    import io
    import tarfile

    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            files = [tar.extractfile(member) for member in tar.getmembers() if member.isfile()]
            return [file.read() for file in files if file]
    except tarfile.TarError:
        return []


def tracked_or_new(root: Path) -> list[Path]:
    """Return what `git add .` would commit."""
    import subprocess

    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [root / name for name in names if (root / name).is_file()]


# Where a person's secrets may lie: each is looked for in all that was written and printed.
CANARIES = ("env-canary", "url-canary", "mongo-canary", "git-canary", "dvc-canary", "file-canary", "cmd-canary")


def test_no_secret_gets_into_what_the_local_servers_keep_or_any_log(hello_world: Repository) -> None:
    """Train as a job that prints its environment, deploy, fail, and search every file but those that held them."""
    root = hello_world.root
    hello_world.environment.update(
        DATABASE_PASSWORD="env-canary",
        DATABASE_URL="postgres://ada:url-canary@host/db",
        MONGO_URI="mongodb://ada:mongo-canary@127.0.0.1:9/db?serverSelectionTimeoutMS=200",
    )
    hello_world.run("git", "remote", "add", "origin", "https://ada:git-canary@127.0.0.1:9/ada/x.git")
    (root / "models" / "hello-world" / ".env").write_text("PASSWORD=file-canary\n")
    script = root / "models" / "hello-world" / "train.py"
    told = "    import os; print(sorted(os.environ.items()))\n    X = np.array"
    script.write_text(script.read_text().replace("    X = np.array", told, 1))
    hello_world.run("invoke", "init")
    with (root / ".dvc" / "config.local").open("a") as config:
        config.write("['remote \"other\"']\n    url = https://ada:dvc-canary@host/x\n    password = dvc-canary\n")
    printed = ""
    for command in (
        ["python", str(script), "with", "is_vertex=True"],
        ["invoke", "model.deploy"],
        ["invoke", "model.deploy", "--name", "https://ada:cmd-canary@host"],
        ["invoke", "model.why"],
        ["invoke", "state.show", "--history"],
        ["invoke", "experiments.show"],
        ["invoke", "doctor"],
        ["invoke", "template.update"],
        ["invoke", "ci.setup", "--ci", "github", "--dry-run"],
        ["invoke", "local.logs"],
    ):
        result = hello_world.run(*command, check=False)
        printed += result.stdout + result.stderr
    assert "('CLOUD_ML_JOB_ID', " in printed, "the job did not print its environment"
    places = {root / ".git" / "config", root / ".dvc" / "config.local", script.parent / ".env"}
    files = [path for path in root.rglob("*") if path.is_file() and path not in places]
    left = {str(path): path.read_bytes() for path in files} | {"printed": printed.encode()}
    assert any("sqlite" in name for name in left)
    found = [
        (name, canary) for name, content in left.items() for canary in CANARIES if canary.encode() in unpack(content)
    ]
    assert found == []


def unpack(content: bytes) -> bytes:
    """Return the content with that of the files in it, when it is an archive."""
    return b"\n".join([content, *archive(content)])


@pytest.mark.parametrize("word", ["; touch owned", "$(touch owned)", "`touch owned`", "--help", "a b'c\"d"])
def test_names_reach_gcloud_as_single_words_never_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """The stand-in writes down the words that it got."""
    script = tmp_path / "gcloud"
    script.write_text('#!/usr/bin/env python3\nimport json, sys\njson.dump(sys.argv[1:], open("words.json", "w"))\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.chdir(tmp_path)
    gcloud.enable_services("my-project", [word])
    words = json.loads((tmp_path / "words.json").read_text())
    assert words == ["services", "enable", word, "--project", "my-project", "--format=json", "--quiet"]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("stderr", "problem", "hint"),
    [
        ("ERROR: (gcloud.services.enable) There was a problem refreshing your current auth tokens: invalid_grant",
         "cannot enable APIs in `p`: the login of gcloud has expired", "gcloud auth login"),
        ("ERROR: (gcloud.services.enable) FAILED: Billing account for project '1' is not found.",
         "cannot enable APIs in `p`: FAILED: Billing account for project '1' is not found", "link a billing account"),
        ("ERROR: (gcloud.services.enable) something new\nmore of it", "cannot enable APIs in `p`: something new", None),
        ("", "cannot enable APIs in `p`: it failed", None),
    ],
)  # fmt: skip
def test_what_gcloud_says_becomes_one_sentence_and_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, problem: str, hint: str | None
) -> None:
    (tmp_path / "words").write_text(stderr)
    script = tmp_path / "gcloud"
    script.write_text(f"#!/bin/sh\ncat {tmp_path / 'words'} >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(CloudError) as caught:
        gcloud.enable_services("p", ["a"])
    assert caught.value.problem == problem
    assert (caught.value.hint or "").startswith(hint or "")
    assert bool(caught.value.hint) == bool(hint)


def test_a_gcloud_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "gcloud"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(gcloud, "ENABLE_LIMIT", 0.2)
    with pytest.raises(CloudError, match="gcloud gave no answer within 0 s"):
        gcloud.enable_services("p", ["a"])
