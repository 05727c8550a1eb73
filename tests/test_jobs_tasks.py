"""`model.train`, `model.tune` and `model.predict-batch`, as people type them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tests.forking.process import family
from tests.repositories import Repository, copy


@pytest.fixture(scope="module")
def trained(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A digits repository that was trained as a job, and not deployed."""
    repository = copy(baked["digits"], tmp_path_factory.mktemp("digits"))
    try:
        repository.run("invoke", "init")
        repository.run("dvc", "repro", "models/digits/dvc.yaml")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


def folder(repository: Repository) -> Path:
    return repository.root / "models" / "digits"


@pytest.fixture
def images(trained: Repository) -> list[list[int]]:
    """Three images, of a 7, a 6 and a 3."""
    return list(json.loads((folder(trained) / "test_payload.json").read_text())["instances"])


class TestTrain:
    def test_it_takes_parameters_and_prints_where_the_result_is(self, trained: Repository) -> None:
        result = trained.run("invoke", "model.train", "--local", "--set", "C=3.5", "--set", "gamma=0.002")
        assert result.stdout == ".edge/tries/digits/trained_model.json\n"
        record = json.loads((trained.root / result.stdout.strip()).read_text())
        assert (record["parameters"]["C"], record["parameters"]["gamma"], record["job"]) == (3.5, 0.002, None)
        assert record["data"].keys() == {"data/digits.npz"}
        trained.run("dvc", "repro", "models/digits/dvc.yaml")  # as it was

    def test_a_dry_run_lists_what_a_job_would_get_and_starts_none(self, trained: Repository) -> None:
        before = (folder(trained) / "trained_model.json").read_bytes()
        result = trained.run("invoke", "model.train", "--dry-run", "--force")
        assert "file: models/digits/train.py" in result.stderr
        assert re.search(r"data: data/digits\.npz \([0-9a-f]{32}\)", result.stderr)
        assert "submitted" not in result.stderr
        assert "tune.yaml" not in result.stderr
        assert result.stdout == ""
        assert (folder(trained) / "trained_model.json").read_bytes() == before

    def test_a_failure_is_told_once_and_is_the_exit_status(self, trained: Repository) -> None:
        result = trained.run("invoke", "model.train", "--local", "--set", "no_such_parameter=1", check=False)
        assert result.returncode == 1
        assert result.stderr.count("no_such_parameter") >= 1
        assert "Traceback" not in result.stderr
        assert trained.fails("invoke", "model.train", "--set", "C")[0] == "`C` is not a parameter with a value"

    def test_a_script_that_ends_well_without_training_is_told(self, trained: Repository) -> None:
        script = folder(trained) / "train.py"
        whole = script.read_text()
        try:
            script.write_text(whole.replace("@ex.automain", "@ex.main"))
            problem, hint = trained.fails("invoke", "model.train")
        finally:
            script.write_text(whole)
        assert problem.startswith("models/digits/train.py ended without an error, but it has not trained")
        assert "`@ex.automain`" in hint


class TestTune:
    def test_trials_are_run_told_and_compared_and_the_best_is_written(self, trained: Repository) -> None:
        parameters = folder(trained) / "params.yaml"
        before = parameters.read_text()
        result = trained.run("invoke", "model.tune", "--trials", "3", "--parallel", "3")
        header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert header == ["trial", "state", "accuracy", "C", "gamma"]
        assert [row[1] for row in rows] == ["succeeded"] * 3
        accuracies = [float(row[2]) for row in rows]
        assert accuracies == sorted(accuracies, reverse=True)
        assert parameters.read_text() == before
        assert "submitted tuning job" in result.stderr

        again = trained.run("invoke", "model.tune", "--trials", "3", "--parallel", "3", "--write")
        assert "has searched this already" in again.stderr
        assert "submitted" not in again.stderr
        assert again.stdout == result.stdout
        after = parameters.read_text()
        assert [line for line in after.splitlines() if line.startswith("#")] == [
            line for line in before.splitlines() if line.startswith("#")
        ]
        written = dict(line.split(": ") for line in after.splitlines() if line.startswith(("C:", "gamma:")))
        assert float(written["C"]) == pytest.approx(float(rows[0][3]), rel=1e-4)
        assert float(written["gamma"]) == pytest.approx(float(rows[0][4]), rel=1e-4)
        parameters.write_text(before)
        assert "didn't change" in trained.run("dvc", "repro", "models/digits/dvc.yaml").stdout

    def test_a_metric_that_is_never_given_is_named_in_the_log_of_the_trials(self, trained: Repository) -> None:
        ranges = folder(trained) / "tune.yaml"
        before = ranges.read_text()
        ranges.write_text(before.replace("metric: accuracy", "metric: acuracy"))
        problem, _ = trained.fails("invoke", "model.tune", "--trials", "1", "--parallel", "1")
        ranges.write_text(before)
        assert "ended as FAILED" in problem
        assert "acuracy" in problem
        card = json.loads((trained.root / ".edge" / "emulator" / "servers.json").read_text())
        request = {"resourceNames": ["projects/my-gcp-project"], "filter": 'resource.type="ml_job"'}
        lists = requests.get(
            f"{card['vertex_url']}/v1/projects/my-gcp-project/locations/us-central1/customJobs", timeout=30
        ).json()["customJobs"]
        job = next(job for job in lists if job["displayName"].endswith("-trial-1"))
        request["filter"] = f'resource.type="ml_job" AND resource.labels.job_id="{job["name"].rpartition("/")[2]}"'
        log = requests.post(f"{card['vertex_url']}/v2/entries:list", json=request, timeout=30).text
        assert "the training gave no metric `acuracy` of tune.yaml" in log

    def test_a_dry_run_lists_the_search_and_what_each_trial_would_get_and_starts_none(
        self, trained: Repository
    ) -> None:
        result = trained.run("invoke", "model.tune", "--dry-run", "--trials", "30", "--parallel", "5", "--force")
        told = [line.removeprefix("> ") for line in result.stderr.splitlines()]
        assert told[:3] == [
            "trials: 30, 5 at a time, to maximize `accuracy`",
            "parameter: C from 0.1 to 1000, log scale",
            "parameter: gamma from 1e-05 to 0.1, log scale",
        ]
        assert "machines: n1-standard-4" in told
        assert "file: models/digits/train.py" in result.stderr
        assert "submitted" not in result.stderr
        assert result.stdout == ""

    @pytest.mark.parametrize(("flag", "number"), [("--trials", "0"), ("--parallel", "0"), ("--trials", "1001")])
    def test_impossible_numbers_are_refused(self, trained: Repository, flag: str, number: str) -> None:
        _, hint = trained.fails("invoke", "model.tune", flag, number)
        assert hint.startswith(f"{flag} takes a number from 1 to")


