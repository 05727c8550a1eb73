"""`invoke init --target gcp`: reads the world, says what it will do, does it, and can be run again."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.google_cloud.conftest import BUCKET, PROJECT, REGION, Google

WRITTEN = (
    f"write into edge.yaml: target = gcp, google_cloud_project.project_id = {PROJECT}, "
    f"google_cloud_project.region = {REGION}, storage_bucket.bucket_name = {BUCKET}"
)
TO_DO = [
    f"set the quota project of this machine's application default credentials to {PROJECT}",
    f"enable aiplatform.googleapis.com, logging.googleapis.com in {PROJECT}",
    f"make the bucket gs://{BUCKET} in {REGION}, with uniform access and no public access",
    WRITTEN,
    f"set DVC's remote to gs://{BUCKET}/dvcstore",
    "make the shared state",
]


def edge_yaml(google: Google) -> str:
    return (google.repository.root / "edge.yaml").read_text()


def test_a_fresh_repository_is_set_up_in_a_fresh_project(google: Google) -> None:
    before = edge_yaml(google)
    output = google.init().stderr.splitlines()
    assert [line.removeprefix("> ") for line in output[-len(TO_DO) - 1 : -1]] == TO_DO
    assert set(google.world["projects"][PROJECT]["services"]) == {
        *("aiplatform.googleapis.com", "logging.googleapis.com", "storage.googleapis.com")
    }
    assert json.loads(google.credentials.read_text())["quota_project_id"] == PROJECT
    bucket = google.buckets.buckets[BUCKET]
    assert bucket["location"].lower() == REGION
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert google.repository.run("dvc", "remote", "list").stdout.split() == [
        "store",
        f"gs://{BUCKET}/dvcstore",
        "(default)",
    ]

    # Comments and all other lines of edge.yaml are as they were.
    changed = {
        "target: local": "target: gcp",
        "  project_id: my-gcp-project": f"  project_id: {PROJECT}",
        "  region: us-central1": f"  region: {REGION}",
        '  bucket_name: "my-gcp-project-my-project"': f'  bucket_name: "{BUCKET}"',
    }
    assert edge_yaml(google).splitlines() == [changed.get(line, line) for line in before.splitlines()]


def test_a_second_time_nothing_is_to_be_done(google: Google) -> None:
    google.init()
    before = edge_yaml(google), google.world, google.repository.run("git", "diff").stdout
    output = google.repository.run("invoke", "init").stderr
    assert (edge_yaml(google), google.world, google.repository.run("git", "diff").stdout) == before
    for line in (
        "gcloud: gcloud 528.0.0",
        "account: ada@example.com",
        f"credentials: of a person, with quota project {PROJECT}",
        f"project: {PROJECT} (number 4711)",
        "billing: billing is on",
        "APIs: aiplatform, logging, storage",
        f"bucket: gs://{BUCKET} in {REGION}, with uniform access and no public access",
        "edge.yaml: target gcp, models: hello-world",
        f"DVC: remote gs://{BUCKET}/dvcstore",
        "state: the shared state is there",
    ):
        assert f"> {line}\n" in output
    assert google.init("--bucket", BUCKET, "--dry-run").stderr == google.init("--bucket", BUCKET, "--dry-run").stderr
    assert "would" not in google.init("--bucket", BUCKET, "--dry-run").stderr


def test_a_dry_run_tells_it_and_changes_nothing(google: Google) -> None:
    before = google.world, google.repository.run("git", "status", "--porcelain").stdout
    output = google.init("--bucket", BUCKET, "--dry-run").stderr.splitlines()
    assert [line.removeprefix("> would ") for line in output if "would" in line] == TO_DO
    assert (google.world, google.repository.run("git", "status", "--porcelain").stdout) == before
    assert google.buckets.buckets == {}
    assert "quota_project_id" not in google.credentials.read_text()


def test_without_a_terminal_nothing_is_done_unasked(google: Google) -> None:
    result = google.init("--bucket", BUCKET, check=False)
    assert result.returncode == 1
    assert "> to do: enable aiplatform.googleapis.com" in result.stderr
    assert result.stderr.endswith("error: nothing was done\n\nhint: add `--yes` to do it without being asked\n")
    assert google.buckets.buckets == {}


def test_after_a_failure_it_goes_on_from_what_is_there(google: Google) -> None:
    google.change(may_enable=False)
    result = google.init(check=False)
    assert result.returncode == 1
    assert f"error: cannot enable APIs in `{PROJECT}`: PERMISSION_DENIED" in result.stderr
    assert "target: local" in edge_yaml(google)
    google.change(may_enable=True)
    output = google.init().stderr
    assert f"credentials: of a person, with quota project {PROJECT}" in output
    assert "target: gcp" in edge_yaml(google)


@pytest.mark.parametrize(
    ("changes", "problem", "hint"),
    [
        ({"account": None}, "gcloud has no account on this machine", "gcloud auth login"),
        ({"network": False}, f"cannot look at the project `{PROJECT}`: no answer from Google", "check the network"),
        ({"projects": {}}, f"the project `{PROJECT}` does not exist, or gcloud's account may", "gcloud projects list"),
        ({"state": "DELETE_REQUESTED"}, f"the project `{PROJECT}` is being deleted", "gcloud projects undelete"),
        ({"billing": False}, f"billing is off in the project `{PROJECT}`", "gcloud billing projects link"),
    ],
)
def test_what_cannot_be_repaired_from_here_is_told(
    google: Google, changes: dict[str, object], problem: str, hint: str
) -> None:
    google.change(**changes)
    words = ["--target", "gcp", "--project", PROJECT, "--yes"]
    said, advice = google.repository.fails("invoke", "init", *words)
    assert said.startswith(problem)
    assert advice.startswith(hint)
    assert "target: local" in edge_yaml(google)


def test_a_machine_without_gcloud(google: Google, tmp_path: Path) -> None:
    alone = tmp_path / "bin"
    alone.mkdir()
    for name in ("invoke", "python", "git"):
        where = next(
            Path(folder, name)
            for folder in os.get_exec_path(google.repository.environment)
            if Path(folder, name).exists()
        )
        (alone / name).symlink_to(where)
    problem, hint = google.repository.fails("invoke", "init", "--target", "gcp", "--yes", PATH=str(alone))
    assert problem == "gcloud, Google's command line, is not installed"
    assert "https://cloud.google.com/sdk/docs/install" in hint


def test_a_machine_without_application_default_credentials(google: Google) -> None:
    google.credentials.unlink()
    problem, hint = google.repository.fails("invoke", "init", "--target", "gcp", "--project", PROJECT, "--yes")
    assert problem == "no Google Cloud credentials were found on this machine"
    assert hint.startswith("gcloud auth application-default login")


def test_billing_that_may_not_be_looked_at_stops_nobody(google: Google) -> None:
    google.change(
        billing=None, services=["aiplatform.googleapis.com", "logging.googleapis.com", "storage.googleapis.com"]
    )
    output = google.init().stderr
    assert "billing: this account may not look at it; ask the project's owner whether billing is on" in output
    assert "target: gcp" in edge_yaml(google)


def test_a_bucket_whose_name_is_taken_is_refused_without_a_terminal(google: Google) -> None:
    google.buckets.taken.add(BUCKET)
    result = google.init(check=False)
    assert result.returncode == 1
    assert f"error: the bucket name `{BUCKET}` is taken, and this account may not use that bucket" in result.stderr
    assert "hint: invoke init --bucket ANOTHER-NAME" in result.stderr
    assert "target: local" in edge_yaml(google)


def test_a_bucket_of_which_only_the_objects_may_be_used_is_used(google: Google) -> None:
    google.init()
    google.buckets.objects_only.add(BUCKET)
    output = google.repository.run("invoke", "init").stderr
    assert f"bucket: gs://{BUCKET}: this account may use its objects, but not look at its settings" in output


@pytest.mark.parametrize(
    ("place", "fits"), [("EUROPE-WEST1", True), ("EU", True), ("US", False), ("ASIA-EAST1", False)]
)
def test_a_bucket_in_another_place_than_the_region_is_refused(google: Google, place: str, fits: bool) -> None:
    google.init()
    google.buckets.buckets[BUCKET]["location"] = place
    if fits:
        told = google.repository.run("invoke", "init").stderr
        assert f"bucket: gs://{BUCKET} in {place.lower()}" in told
        assert (f"Vertex AI has refused jobs whose bucket is not in {REGION} itself" in told) == (place == "EU")
    else:
        problem, hint = google.repository.fails("invoke", "init")
        assert problem == f"the bucket gs://{BUCKET} lies in {place.lower()}, the region is {REGION}"
        assert hint == f"invoke init --bucket ANOTHER-NAME, or --region {place.lower()}"


def test_a_bucket_that_is_open_is_told_with_the_command_that_closes_it(google: Google) -> None:
    google.init()
    del google.buckets.buckets[BUCKET]["iamConfiguration"]
    output = google.repository.run("invoke", "init").stderr
    command = f"gcloud storage buckets update gs://{BUCKET} --uniform-bucket-level-access --public-access-prevention"
    assert command in output


def test_a_bucket_that_was_made_while_the_answer_got_lost_is_our_own(google: Google) -> None:
    google.buckets.lose_answer = True
    google.init()
    assert "target: gcp" in edge_yaml(google)


def test_the_variable_that_wins_over_edge_yaml_is_told(google: Google) -> None:
    problem, hint = google.repository.fails("invoke", "init", "--target", "gcp", EDGE_TARGET="local")
    assert problem == "the variable EDGE_TARGET is `local` and wins over edge.yaml"
    assert hint == "unset EDGE_TARGET"


def on_a_terminal(google: Google, command: list[str], answers: list[tuple[str, str]]) -> str:
    """Run a command on a terminal; when the output ends with a question, type its answer. Returns what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=google.repository.root,
        env=google.repository.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 120
    waiting = list(answers)
    while time.monotonic() < deadline:
        try:
            data = os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
        if not data:
            break
        shown += data.decode()
        if waiting and re.search(waiting[0][0], shown.splitlines()[-1]):
            os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
    os.close(ours)
    assert process.wait(timeout=30) == 0, shown
    assert waiting == []
    return shown


