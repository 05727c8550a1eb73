"""The whole loop with target gcp: on stand-ins by default, on Google Cloud itself with `-m google_cloud`.

    EDGE_TEST_PROJECT=... EDGE_TEST_REGION=... EDGE_TEST_BUCKET=... pytest -n 0 -m google_cloud tests/google_cloud

That makes the bucket (its name must be free), trains, deploys twice, and removes everything again. It takes about an
hour and costs about as much as two n1-standard-2 machines for that time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from tests.google_cloud.conftest import BUCKET, PROJECT, REGION, Google
from tests.repositories import Repository, copy

# Google takes minutes for each deployment.
pytestmark = pytest.mark.timeout(7200)


@dataclass(frozen=True)
class Place:
    """A repository, and where on Google Cloud it is to work."""

    repository: Repository
    project: str
    region: str
    bucket: str


@pytest.fixture(params=["stand-ins", pytest.param("google", marks=pytest.mark.google_cloud)])
def place(request: pytest.FixtureRequest, baked: dict[str, Path], tmp_path: Path) -> Iterator[Place]:
    """Google Cloud, or what stands for it; all that was made is removed afterwards."""
    if request.param == "stand-ins":
        google: Google = request.getfixturevalue("google")
        yield Place(google.repository, PROJECT, REGION, BUCKET)
        google.buckets.buckets.clear()
        return
    names = ("EDGE_TEST_PROJECT", "EDGE_TEST_REGION", "EDGE_TEST_BUCKET")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        pytest.fail(f"set {', '.join(missing)}", pytrace=False)
    repository = copy(baked["hello-world"], tmp_path)
    # The user's own account and credentials lie in their home.
    repository = replace(repository, environment={**repository.environment, "HOME": os.environ["HOME"]}, limit=3600)
    place = Place(repository, *(os.environ[name] for name in names))
    try:
        yield place
    finally:
        repository.run("invoke", "teardown", "--bucket", "--yes", check=False)


def test_from_an_empty_project_to_predictions_and_back(place: Place) -> None:
    run = place.repository.run
    flags = ["--target", "gcp", "--project", place.project, "--region", place.region, "--bucket", place.bucket]
    run("invoke", "init", *flags, "--yes")
    assert {row["state"] for row in json.loads(run("invoke", "doctor", "--json").stdout)} <= {"ok", "warning"}

    run("python", "models/hello-world/train.py", "with", "is_vertex=True")
    run("invoke", "model.deploy")
    answer = json.loads(run("invoke", "model.predict").stdout)
    assert answer["modelVersionId"] == "1"

    # The second version is trained on this machine, and gets 10 % before it gets all.
    run("python", "models/hello-world/train.py", "with", "is_vertex=False", "strategy=uniform", "publish=True")
    run("invoke", "model.deploy", "--traffic", "10")
    serving = yaml.safe_load(run("invoke", "model.why").stdout)["serving"]
    assert [(item["version"], item["traffic"]) for item in serving] == [("1", 90), ("2", 10)]
    assert [bool(item["job"]) for item in serving] == [True, False]
    run("invoke", "model.promote")
    run("invoke", "model.rollback")
    assert json.loads(run("invoke", "model.predict").stdout)["modelVersionId"] == "1"

    run("invoke", "teardown", "--bucket", "--yes")
    assert "there is nothing to remove" in run("invoke", "teardown", "--yes").stderr


def test_a_model_that_was_trained_on_this_machine_is_deployed_there_not_trained_again(place: Place) -> None:
    run = place.repository.run
    flags = ["--target", "gcp", "--project", place.project, "--region", place.region, "--bucket", place.bucket]
    run("python", "models/hello-world/train.py", "with", "is_vertex=False")
    trained = json.loads((place.repository.root / "models/hello-world/trained_model.json").read_text())
    assert trained["target"] == "local"
    run("invoke", "init", *flags, "--yes")
    assert "> upload the artifact to the registry" in run("invoke", "model.deploy").stderr
    serving = yaml.safe_load(run("invoke", "model.why").stdout)["serving"][0]
    assert (serving["run_id"], serving["commit"]) == (trained["run_id"], trained["commit"])
    run("invoke", "teardown", "--yes")
