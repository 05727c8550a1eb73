"""The whole loop on one machine, by the commands that a user types, through the real clients and the real DVC."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.repositories import Repository


def trained(repository: Repository, model: str) -> dict[str, Any]:
    return dict(json.loads((repository.root / "models" / model / "trained_model.json").read_text()))


def state(repository: Repository) -> dict[str, Any]:
    return dict(yaml.safe_load(repository.run("invoke", "state.show").stdout))


class TestDigits:
    """One repository that was trained as a job and deployed; the tests look at what that left."""

    def test_the_model_in_the_registry_tells_where_it_comes_from(self, digits: Repository) -> None:
        record = trained(digits, "digits")
        commit = digits.run("git", "rev-parse", "HEAD").stdout.strip()
        assert record["model"].endswith("@1")
        assert "/customJobs/" in record["job"]
        assert record["commit"] == commit
        assert record["labels"]["edge-commit"] == commit[:12]
        assert record["labels"]["edge-run"] == record["run_id"]
        assert record["data"].keys() == {"data/digits.npz"}
        assert record["environment"]["scikit-learn"] == "1.6.1"

    def test_the_classifier_is_a_real_one(self, digits: Repository) -> None:
        assert json.loads((digits.root / "models/digits/metrics.json").read_text())["accuracy"] >= 0.95

    def test_the_endpoint_names_the_classes_of_three_real_images(self, digits: Repository) -> None:
        answer = json.loads(digits.run("./test_endpoint.sh").stdout)
        assert answer["predictions"] == [7, 6, 3]
        assert answer["modelVersionId"] == "1"
        assert answer["deployedModelId"]

    def test_predict_gives_the_same_answer_through_the_task(self, digits: Repository) -> None:
        payload = digits.root / "models" / "digits" / "test_payload.json"
        answer = json.loads(digits.run("invoke", "model.predict", "--file", str(payload)).stdout)
        assert answer["predictions"] == [7, 6, 3]

    def test_get_endpoint_prints_the_name_alone(self, digits: Repository) -> None:
        name = digits.run("invoke", "model.get-endpoint").stdout
        assert re.fullmatch(r"projects/\d{12}/locations/us-central1/endpoints/\d+\n", name)
        url = digits.run("invoke", "model.get-endpoint", "--url").stdout
        assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/v1/{name.strip()}:predict\n", url)

    def test_a_second_repro_does_nothing(self, digits: Repository) -> None:
        assert "didn't change, skipping" in digits.run("dvc", "repro", "models/digits/dvc.yaml").stdout
        assert trained(digits, "digits")["model"].endswith("@1")

    def test_deploying_again_changes_nothing(self, digits: Repository) -> None:
        before = state(digits)
        assert "serves already" in digits.run("invoke", "model.deploy").stderr
        assert state(digits) == before

    def test_init_again_changes_nothing(self, digits: Repository) -> None:
        config = (digits.root / "edge.yaml").read_bytes(), (digits.root / ".dvc" / "config").read_bytes()
        before = state(digits)
        result = digits.run("invoke", "init").stderr
        assert "made" not in result
        assert state(digits) == before
        assert config == ((digits.root / "edge.yaml").read_bytes(), (digits.root / ".dvc" / "config").read_bytes())

    def test_dvcs_own_commands_work_on_the_result(self, digits: Repository) -> None:
        metrics = json.loads(digits.run("dvc", "metrics", "show", "--json").stdout)
        assert metrics[""]["data"]["models/digits/metrics.json"]["data"]["accuracy"] >= 0.95
        digits.run("dvc", "params", "diff", "--all")
        digits.run("dvc", "plots", "show")
        assert (digits.root / "dvc_plots" / "index.html").is_file()

    def test_the_data_are_in_the_remote_without_any_server(self, digits: Repository) -> None:
        md5 = trained(digits, "digits")["data"]["data/digits.npz"]
        assert (digits.root / ".edge" / "dvcstore" / "files" / "md5" / md5[:2] / md5[2:]).is_file()

    def test_the_root_pipeline_writes_the_report(self, digits: Repository) -> None:
        digits.run("dvc", "repro")
        report = (digits.root / "report.md").read_text()
        assert "## digits" in report
        assert "accuracy" in report

    def test_list_and_describe_say_what_serves(self, digits: Repository) -> None:
        rows = [line.split("\t") for line in digits.run("invoke", "model.list").stdout.splitlines()]
        assert dict(zip(*rows, strict=True))["serves"] == "1 (100 %)"
        description = yaml.safe_load(digits.run("invoke", "model.describe").stdout)
        assert description["endpoint"]["traffic"] == {description["deployed"]["deployed_model_id"]: 100}
        assert description["deployed"]["run_id"] == trained(digits, "digits")["run_id"]

    def test_what_runs_is_told_in_hours_and_a_job_in_those_of_its_machines(self, digits: Repository) -> None:
        (one,) = json.loads(digits.run("invoke", "cost.status", "--json").stdout)
        assert (one["model"], one["kind"], one["name"], one["machines"]) == (
            "digits",
            "version",
            "1",
            ["1 n1-standard-2"],
        )
        assert one["requests_24h"] >= 1  # the trial before it got the requests
        assert (one["use"], one["a_day"], one["so_far"]) == ("asked", None, None)  # nobody fetched prices
        (job,) = json.loads(digits.run("invoke", "jobs.list", "--json").stdout)
        assert (job["machines"], job["cost"]) == (["1 n1-standard-4"], None)
        assert 0 < job["hours"] < 1
        told = digits.run("invoke", "teardown", "--dry-run").stderr
        assert re.search(r"`digits` version 1 has run for \d+\.\d hours on 1 n1-standard-2$", told, re.MULTILINE)
        assert (
            "nothing is to be taken off" in digits.run("invoke", "model.undeploy", "--expired", "--idle", "24h").stderr
        )

    def test_env_leads_an_unmodified_program_to_the_servers(self, digits: Repository) -> None:
        program = (
            "from google.cloud import aiplatform, storage; aiplatform.init(project='my-gcp-project');"
            "print(len(aiplatform.Endpoint.list()), len(list(storage.Client().list_buckets())))"
        )
        shell = f'eval "$(invoke local.env)"; exec python -c "{program}"'
        assert digits.run("bash", "-c", shell).stdout.splitlines()[-1] == "1 1"

    def test_env_gives_credentials_to_a_program_that_cannot_do_without(self, digits: Repository) -> None:
        """Such as https://github.com/apache/airflow/issues/35755."""
        program = (
            "import google.auth; from google.auth.transport.requests import Request;"
            "credentials, project = google.auth.default(scopes=['https://www.googleapis.com/auth/cloud-platform']);"
            "credentials.refresh(Request()); print(project, bool(credentials.token), credentials.valid)"
        )
        shell = f'eval "$(invoke local.env)"; exec python -c "{program}"'
        assert digits.run("bash", "-c", shell).stdout.splitlines()[-1] == "my-gcp-project True True"

    def test_the_repositorys_own_tests_pass(self, digits: Repository) -> None:
        digits.run("python", "-m", "pytest", "-q", "models")

    def test_the_wheel_of_a_second_model_is_the_same_template(self, digits: Repository) -> None:
        digits.run("invoke", "model.init", "second", "--example", "hello-world")
        assert digits.run("invoke", "config.get", "models.second.endpoint_name").stdout == "second-endpoint\n"
        stages = yaml.safe_load((digits.root / "dvc.yaml").read_text())["stages"]
        assert "models/second/metrics.json" in stages["report"]["deps"]
        digits.run("dvc", "repro")
        assert "## second" in (digits.root / "report.md").read_text()
        problem, hint = digits.fails("invoke", "model.deploy")
        assert problem == "there are several models: `digits`, `second`"
        assert hint == "add `--name NAME`"
        assert json.loads(digits.run("./test_endpoint.sh", "digits").stdout)["predictions"] == [7, 6, 3]