def test_on_a_terminal_everything_is_asked_for_and_a_taken_bucket_again(google: Google) -> None:
    google.buckets.taken.add(f"{PROJECT}-my-project")
    shown = on_a_terminal(
        google,
        ["invoke", "init", "--target", "gcp"],
        [
            (rf"^Google Cloud project id \[{PROJECT}\]: $", ""),
            (r"^region \[us-central1\]: $", "europe-west"),
            (r"^region \[us-central1\]: $", REGION),
            (rf"\[{PROJECT}-my-project\]: $", ""),
            (rf"\[{PROJECT}-my-project\]: $", "Bad_Name!"),
            (rf"\[{PROJECT}-my-project\]: $", BUCKET),
            (r"do all this\? \[y/N\] $", "y"),
        ],
    )
    assert "`europe-west` is not a Vertex AI region" in shown
    assert f"the bucket name `{PROJECT}-my-project` is taken" in shown
    assert f'bucket_name: "{BUCKET}"' in edge_yaml(google)
    assert set(google.buckets.buckets) == {BUCKET}


def test_back_on_this_machine_nothing_of_google_is_needed(google: Google) -> None:
    google.init()
    google.change(account=None)
    google.credentials.unlink()
    try:
        google.repository.run("invoke", "init", "--target", "local")
        assert "target: local" in edge_yaml(google)
        assert ".edge/dvcstore" in google.repository.run("dvc", "remote", "list").stdout
    finally:
        google.repository.run("invoke", "local.stop")
