"""A model that no prebuilt image can serve, through the whole loop: trained as a job, deployed, asked."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.repositories import Repository, copy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tabular(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """The example `tabular`: trained as a job, and deployed."""
    repository = copy(baked["tabular"], tmp_path_factory.mktemp("tabular"))
    try:
        repository.run("invoke", "init")
        repository.run("dvc", "repro", "models/tabular/dvc.yaml")
        repository.run("invoke", "model.deploy")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


def ask(repository: Repository, *instances: Any, **parameters: Any) -> list[Any]:
    body = repository.root / "body.json"
    body.write_text(json.dumps({"instances": instances, **({"parameters": parameters} if parameters else {})}))
    answer = json.loads(repository.run("invoke", "model.predict", "--file", str(body)).stdout)
    return list(answer["predictions"])


def described(repository: Repository) -> dict[str, Any]:
    return dict(yaml.safe_load(repository.run("invoke", "model.describe").stdout))


LIKELY = {"age": 24, "city": "Leeds", "plan": "basic", "monthly_fee": 48.5, "calls": 6, "months": 2}


def test_a_pipeline_over_column_names_answers_with_probabilities(tabular: Repository) -> None:
    first, second, third = json.loads(tabular.run("./test_endpoint.sh").stdout)["predictions"]
    assert first["probabilities"]["yes"] > 0.8 > 0.3 > second["probabilities"]["yes"]
    assert (first["prediction"], second["prediction"]) == ("yes", "no")
    assert set(third["probabilities"]) == {"no", "yes"}


def test_words_that_were_never_seen_and_lists_are_answered(tabular: Repository) -> None:
    whole, as_list = ask(tabular, {**LIKELY, "city": "Atlantis"}, [24, 48.5, 6, 2, "Atlantis", "basic"])
    assert whole == as_list


def test_a_request_may_ask_for_another_method(tabular: Repository) -> None:
    assert ask(tabular, LIKELY, method="predict") == ["yes"]


def test_a_wrong_request_is_answered_with_the_name_of_the_column(tabular: Repository) -> None:
    body = tabular.root / "body.json"
    body.write_text(json.dumps({"instances": [{**LIKELY, "calls": "six"}]}))
    problem, _ = tabular.fails("invoke", "model.predict", "--file", str(body))
    assert 'instance 0: column `calls` is the text "six", not an integer' in problem


def test_describe_shows_the_signature_and_what_serves_and_why(tabular: Repository) -> None:
    description = described(tabular)
    assert description["signature"]["columns"]["city"] == "string (Bristol, Leeds, London, York) optional"
    assert description["signature"]["output"]["classes"] == ["no", "yes"]
    assert description["served by"]["kind"] == "predictor"
    assert "predict_proba" in description["served by"]["why"]


def test_the_dry_run_says_what_serves_and_why(tabular: Repository) -> None:
    told = tabular.run("invoke", "model.deploy", "--dry-run").stderr
    assert "would serve it by the predictor (us-central1-docker.pkg.dev/my-gcp-project/edge-serving/predictor:" in told


def test_a_batch_prediction_takes_what_pandas_writes(tabular: Repository) -> None:
    # Columns in another order, one more of them, words without quotes, empty cells.
    table = pd.DataFrame([{"id": "a-1", **LIKELY}, {"id": "a-2", **LIKELY, "city": None, "age": None}])
    table[["plan", "id", "city", "age", "calls", "months", "monthly_fee"]].to_csv(tabular.root / "in.csv", index=False)
    tabular.run("invoke", "model.predict-batch", "--input", "in.csv", "--output", "out.csv")
    rows = pd.read_csv(tabular.root / "out.csv")
    assert sorted(rows["id"]) == ["a-1", "a-2"]
    assert set(rows["prediction"]) == {"yes"}
    assert list(rows["probabilities_no"] + rows["probabilities_yes"]) == pytest.approx([1, 1])
    (tabular.root / "in.csv").write_text("age,city,plan,monthly_fee,calls,months\n20,York,basic,5,many,3\n")
    problem, _ = tabular.fails("invoke", "model.predict-batch", "--input", "in.csv", "--output", "out.csv")
    assert problem == "`in.csv`, line 2: column `calls` is `many`, not an integer"
    (tabular.root / "in.csv").write_text("age,city\n20,York\n")
    problem, _ = tabular.fails("invoke", "model.predict-batch", "--input", "in.csv", "--output", "out.csv")
    assert problem == "`in.csv` has no column `calls`"


def test_another_variable_for_the_server_is_another_version(tabular: Repository) -> None:
    before = json.loads(tabular.run("./test_endpoint.sh").stdout)["modelVersionId"]
    path = tabular.root / "edge.yaml"
    text = path.read_text()
    try:
        path.write_text(
            text.replace("    serving_machine_type", "    serving_env: {WORD: '1'}\n    serving_machine_type")
        )
        tabular.run("invoke", "model.deploy")
        assert json.loads(tabular.run("./test_endpoint.sh").stdout)["modelVersionId"] != before
        assert "serves already" in tabular.run("invoke", "model.deploy").stderr
    finally:
        path.write_text(text)
    # The version of before is still in the registry.
    tabular.run("invoke", "model.deploy")
    assert json.loads(tabular.run("./test_endpoint.sh").stdout)["modelVersionId"] == before


def deployed_resources(repository: Repository) -> list[dict[str, Any]]:
    """Return what the endpoint says of the machines of its models."""
    name = repository.run("invoke", "model.get-endpoint", "--url").stdout.strip().removesuffix(":predict")
    with urllib.request.urlopen(name) as response:
        return [model["dedicatedResources"] for model in json.load(response)["deployedModels"]]


def change(repository: Repository, old: str, new: str) -> None:
    path = repository.root / "edge.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_changed_replicas_are_changed_in_place_and_a_changed_machine_is_another_deployment(tabular: Repository) -> None:
    before = json.loads(tabular.run("./test_endpoint.sh").stdout)["deployedModelId"]
    change(tabular, "max_replica_count: 1", "max_replica_count: 3")
    try:
        told = tabular.run("invoke", "model.deploy", "--dry-run").stderr
        assert "would change max replica count (1 -> 3) of version" in told
        assert "serves already" not in tabular.run("invoke", "model.deploy").stderr
        (resources,) = deployed_resources(tabular)
        assert resources["maxReplicaCount"] == 3
        assert json.loads(tabular.run("./test_endpoint.sh").stdout)["deployedModelId"] == before

        change(tabular, "serving_machine_type: n1-standard-2", "serving_machine_type: n1-standard-4")
        told = tabular.run("invoke", "model.deploy", "--dry-run").stderr
        assert "again, for another machine type (n1-standard-2 -> n1-standard-4), on n1-standard-4" in told
        tabular.run("invoke", "model.deploy")
        (resources,) = deployed_resources(tabular)
        assert resources["machineSpec"]["machineType"] == "n1-standard-4"
        assert json.loads(tabular.run("./test_endpoint.sh").stdout)["deployedModelId"] != before
        assert "serves already" in tabular.run("invoke", "model.deploy").stderr
    finally:
        change(tabular, "max_replica_count: 3", "max_replica_count: 1")


def test_the_model_is_watched_against_its_own_training(tabular: Repository) -> None:
    folder = tabular.root / "models" / "tabular" / "model"
    baseline = json.loads((folder / "baseline.json").read_text())
    assert {*LIKELY, "prediction.prediction", "prediction.probabilities.yes"} <= baseline["columns"].keys()
    assert "Leeds" in baseline["columns"]["city"]["categories"]
    assert baseline["data"] == json.loads((folder.parent / "trained_model.json").read_text())["data"]
    tabular.run("invoke", "model.monitor", "--on")
    rows = pd.read_csv(tabular.root / "data" / "tabular.csv").sample(600, random_state=1)
    rows = json.loads(rows[list(LIKELY)].to_json(orient="records"))
    ask(tabular, *rows[:300])
    calm = eventually_watched(tabular, 300)
    assert (calm["changed"], calm["against"]) == ([], "its training")
    ask(tabular, *({**row, "monthly_fee": (row["monthly_fee"] or 0) + 15} for row in rows[300:]))
    alarm = eventually_watched(tabular, 600)
    assert "monthly_fee" in alarm["changed"]
    assert "age" not in alarm["changed"]


def eventually_watched(repository: Repository, requests: int) -> dict[str, Any]:
    """What was asked is there to read after a second."""
    for _ in range(20):
        done = repository.run("invoke", "model.monitor", "--json", check=False)
        found: dict[str, Any] = json.loads(done.stdout or "{}")
        if found.get("requests") == requests:
            assert done.returncode == (1 if found["changed"] else 0)
            return found
    raise AssertionError(done.stdout + done.stderr)


def test_a_version_is_deployed_whose_artifact_is_only_in_the_bucket(tabular: Repository) -> None:
    """As in CI, or after `git pull`: the registry has the model, this machine does not."""
    artifact = tabular.root / "models" / "tabular" / "model"
    aside = artifact.rename(tabular.root / "aside")
    try:
        assert described(tabular)["served by"]["kind"] == "predictor"
        tabular.run("invoke", "model.undeploy")
        tabular.run("invoke", "model.deploy")
        assert ask(tabular, LIKELY)[0]["prediction"] == "yes"
    finally:
        aside.rename(artifact)