def test_a_new_version_takes_over_and_the_old_one_goes(hello_world: Repository) -> None:
    hello_world.set_parameter("hello-world", "is_vertex", "false")
    hello_world.run("invoke", "init")
    hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml")
    assert trained(hello_world, "hello-world")["model"] is None
    hello_world.run("invoke", "model.deploy")
    first = json.loads(hello_world.run("./test_endpoint.sh").stdout)

    hello_world.set_parameter("hello-world", "strategy", "uniform")
    assert "models/hello-world/dvc.yaml:train" in hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml").stdout
    hello_world.run("invoke", "model.deploy")
    second = json.loads(hello_world.run("./test_endpoint.sh").stdout)
    assert (first["modelVersionId"], second["modelVersionId"]) == ("1", "2")
    description = yaml.safe_load(hello_world.run("invoke", "model.describe").stdout)
    assert len(description["endpoint"]["deployed"]) == 1
    assert [item["model"].rpartition("@")[2] for item in description["history"]] == ["1", "2"]

    assert "is no longer deployed" in hello_world.run("invoke", "model.undeploy").stderr
    problem, hint = hello_world.fails("invoke", "model.get-endpoint")
    assert (problem, hint) == ("the model `hello-world` is not deployed", "invoke model.deploy --name hello-world")
    assert "was not deployed" in hello_world.run("invoke", "model.undeploy").stderr

    problem, hint = hello_world.fails("invoke", "model.remove")
    assert (problem, hint) == ("nothing was removed", "add `--yes` to remove without being asked")
    hello_world.run("invoke", "model.remove", "--yes")
    assert state(hello_world)["models"] == {}
    hello_world.run("invoke", "model.remove", "--yes")