@contextlib.contextmanager
def model_servers_held(repository: Repository) -> Iterator[None]:
    """Let no model answer during the block."""
    card = json.loads((repository.root / ".edge" / "emulator" / "servers.json").read_text())
    children = family(psutil.Process(card["pid"]))
    servers = [child for child in children if any(word.endswith("fork_server.py") for word in child.cmdline())]
    assert servers
    for server in servers:
        server.suspend()
    yield
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):  # that of a job ends with it
            server.resume()


class TestPredictBatch:
    def run(self, repository: Repository, source: str, output: str) -> str:
        result = repository.run("invoke", "model.predict-batch", "--input", source, "--output", output)
        assert result.stdout == f"{output}\n"
        return result.stderr

    def test_lines_of_json_and_those_that_fail(self, trained: Repository, images: list[list[int]]) -> None:
        lines = [json.dumps(image) for image in images]
        (trained.root / "in.jsonl").write_text("\n".join([lines[0], "[1, 2]", *lines[1:]]) + "\n")
        told = self.run(trained, "in.jsonl", "results/out.jsonl")
        assert "uploading 4 instances" in told
        assert "predicted 3 instances; 1 failed" in told
        results = [json.loads(line) for line in (trained.root / "results" / "out.jsonl").read_text().splitlines()]
        assert [(result["instance"], result["prediction"]) for result in results] == list(
            zip(images, [7, 6, 3], strict=True)
        )
        (failed,) = (trained.root / "results" / "out.errors.jsonl").read_text().splitlines()
        assert json.loads(failed)["instance"] == [1, 2]
        assert "expecting 64 features" in json.loads(failed)["error"]["message"]

        (trained.root / "in.jsonl").write_text("\n".join(lines))
        assert "predicted 3 instances; 0 failed" in self.run(trained, "in.jsonl", "results/out.jsonl")
        assert not (trained.root / "results" / "out.errors.jsonl").exists()

    def test_a_dry_run_checks_the_file_says_what_would_predict_it_and_starts_nothing(
        self, trained: Repository, images: list[list[int]]
    ) -> None:
        source = trained.root / "some.jsonl"
        source.write_text("".join(f"{json.dumps(image)}\n" for image in images))
        result = trained.run(
            "invoke", "model.predict-batch", "--input", "some.jsonl", "--output", "out.jsonl", "--dry-run"
        )
        told = [line.removeprefix("> ") for line in result.stderr.splitlines()]
        assert "instances: 3 of some.jsonl" in told
        assert re.search(r"version: \d+ of `digits` \(projects/", result.stderr)
        assert "machines: 1 n1-standard-2" in told
        assert "results: out.jsonl" in told
        assert (result.stdout, "submitted" in result.stderr, (trained.root / "out.jsonl").exists()) == (
            "",
            False,
            False,
        )
        source.write_text("nothing\n")
        problem, _ = trained.fails(
            "invoke", "model.predict-batch", "--input", "some.jsonl", "--output", "out.jsonl", "--dry-run"
        )
        assert problem.startswith("`some.jsonl`, line 1 is not JSON")
        for output, problem in (("models", "`models` is a folder"), ("dvc.yaml/out.csv", "`dvc.yaml` is a file")):
            refused = trained.fails("invoke", "model.predict-batch", "--input", "some.jsonl", "--output", output)
            assert refused[0] == problem

    def test_csv_in_and_out(self, trained: Repository, images: list[list[int]]) -> None:
        columns = [f"pixel {number}" for number in range(64)]
        with (trained.root / "in.csv").open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows([columns, *images])
        assert "uploading 3 instances" in self.run(trained, "in.csv", "out.csv")
        with (trained.root / "out.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file))
        assert header == [*columns, "prediction"]
        assert [row[-1] for row in rows] == ["7", "6", "3"]
        assert [[float(value) for value in row[:-1]] for row in rows] == images

    def test_the_same_again_follows_the_job_that_runs_then_takes_its_results(
        self, trained: Repository, images: list[list[int]]
    ) -> None:
        (trained.root / "many.jsonl").write_text(f"{json.dumps(images[0])}\n" * 10_000)
        command = ("invoke", "model.predict-batch", "--input", "many.jsonl", "--output", "many-out.jsonl")
        first = trained.start(*command, "--on-interrupt", "leave")
        assert first.stdout is not None
        assert any(": running" in line for line in iter(first.stdout.readline, ""))
        os.killpg(first.pid, signal.SIGINT)
        left, _ = first.communicate(timeout=60)
        assert "is still running; predict again to follow it" in left
        second = trained.run(*command).stderr
        assert re.search(r"predicts this already: following it|has predicted this already", second)
        assert "submitted" not in second
        assert len((trained.root / "many-out.jsonl").read_text().splitlines()) == 10_000
        assert "has predicted this already: taking its results" in trained.run(*command).stderr
        assert "submitted" in trained.run(*command, "--force").stderr

    def test_ctrl_c_cancels_the_job_when_it_is_to(self, trained: Repository, images: list[list[int]]) -> None:
        (trained.root / "long.jsonl").write_text(f"{json.dumps(images[1])}\n" * 50_000)
        command = ("invoke", "model.predict-batch", "--input", "long.jsonl", "--output", "long-out.jsonl")
        process = trained.start(*command, "--on-interrupt", "cancel")
        assert process.stdout is not None
        assert any(": running" in line for line in iter(process.stdout.readline, ""))
        with model_servers_held(trained):
            os.killpg(process.pid, signal.SIGINT)
            told, _ = process.communicate(timeout=120)
        assert process.returncode != 0
        assert "cancelling batch prediction job" in told
        assert ": cancelled" in told
        assert not (trained.root / "long-out.jsonl").exists()

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("x.jsonl", "[1]\n{oops\n", "`x.jsonl`, line 2 is not JSON"),
            ("x.jsonl", "\n\n", "`x.jsonl` holds no instances"),
            ("x.csv", "a,b\n", "`x.csv` holds no instances"),
            ("x.jsonl", b"\xff\xfe", "`x.jsonl` cannot be read: it is not UTF-8 text"),
            ("x.txt", "1\n", "`x.txt` is neither .jsonl nor .csv"),
            ("missing.csv", None, "`missing.csv` cannot be read: No such file or directory"),
        ],
    )
    def test_a_file_that_cannot_be_predicted_is_refused_before_anything_is_sent(
        self, trained: Repository, name: str, content: str | bytes | None, problem: str
    ) -> None:
        if content is not None:
            (trained.root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        told, _ = trained.fails("invoke", "model.predict-batch", "--input", name, "--output", "out.jsonl")
        assert told.startswith(problem)

    def test_after_a_kill_of_the_servers_the_hint_is_to_predict_again(self, trained: Repository) -> None:
        payload = json.loads((folder(trained) / "test_payload.json").read_text())["instances"]
        (trained.root / "many.jsonl").write_text("".join(f"{json.dumps(image)}\n" for image in payload * 20_000))
        task = ("invoke", "model.predict-batch", "--input", "many.jsonl", "--output", "many-out.jsonl")
        process = trained.start(*task)
        told = ""
        while "running" not in told:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, told
            told += line
        card = json.loads((trained.root / ".edge" / "emulator" / "servers.json").read_text())
        psutil.Process(card["pid"]).kill()
        told, _ = process.communicate(timeout=120)
        assert "ended as FAILED: The emulator was stopped while the job ran." in told
        assert told.rstrip().endswith("hint: it was not the predictions that failed: predict again")
        assert "60000 instances; 0 failed" in trained.run(*task).stderr

    def test_a_job_of_which_everything_fails_writes_nothing(self, trained: Repository) -> None:
        (trained.root / "bad.jsonl").write_text("[1]\n[2]\n")
        problem, _ = trained.fails("invoke", "model.predict-batch", "--input", "bad.jsonl", "--output", "bad-out.jsonl")
        assert "ended as FAILED" in problem
        assert "All of the 2 instances" in problem
        assert not (trained.root / "bad-out.jsonl").exists()


def test_a_model_that_nobody_registered_cannot_predict_a_file(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    (hello_world.root / "in.jsonl").write_text("[1]\n")
    problem, hint = hello_world.fails("invoke", "model.predict-batch", "--input", "in.jsonl", "--output", "o.jsonl")
    assert problem == "no version of `hello-world` is in the registry"
    assert hint == "train it as a job, or invoke model.deploy --name hello-world"
