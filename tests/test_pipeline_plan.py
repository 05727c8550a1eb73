"""From the stages of dvc.yaml to a compiled pipeline, without a server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import EdgeConfig, ModelConfig
from edge_tasks.domain.machines import Resources, resources
from edge_tasks.domain.pipeline_order import StageOrder
from edge_tasks.domain.pipeline_plan import REGISTER, STAGE, TRAIN, Input, Stage, overlap, plan
from edge_tasks.domain.pipeline_spec import Executor, document
from edge_tasks.domain.training_command import TrainingCommand
from edge_tasks.emulator.pipelines import ir
from edge_tasks.errors import ConfigError, DataError, UsageError
from edge_tasks.pipelines.export import Export
from edge_tasks.tasks import pipeline
from edge_tasks.training.pipeline_task import pipeline_run_id, run_commands, typed
from edge_tasks.training.stage_outputs import keep

HERE = "models/m"


def stage(name: str, deps: tuple[str, ...] = (), outs: tuple[str, ...] = (), **more: Any) -> Stage:
    return Stage(f"{HERE}/dvc.yaml:{name}", HERE, (f"python {name}.py",), deps, (), outs, **more)


PREPARE = stage("prepare", (f"{HERE}/prepare.py",), ("data/m.npz",))
TRAINING = stage(
    "train",
    (".code/m", "src", "data/m.npz", "data/more.csv"),
    (f"{HERE}/model", f"{HERE}/trained_model.json", f"{HERE}/metrics.json", f"{HERE}/plots/a.csv"),
)


class TestPlan:
    def test_a_stage_is_a_task_and_after_the_training_its_model_is_registered(self) -> None:
        evaluate = stage("evaluate", (f"{HERE}/model", "data/m.npz"), (f"{HERE}/evaluation.json",))
        tasks = plan([PREPARE, TRAINING, evaluate], ["m"], ["data/more.csv"])
        assert [(task.name, task.kind) for task in tasks] == [
            ("m-prepare", STAGE),
            ("m-train", TRAIN),
            ("m-register", REGISTER),
            ("m-evaluate", STAGE),
        ]
        prepare, train, register, evaluated = tasks
        assert (prepare.inputs, prepare.outputs) == ({}, {"data_m_npz": "data/m.npz"})
        assert train.inputs == {"data_m_npz": Input("m-prepare", "data_m_npz", "data/m.npz")}
        assert train.recorded == ("data/more.csv",)
        assert train.outputs == {
            "model": f"{HERE}/model",
            "metrics": f"{HERE}/metrics.json",
            "models_m_plots_a_csv": f"{HERE}/plots/a.csv",
        }
        assert register.inputs == {"model": Input("m-train", "model", f"{HERE}/model")}
        assert {given.producer for given in evaluated.inputs.values()} == {"m-train", "m-prepare"}

    def test_what_always_changes_is_never_cached_and_what_is_frozen_is_no_task(self) -> None:
        fresh = stage("prepare", (), ("data/m.npz",), always_changed=True)
        assert [task.cached for task in plan([fresh, TRAINING], ["m"], [])] == [False, True, False]
        frozen = stage("prepare", (), ("data/m.npz",), frozen=True)
        train, _ = plan([frozen, TRAINING], ["m"], ["data/m.npz"])
        assert (train.inputs, train.recorded) == ({}, ("data/m.npz",))

    def test_a_folder_stands_for_what_lies_in_it(self) -> None:
        made = stage("prepare", (), ("data/m",))
        inside = stage("train", ("data/m/one.csv",), TRAINING.outs)
        assert [given.path for given in plan([made, inside], ["m"], [])[1].inputs.values()] == ["data/m"]
        assert overlap("data", "data/m")
        assert overlap("data/m/x", "data/m")
        assert not overlap("data/m", "data/more")

    def test_two_models_are_one_pipeline(self) -> None:
        other = Stage("models/n/dvc.yaml:train", "models/n", ("python train.py",), ("data/m.npz",))
        tasks = plan([PREPARE, TRAINING, other], ["m", "n"], [])
        assert [task.name for task in tasks] == ["m-prepare", "m-train", "m-register", "n-train", "n-register"]
        assert [given.producer for given in tasks[3].inputs.values()] == ["m-prepare"]

    @pytest.mark.parametrize(
        ("stages", "told"),
        [
            ([PREPARE], "no stage `train`"),
            ([stage("train", frozen=True)], "not frozen"),
            ([TRAINING, stage("late", (f"{HERE}/trained_model.json",))], "which no job writes"),
            ([PREPARE, stage("Prepare"), TRAINING], "two stages would be the task `m-prepare`"),
        ],
    )
    def test_what_cannot_run_without_this_machine_is_refused(self, stages: list[Stage], told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            plan(stages, ["m"], [])


class TestSpecification:
    def test_it_is_a_pipeline_as_kfp_compiles_them(self) -> None:
        tasks = plan([PREPARE, TRAINING], ["m"], [])
        machine = Resources(4, 15.0, "NVIDIA_TESLA_T4", 1)
        executors = {task.name: Executor("python:3.10", ["sh", "-c"], ["true"], machine) for task in tasks}
        made = document("m", "What it is", tasks, executors, "gs://b/root")
        read = ir.read(made)
        assert read.name == "m"
        assert set(made["root"]["dag"]["tasks"]) == {"m-prepare", "m-train", "m-register"}
        train = made["root"]["dag"]["tasks"]["m-train"]
        assert train["dependentTasks"] == ["m-prepare"]
        assert train["inputs"]["parameters"]["parameters"] == {"componentInputParameter": "parameters"}
        container = made["deploymentSpec"]["executors"]["exec-m-train"]["container"]
        assert container["resources"]["resourceMemoryLimit"] == "15G"
        assert container["resources"]["accelerator"]["resourceType"] == "NVIDIA_TESLA_T4"

    @pytest.mark.parametrize(
        ("machine", "expected"),
        [
            ("n1-standard-4", Resources(4, 15.0)),
            ("e2-highmem-8", Resources(8, 64.0)),
            ("a2-highgpu-2g", Resources(24, 170.0)),
            ("x9-new-1", None),
        ],
    )
    def test_a_machine_is_asked_for_by_what_it_has(self, machine: str, expected: Resources | None) -> None:
        assert resources(machine, None, 1) == expected


class TestCommand:
    def test_it_is_a_script_with_files_and_values(self) -> None:
        read = TrainingCommand.parse("a:train", ["python3 train.py with params.yaml C=3 name='a b'"])
        assert read == TrainingCommand("train.py", ("params.yaml",), ("C=3", "name=a b"))

    @pytest.mark.parametrize(
        "commands",
        [[], ["a", "b"], ["make train"], ["python -m train"], ["python train.py --x"], ["python train.py with 'x"]],
    )
    def test_another_command_is_refused(self, commands: list[str]) -> None:
        with pytest.raises(ConfigError, match=r"`models/m/dvc.yaml:train` does not just start a script"):
            TrainingCommand.parse("models/m/dvc.yaml:train", commands)


class TestTask:
    def test_numbers_of_a_pipeline_become_those_of_python(self) -> None:
        given = {"epochs": 5.0, "rate": 1.0, "C": 3, "on": True, "names": ["a"], "half": 0.5}
        found = typed(given, {"epochs": 3, "rate": 0.1, "C": 10.0})
        assert found == given
        assert {name: type(value) for name, value in found.items()} == {
            "epochs": int,
            "rate": float,
            "C": float,
            "on": bool,
            "names": list,
            "half": float,
        }

    def test_the_run_of_a_pipeline_job_has_one_id(self) -> None:
        first = pipeline_run_id("projects/1/locations/l/pipelineJobs/a", "2026-11-28T18:40:46.123456Z")
        assert first.startswith("20261128-184046-")
        assert first == pipeline_run_id("projects/1/locations/l/pipelineJobs/a", "2026-11-28T18:40:46Z")
        assert first != pipeline_run_id("projects/1/locations/l/pipelineJobs/b", "2026-11-28T18:40:46Z")

    def test_commands_run_in_the_stages_folder_by_this_python_and_end_with_the_first_failure(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "models" / "m").mkdir(parents=True)
        show = "python -c 'import sys; print(sys.executable)' > ../../data/who"
        run_commands(tmp_path, StageOrder(folder=HERE, commands=[show], outputs={"who": "data/who"}))
        assert Path((tmp_path / "data" / "who").read_text().strip()).samefile(sys.executable)
        with pytest.raises(SystemExit, match="3"):
            run_commands(tmp_path, StageOrder(folder=HERE, commands=["exit 3", "touch after"]))
        assert not (tmp_path / "models" / "m" / "after").exists()


def test_a_training_on_several_machines_is_refused_before_anything_is_read(config: EdgeConfig, tmp_path: Path) -> None:
    model = ModelConfig(endpoint_name="e", training_replica_count=2)
    with pytest.raises(ConfigError, match="trains on 2 machines, a task of a pipeline has one"):
        Export(config.model_copy(update={"models": {"m": model}}), tmp_path, ["m"])


@pytest.mark.parametrize("value", ["[1", "2026-13-45", "[" * 20_000])
def test_a_parameter_of_the_command_line_that_is_not_yaml_is_told(value: str) -> None:
    with pytest.raises(UsageError, match="is not valid YAML: "):
        pipeline._assigned([f"C={value}"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what DVC reads params.yaml with
def test_a_parameter_of_a_stages_command_that_is_not_yaml_is_told(config: EdgeConfig, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("C: 1\n")
    (folder / "dvc.yaml").write_text("stages:\n  train:\n    cmd: python train.py with params.yaml 'C=[1'\n")
    (tmp_path / ".dvc").mkdir()
    models = {"m": ModelConfig(endpoint_name="e")}
    with pytest.raises(ConfigError, match=r"models/m/dvc.yaml: the value of `C=\[1` is not valid YAML: "):
        Export(config.model_copy(update={"models": models}), tmp_path, ["m"]).parameters("m")


@pytest.mark.slow
def test_what_a_stage_makes_is_kept_as_dvc_keeps_it(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    (root / "data" / "folder" / "inner").mkdir(parents=True)
    for name in ("b.txt", "a ü.txt", "inner/c.txt"):
        (root / "data" / "folder" / name).write_text(name)
    (root / "one.bin").write_bytes(b"\0\1")
    (root / "edge.yaml").touch()

    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)

    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    dvc("init", "--quiet")
    dvc("add", "--quiet", "data/folder", "one.bin")
    cache = root / ".dvc" / "cache" / "files" / "md5"
    for path in ("data/folder", "one.bin"):
        address = keep(root, path, str(store))
        assert (cache / Path(address).relative_to(store)).read_bytes() == Path(address).read_bytes()
        assert keep(root, path, str(store)) == address
    kept = {path.relative_to(store) for path in store.rglob("*") if path.is_file()}
    assert kept == {path.relative_to(cache) for path in cache.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="has not made `nothing`"):
        keep(root, "nothing", str(store))


def test_in_the_bucket_it_is_written_once(
    root: Path, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", str(cloud.storage_url))
    monkeypatch.setenv("VERTEX_EMULATOR_URL", cloud.vertex_url)
    shutil.copy(root / "edge.yaml", tmp_path)
    (tmp_path / "one.bin").write_bytes(b"one")
    store = f"gs://{cloud.bucket_name}/dvcstore/files/md5"
    address = keep(tmp_path, "one.bin", store)
    found = cloud.objects.look(address.removeprefix(f"gs://{cloud.bucket_name}/"))
    assert found is not None
    assert keep(tmp_path, "one.bin", store) == address
    again = cloud.objects.look(found.name)
    assert again is not None
    assert again.generation == found.generation
    assert storage.read(cloud, address) == b"one"