def test_faults_are_asked_for_listed_and_removed(hello_world: Repository) -> None:
    asked = ["--rpc", "DeployModel", "--error", "RESOURCE_EXHAUSTED", "--rate", "0.3", "--delay", "20s"]
    assert hello_world.run("invoke", "local.chaos", *asked).stdout.split()[-5:] == [
        *("DeployModel", "RESOURCE_EXHAUSTED", "0.3"),
        *("20", "s"),
    ]
    assert "DeployModel" in hello_world.run("invoke", "local.chaos").stdout
    problem, hint = hello_world.fails("invoke", "local.chaos", "--rpc", "Nope", "--error", "INTERNAL")
    assert (problem, hint) == (
        "'Nope' is not an RPC of Vertex AI that is emulated, such as DeployModel or Predict.",
        "invoke local.parity",
    )
    hello_world.run("invoke", "local.chaos", "--off")
    assert "DeployModel" not in hello_world.run("invoke", "local.chaos").stdout


def test_what_the_servers_have_stored_is_saved_and_loaded(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("invoke", "local.save", "begun")
    assert hello_world.fails("invoke", "local.save", "begun") == (
        "there is a snapshot `begun` already",
        "invoke local.save begun --replace",
    )
    before = state(hello_world)
    hello_world.run("invoke", "local.reset", "--yes")
    assert hello_world.fails("invoke", "local.load", "begun")[0] == "nothing was loaded"
    hello_world.run("invoke", "local.load", "begun", "--yes")
    assert state(hello_world) == before
    assert hello_world.fails("invoke", "local.load", "other") == ("there is no snapshot `other`", "saved: begun")
    assert hello_world.fails("invoke", "local.load", "../begun", "--yes")[0] == "`../begun` cannot name a snapshot"


def test_a_recorded_session_is_compared_with_the_servers(hello_world: Repository) -> None:
    answer = {"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}
    asked = {"method": "GET", "path": "/v1/projects/p/locations/l/endpoints/1", "query": "", "request": None}
    (hello_world.root / "session.jsonl").write_text(json.dumps({**asked, "status": 404, "response": answer}) + "\n")
    compared = hello_world.run("invoke", "local.replay", "session.jsonl", check=False)
    assert (compared.returncode, compared.stderr.splitlines()[-1]) == (1, "> 1 requests, 1 answered differently")
    assert "error.message: 'gone' of Vertex AI" in compared.stdout
    as_json = json.loads(hello_world.run("invoke", "local.replay", "session.jsonl", "--json", check=False).stdout)
    (different,) = as_json["different"]
    assert (as_json["requests"], different["request"], different["path"]) == (1, 1, asked["path"])
    assert different["differences"] == [line.partition(": ")[2] for line in compared.stdout.splitlines()]
    assert hello_world.fails("invoke", "local.replay", "session.jsonl", "--set", "x")[0] == "--set x is not NAME=VALUE"
    assert "File exists" in hello_world.fails("invoke", "local.record", "session.jsonl")[0]


def test_the_servers_keep_what_they_have_when_they_are_stopped_or_killed(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("python", "models/hello-world/train.py")
    hello_world.run("invoke", "model.deploy")
    before = json.loads(hello_world.run("./test_endpoint.sh").stdout)
    hello_world.run("invoke", "local.stop")
    assert hello_world.fails("invoke", "local.status") == ("the local servers do not run", "invoke local.start")
    assert json.loads(hello_world.run("./test_endpoint.sh").stdout) == before

    card = json.loads((hello_world.root / ".edge" / "emulator" / "servers.json").read_text())
    psutil.Process(card["pid"]).kill()
    assert json.loads(hello_world.run("./test_endpoint.sh").stdout) == before


def processes_of(repository: Repository) -> list[psutil.Process]:
    """Return every process that was started for this repository: they all name its folder, or work in it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline()) + process.cwd()
        except psutil.Error:
            continue
        if str(repository.root) in words:
            found.append(process)
    return found


def test_stop_leaves_no_process(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("python", "models/hello-world/train.py")
    hello_world.run("invoke", "model.deploy")
    assert len(processes_of(hello_world)) >= 3
    hello_world.run("invoke", "local.stop")
    assert processes_of(hello_world) == []
    assert "did not run" in hello_world.run("invoke", "local.stop").stderr


SLOW_TRAINING = """
import pathlib, time
pathlib.Path("{mark}").write_text("started")
print("sleeping", flush=True)
time.sleep(600)
"""


def test_ctrl_c_during_a_training_job_cancels_it_and_saves_nothing(hello_world: Repository, tmp_path: Path) -> None:
    hello_world.run("invoke", "init")
    mark = tmp_path / "mark"
    train = hello_world.root / "models" / "hello-world" / "train.py"
    text = train.read_text()
    body = SLOW_TRAINING.format(mark=mark).strip().replace("\n", "\n    ")
    train.write_text(text.replace("    X = np.array", f"    {body}\n    X = np.array"))
    process = hello_world.start("dvc", "repro", "models/hello-world/dvc.yaml")
    wait_for(mark.exists)
    send_ctrl_c(process)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "cancelling training job" in output
    assert ": cancelled" in output
    assert "Traceback" not in output
    assert not (hello_world.root / "models/hello-world/trained_model.json").exists()
    assert not (hello_world.root / "models/hello-world/model").exists()
    jobs = [
        process for process in processes_of(hello_world) if "edge_tasks.training.job" in " ".join(process.cmdline())
    ]
    assert jobs == []

    train.write_text(text)
    hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml")
    assert trained(hello_world, "hello-world")["model"].endswith("@1")


HANG = """
class Hang:
    def __reduce__(self):
        code = "import pathlib, time; pathlib.Path('{mark}.loading').touch();"
        return exec, (code + "time.sleep(600 if pathlib.Path('{mark}').exists() else 0)",)


"""


def test_ctrl_c_during_deploy_leaves_the_old_version_serving(hello_world: Repository, tmp_path: Path) -> None:
    hello_world.set_parameter("hello-world", "is_vertex", "false")
    hello_world.run("invoke", "init")
    hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml")
    hello_world.run("invoke", "model.deploy")
    before = state(hello_world)

    # An artifact whose loading hangs while `mark` exists.
    mark = tmp_path / "mark"
    train = hello_world.root / "models" / "hello-world" / "train.py"
    text = train.read_text().replace("_config, state =", HANG.format(mark=mark) + "_config, state =")
    train.write_text(text.replace("    save_results(", "    dummy_clf.hang_ = Hang()\n    save_results("))
    hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml")
    mark.write_text("")
    process = hello_world.start("invoke", "model.deploy")
    wait_for(lambda: (tmp_path / "mark.loading").exists())
    send_ctrl_c(process)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert state(hello_world) == before
    assert json.loads(hello_world.run("./test_endpoint.sh").stdout)["modelVersionId"] == "1"
    description = yaml.safe_load(hello_world.run("invoke", "model.describe").stdout)
    assert len(description["endpoint"]["deployed"]) == 1

    mark.unlink()
    hello_world.run("invoke", "model.deploy")
    assert json.loads(hello_world.run("./test_endpoint.sh").stdout)["modelVersionId"] == "2"


def wait_for(condition: Any, limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def send_ctrl_c(process: Any) -> None:
    """Send SIGINT to the command's whole process group, as a terminal does."""
    import os

    os.killpg(process.pid, signal.SIGINT)


def test_two_repositories_side_by_side_do_not_disturb_each_other(digits: Repository, hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("python", "models/hello-world/train.py")
    hello_world.run("invoke", "model.deploy")
    mine, other = (
        json.loads((repository.root / ".edge" / "emulator" / "servers.json").read_text())
        for repository in (hello_world, digits)
    )
    assert len({mine["vertex_url"], mine["storage_url"], other["vertex_url"], other["storage_url"]}) == 4
    hello_world.run("invoke", "local.stop")
    assert json.loads(digits.run("./test_endpoint.sh", "digits").stdout)["predictions"] == [7, 6, 3]


def test_the_address_answers_a_program_that_knows_only_http(digits: Repository) -> None:
    url = digits.run("invoke", "model.get-endpoint", "--name", "digits", "--url").stdout.strip()
    body = (digits.root / "models" / "digits" / "test_payload.json").read_bytes()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["predictions"] == [7, 6, 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_in_process_that_is_ended_changes_nothing(
    hello_world: Repository, tmp_path: Path, number: signal.Signals
) -> None:
    hello_world.run("python", "models/hello-world/train.py")
    before = trained(hello_world, "hello-world")
    train = hello_world.root / "models" / "hello-world" / "train.py"
    body = SLOW_TRAINING.format(mark=tmp_path / "mark").strip().replace("\n", "\n    ")
    train.write_text(train.read_text().replace("    X = np.array", f"    {body}\n    X = np.array"))
    process = hello_world.start("python", str(train))
    wait_for((tmp_path / "mark").exists)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted: the training was ended; nothing was changed" in output
    assert "Traceback" not in output
    assert trained(hello_world, "hello-world") == before
    left = (hello_world.root / ".edge" / "training").iterdir()
    assert [path for path in left if path.suffix != ".lock"] == []
