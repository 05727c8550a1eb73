"""The example fashion-mnist as a user runs it: on made-up data always, on the real ones where they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.fashion_mnist import MODEL, lead_to, use_made_up_data, write_data
from tests.needs import FASHION_MNIST
from tests.repositories import Repository, copy

PIPELINE = f"{MODEL}/dvc.yaml"
UNCHANGED = "Stage 'models/fashion-mnist/dvc.yaml:{}' didn't change, skipping"


def read(repository: Repository, name: str) -> dict[str, Any]:
    return dict(json.loads((repository.root / MODEL / name).read_text()))


@pytest.fixture(scope="module")
def made_up(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("fashion")
    repository = copy(baked["fashion-mnist"], folder)
    use_made_up_data(repository, folder / "source")
    try:
        repository.run("invoke", "init")
        repository.set_parameter("fashion-mnist", "components", "20")
        repository.run("dvc", "repro", PIPELINE)
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


@pytest.fixture(scope="module")
def real(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    repository = copy(baked["fashion-mnist"], tmp_path_factory.mktemp("fashion"))
    lead_to(repository, FASHION_MNIST)
    try:
        repository.run("invoke", "init")
        repository.run("dvc", "repro", PIPELINE)  # 45 s on two cores that do nothing else
        repository.run("invoke", "model.deploy")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


class TestMadeUpData:
    def test_the_job_trains_a_classifier(self, made_up: Repository) -> None:
        assert read(made_up, "metrics.json")["accuracy"] >= 0.95
        assert read(made_up, "trained_model.json")["data"].keys() == {"data/fashion-mnist.npz"}

    def test_the_data_are_tracked_by_dvc_and_never_seen_by_git(self, made_up: Repository) -> None:
        made_up.run("git", "add", "--all")
        staged = made_up.run("git", "diff", "--cached", "--name-only").stdout.splitlines()
        assert f"{MODEL}/dvc.lock" in staged
        assert not [name for name in staged if name.startswith("data/")]
        outs = yaml.safe_load((made_up.root / MODEL / "dvc.lock").read_text())["stages"]["get-data"]["outs"]
        assert [(out["path"], out["nfiles"]) for out in outs] == [("../../data/fashion-mnist", 4)]
        made_up.run("dvc", "push")
        assert "in sync" in made_up.run("dvc", "status", "--cloud").stdout

    def test_other_packing_of_the_same_data_trains_nothing(self, made_up: Repository, tmp_path: Path) -> None:
        write_data(tmp_path / "unpacked", packed=False)
        lead_to(made_up, tmp_path / "unpacked")
        output = made_up.run("dvc", "repro", PIPELINE).stdout
        assert "Running stage 'models/fashion-mnist/dvc.yaml:get-data'" in output
        assert UNCHANGED.format("prepare") in output
        assert UNCHANGED.format("train") in output

    def test_a_source_that_is_gone_is_not_asked_for_what_is_there(self, made_up: Repository) -> None:
        lead_to(made_up, "http://127.0.0.1:9/nothing-listens-here")
        assert UNCHANGED.format("train") in made_up.run("dvc", "repro", PIPELINE).stdout

    def test_without_network_the_message_names_the_way_out(self, made_up: Repository, tmp_path: Path) -> None:
        fresh = copy(made_up.root, tmp_path)
        lead_to(fresh, "http://127.0.0.1:9/nothing-listens-here")
        for path in (fresh.root / "data" / "fashion-mnist").iterdir():
            path.unlink()
        result = fresh.run("python", f"{MODEL}/get_data.py", check=False)
        assert result.returncode == 1
        _, _, message = result.stderr.rpartition("error: ")
        problem, _, hint = message.partition("\n\nhint: ")
        assert problem.startswith("cannot download http://127.0.0.1:9/nothing-listens-here/")
        assert "/usr/share/datasets/fashion-mnist" in hint
        assert "models/fashion-mnist/data.yaml" in hint
        assert "Traceback" not in result.stderr

    def test_it_trains_in_the_process_too(self, made_up: Repository) -> None:
        before = read(made_up, "trained_model.json")
        script = made_up.root / MODEL / "train.py"
        parameters = made_up.root / MODEL / "params.yaml"
        made_up.run("python", str(script), "with", str(parameters), "is_vertex=False")
        after = read(made_up, "trained_model.json")
        assert after["run_id"] != before["run_id"]
        assert after["data"] == before["data"]

    def test_its_ranges_are_searched(self, made_up: Repository) -> None:
        result = made_up.run("invoke", "model.tune", "--name", "fashion-mnist", "--trials", "2", "--parallel", "2")
        header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert header == ["trial", "state", "accuracy", "C", "components"]
        assert [row[1] for row in rows] == ["succeeded"] * 2

    def test_dvc_shows_metrics_and_plots(self, made_up: Repository) -> None:
        metrics = json.loads(made_up.run("dvc", "metrics", "show", "--json").stdout)
        assert metrics[""]["data"][f"{MODEL}/metrics.json"]["data"].keys() == {"accuracy", "precision", "recall", "f1"}
        page = Path(unquote(urlsplit(made_up.run("dvc", "plots", "show").stdout.strip()).path))
        assert "Ankle boot" in page.read_text()


@pytest.mark.needs("fashion-mnist")
@pytest.mark.timeout(900)
class TestRealData:
    def test_the_classifier_is_good_and_small(self, real: Repository) -> None:
        assert read(real, "metrics.json")["accuracy"] >= 0.885
        assert (real.root / MODEL / "model" / "model.joblib").stat().st_size < 15_000_000

    def test_the_endpoint_names_the_classes_of_the_first_three_test_images(self, real: Repository) -> None:
        answer = json.loads(real.run("./test_endpoint.sh").stdout)
        assert answer["predictions"] == [9, 2, 1]
        assert answer["deployedModelId"]

    def test_the_payload_holds_the_first_three_test_images(self, real: Repository) -> None:
        images = (real.root / "data" / "fashion-mnist" / "t10k-images-idx3-ubyte").read_bytes()[16:]
        payload = json.loads((real.root / "test_payload.json").read_text())["instances"]
        assert payload == [list(images[784 * i : 784 * (i + 1)]) for i in range(3)]

    def test_its_own_tests_pass_on_the_trained_model(self, real: Repository) -> None:
        assert "skipped" not in real.run("python", "-m", "pytest", "-q", "models").stdout
