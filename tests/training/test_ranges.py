"""tune.yaml: what it may say, what Vertex AI gets of it, and how values come back into params.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sacred import Experiment

from edge_tasks.domain.job_spec import TuningTarget
from edge_tasks.errors import ConfigError
from edge_tasks.repo.params_yaml import read_parameters, write_parameters
from edge_tasks.repo.tune_yaml import read_ranges
from edge_tasks.training.hypertune import TrialReport, trial_parameters

PARAMETERS = {"C": 10.0, "depth": 3, "kernel": "rbf", "size": 32, "shuffle": True, "rate": 0.5}

LINEAR, LOG = "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE"

WHOLE = """
metric: accuracy
goal: minimize
parameters:
  C: {min: 1, max: 1000, scale: log}
  depth: {min: 1, max: 9}
  kernel: {values: [rbf, poly]}
  size: {values: [64, 16, 32]}
  shuffle: {values: [true, false]}
  rate: {values: [0.5, 1]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    return folder


def test_each_kind_of_range_becomes_the_services_own(folder: Path) -> None:
    (folder / "tune.yaml").write_text(WHOLE)
    ranges = read_ranges(folder, PARAMETERS)
    assert (ranges.metric, ranges.maximize) == ("accuracy", False)
    assert ranges.specs() == [
        {"parameter_id": "C", "double_value_spec": {"min_value": 1, "max_value": 1000}, "scale_type": LOG},
        {"parameter_id": "depth", "integer_value_spec": {"min_value": 1, "max_value": 9}, "scale_type": LINEAR},
        {"parameter_id": "kernel", "categorical_value_spec": {"values": ["rbf", "poly"]}},
        {"parameter_id": "size", "discrete_value_spec": {"values": [16, 32, 64]}},
        {"parameter_id": "shuffle", "categorical_value_spec": {"values": ["true", "false"]}},
        {"parameter_id": "rate", "discrete_value_spec": {"values": [0.5, 1]}},
    ]  # fmt: skip


def test_a_trial_and_params_yaml_get_values_of_the_same_types(folder: Path) -> None:
    (folder / "tune.yaml").write_text(WHOLE)
    ranges = read_ranges(folder, PARAMETERS)
    # The service tells numbers as floats, and gives a trial words.
    told: dict[str, float | str] = {
        "C": 12.5,
        "depth": 4.0,
        "kernel": "poly",
        "size": 64.0,
        "shuffle": "false",
        "rate": 0.5,
    }
    expected = {"C": 12.5, "depth": 4, "kernel": "poly", "size": 64, "shuffle": False, "rate": 0.5}
    restored = ranges.restored(told)
    search = TuningTarget(metric="accuracy", types=dict(ranges.types))
    arguments = ["--C=12.5", "--depth=4", "--kernel=poly", "--size=64.0", "--shuffle=false", "--rate=0.5"]
    for values in (restored, trial_parameters(search, arguments)):
        assert values == expected
        assert [type(value) for value in values.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("parameters: {C: {min: 1, max: 2}}", "`metric`: field required"),
        (
            "metric: a\ngoal: best\nparameters: {C: {min: 1, max: 2}}",
            "`goal`: input should be 'maximize' or 'minimize'",
        ),
        ("metric: a\ngoal: maximize\nparameters: {}", "`parameters`: dictionary should have at least 1 item"),
        ("metric: a\ngoal: maximize\nparameters: {C: {min: 2, max: 1}}", "needs either a `min` and a larger `max`"),
        ("metric: a\ngoal: maximize\nparameters: {C: {min: 0, max: 1, scale: log}}", "needs a `min` above 0"),
        ("metric: a\ngoal: maximize\nparameters: {C: {values: []}}", "needs either `min` and `max`, or a list"),
        ("metric: a\ngoal: maximize\nparameters: {C: {values: [1, x]}}", "has numbers and words"),
        ("metric: a\ngoal: maximize\nparameters: {C: {min: 1, max: 2, step: 1}}", "`parameters.C.step`: extra inputs"),
        ("metric: a\ngoal: maximize\nparameters: {D: {min: 1, max: 2}}", "names `D`, which is not in params.yaml"),
        ("metric: [", "is not valid YAML"),
        ("", "input should be a valid dictionary"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(folder: Path, text: str, problem: str) -> None:
    (folder / "tune.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_ranges(folder, PARAMETERS)
    assert problem in caught.value.problem
    assert "models/m/tune.yaml" in caught.value.problem


def test_a_model_without_ranges_is_told_how_to_write_them(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ranges(folder, PARAMETERS)
    assert caught.value.problem == "there is no `models/m/tune.yaml`, which says what to try"
    assert caught.value.hint is not None
    (folder / "tune.yaml").write_text(caught.value.hint.partition("\n\n")[2])
    assert list(read_ranges(folder, PARAMETERS).parameters) == ["C"]


def test_params_yaml_keeps_comments_order_and_quotes(folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_text("# about C\nC: 10.0  # high\n\nkernel: 'rbf'\nlast: [1, 2]\n")
    write_parameters(folder, {"C": 0.25, "kernel": "poly"})
    assert path.read_text() == "# about C\nC: 0.25  # high\n\nkernel: 'poly'\nlast: [1, 2]\n"


@pytest.mark.parametrize(("text", "expected"), [(None, {}), ("", {}), ("C: 1\n", {"C": 1})])
def test_parameters_are_read_also_when_there_are_none(folder: Path, text: str | None, expected: dict[str, Any]) -> None:
    if text is not None:
        (folder / "params.yaml").write_text(text)
    assert read_parameters(folder) == expected


@pytest.mark.parametrize("text", ["- a\n", "a: [", "word"])
def test_broken_parameters_are_refused(folder: Path, text: str) -> None:
    (folder / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"`models/m/params\.yaml`"):
        read_parameters(folder)


def test_a_trial_reports_each_step_that_the_training_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "output.metrics"
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(file))
    experiment = Experiment("steps", save_git_info=False)

    @experiment.main  # type: ignore[untyped-decorator]
    def run(_run: Any) -> None:
        for step in (1, 2):
            _run.log_scalar("loss", 1 / step, step)

    experiment.observers.append(report := TrialReport("loss"))
    report.saved = {"loss": 0.25}
    experiment.run()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["global_step"], line["loss"]) for line in lines] == [("1", "1.0"), ("2", "0.5"), ("3", "0.25")]
