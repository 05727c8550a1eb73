"""Hyperparameter tuning jobs, by the unmodified SDK and by plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.emulator.harness import MACHINE, PARENT, PYTHON_IMAGE, Answer, Emulator, eventually

# Reads its arguments as any program does, and reports twice: the second is better by a thousand, or worse.
SCRIPT = """
import argparse, hypertune, os
parser = argparse.ArgumentParser()
parser.add_argument("--fixed")
parser.add_argument("--rate", type=float)
parser.add_argument("--layers", type=int, default=0)
parser.add_argument("--units", type=int, default=0)
parser.add_argument("--kind", default="")
arguments = parser.parse_args()
print(os.environ["CLOUD_ML_TRIAL_ID"], os.environ.get("AIP_MODEL_DIR"), arguments)
tune = hypertune.HyperTune()
loss = (arguments.rate or 0) ** 2 + arguments.layers
tune.report_hyperparameter_tuning_metric("loss", loss + 1000, global_step=1)
tune.report_hyperparameter_tuning_metric("loss", loss, global_step=2)
"""


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK looks at a job every five seconds."""
    from google.cloud.aiplatform import jobs

    monkeypatch.setattr(jobs, "_JOB_WAIT_TIME", 0.05)


# The SDK


def custom_job(aiplatform: Any, command: list[str], **fields: Any) -> Any:
    spec = {"container_spec": {"image_uri": PYTHON_IMAGE, "command": command[:1], "args": command[1:]}}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, **spec}
    return aiplatform.CustomJob(display_name="trial", worker_pool_specs=[pool], **fields)


@pytest.mark.slow
def test_the_sdk_tunes_every_kind_of_parameter(emulator: Emulator, aiplatform: Any, bucket: str) -> None:
    from google.cloud.aiplatform import hyperparameter_tuning as hpt

    job = aiplatform.HyperparameterTuningJob(
        display_name="default",
        custom_job=custom_job(aiplatform, ["python", "-c", SCRIPT, "--fixed=1"], base_output_dir=f"gs://{bucket}/out"),
        metric_spec={"loss": "minimize"},
        parameter_spec={
            "rate": hpt.DoubleParameterSpec(min=0.001, max=1, scale="log"),
            "layers": hpt.IntegerParameterSpec(min=1, max=3, scale="linear"),
            "units": hpt.DiscreteParameterSpec(values=[64, 128, 512], scale=None),
            "kind": hpt.CategoricalParameterSpec(values=["x y", "z"]),
        },
        max_trial_count=9,
        parallel_trial_count=3,
    )
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert [trial.id for trial in job.trials] == [str(number) for number in range(1, 10)]
    for trial in job.trials:
        assert trial.state.name == "SUCCEEDED"
        assert job.start_time <= trial.start_time <= trial.end_time <= job.end_time
        parameters = {parameter.parameter_id: parameter.value for parameter in trial.parameters}
        assert 0.001 <= parameters["rate"] <= 1
        assert parameters["units"] in {64, 128, 512}
        (metric,) = trial.final_measurement.metrics
        assert (metric.metric_id, trial.final_measurement.step_count) == ("loss", 2)
        assert metric.value == pytest.approx(parameters["rate"] ** 2 + parameters["layers"])
        assert [m.step_count for m in trial.measurements] == [1, 2]
        (line,) = emulator.output(trial.custom_job)
        assert line.startswith(f"{trial.id} gs://{bucket}/out/{trial.id}/model/ Namespace(fixed='1'")
        assert f"kind={parameters['kind']!r}" in line
    (found,) = aiplatform.HyperparameterTuningJob.list(filter='display_name="default"')
    assert aiplatform.HyperparameterTuningJob.get(found.resource_name).trials == job.trials
    job.delete()
    assert emulator.get(job.resource_name).error == (404, "NOT_FOUND")
    assert emulator.get(job.trials[0].custom_job).error == (404, "NOT_FOUND")


def test_the_sdk_searches_a_grid_with_conditions_and_the_best_measurement(aiplatform: Any) -> None:
    """The grid has four points; that is the end, whatever max_trial_count says."""
    from google.cloud.aiplatform import hyperparameter_tuning as hpt

    units = hpt.DiscreteParameterSpec(values=[8, 16], scale="linear", parent_values=["deep"])
    job = aiplatform.HyperparameterTuningJob(
        display_name="grid",
        custom_job=custom_job(aiplatform, ["python", "-c", SCRIPT]),
        metric_spec={"loss": "maximize"},
        parameter_spec={
            "kind": hpt.CategoricalParameterSpec(
                values=["deep", "flat", "none"], conditional_parameter_spec={"units": units}
            )
        },
        max_trial_count=50,
        parallel_trial_count=4,
        search_algorithm="grid",
        measurement_selection="best",
    )
    job.run()
    points = [{p.parameter_id: p.value for p in trial.parameters} for trial in job.trials]
    assert points == [{"kind": "deep", "units": 8}, {"kind": "deep", "units": 16}, {"kind": "flat"}, {"kind": "none"}]
    assert {trial.final_measurement.step_count for trial in job.trials} == {1}


# Plain HTTP


def create(emulator: Emulator, command: list[str], *, parent: str = PARENT, **fields: Any) -> Answer:
    pool = {**MACHINE, "containerSpec": {"imageUri": PYTHON_IMAGE, "command": command[:1], "args": command[1:]}}
    study = {
        "metrics": [{"metricId": "loss", "goal": "MINIMIZE"}],
        "parameters": [{"parameterId": "rate", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
        **fields.pop("study", {}),
    }
    body = {"displayName": "t", "studySpec": study, "maxTrialCount": 3, "parallelTrialCount": 2}
    body |= {"trialJobSpec": {"workerPoolSpecs": [pool]}, **fields}
    return emulator.post(f"{parent}/hyperparameterTuningJobs", body)


def tuned(emulator: Emulator, answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return emulator.wait_for_job(answer.body["name"])


@pytest.mark.slow
def test_failed_trials_are_infeasible_and_too_many_fail_the_job(emulator: Emulator) -> None:
    """With a limit of two the third trial is not started, and what runs at the same time is stopped."""
    script = "import os, time, sys; os.environ['CLOUD_ML_TRIAL_ID'] == '1' and time.sleep(1000); sys.exit('bad luck')"
    command = ["python", "-c", script]
    job = tuned(emulator, create(emulator, command, maxTrialCount=10, maxFailedTrialCount=2))
    assert job["state"] == "JOB_STATE_FAILED"
    assert "max_failed_trial_count is 2" in job["error"]["message"]
    assert "\nbad luck\n" in job["error"]["message"]
    assert {trial["state"] for trial in job["trials"]} == {"INFEASIBLE"}
    assert len(job["trials"]) == 3
    assert "stopped together with the job" in job["trials"][0]["infeasibleReason"]
    states = [emulator.get(trial["customJob"]).body["state"] for trial in job["trials"]]
    assert states == ["JOB_STATE_CANCELLED", "JOB_STATE_FAILED", "JOB_STATE_FAILED"]


@pytest.mark.slow
def test_a_few_failed_trials_leave_the_job_successful(emulator: Emulator) -> None:
    script = "import os, sys; os.environ['CLOUD_ML_TRIAL_ID'] == '2' and sys.exit(1)\n" + SCRIPT
    job = tuned(emulator, create(emulator, ["python", "-c", script]))
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert [trial["state"] for trial in job["trials"]] == ["SUCCEEDED", "INFEASIBLE", "SUCCEEDED"]
    assert "finalMeasurement" not in job["trials"][1]


@pytest.mark.slow
def test_a_job_whose_trials_report_nothing_fails_and_says_how_to_report(emulator: Emulator) -> None:
    job = tuned(emulator, create(emulator, ["true"], maxTrialCount=50))
    assert job["state"] == "JOB_STATE_FAILED"
    assert "did not report every metric of the study (loss) with cloudml-hypertune" in job["error"]["message"]
    assert 5 <= len(job["trials"]) <= 6


def test_a_cancelled_job_ends_with_all_its_trials(emulator: Emulator) -> None:
    answer = create(emulator, ["sh", "-c", "echo $$; exec sleep 1000"])
    name = answer.body["name"]

    def started() -> Any:
        trials = emulator.get(name).body.get("trials", [])
        pids = [emulator.output(trial["customJob"]) for trial in trials]
        return len(pids) == 2 and all(pids) and [int(pid) for (pid,) in pids]

    pids = eventually(started, "two trials run")
    assert [trial["state"] for trial in emulator.get(name).body["trials"]] == ["ACTIVE"] * 2
    assert emulator.call("DELETE", f"/v1/{name}").error == (400, "FAILED_PRECONDITION")
    emulator.post(f"{name}:cancel")
    job = emulator.wait_for_job(name)
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_CANCELLED", 1)
    assert [trial["state"] for trial in job["trials"]] == ["INFEASIBLE"] * 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_trial_knows_itself_from_the_cluster_too(emulator: Emulator) -> None:
    requirement = "pip install -q cloudml-hypertune; python -c \"import os; print(os.environ['CLUSTER_SPEC'])\""
    job = tuned(emulator, create(emulator, ["sh", "-c", requirement], maxTrialCount=1))
    (line,) = emulator.output(job["trials"][0]["customJob"])
    assert json.loads(line)["task"]["trial"] == "1"


@pytest.mark.slow
def test_jobs_are_listed_by_page(emulator: Emulator) -> None:
    parent = PARENT.replace("test-project", "tuning-project")
    for name in ("a", "b"):
        tuned(emulator, create(emulator, ["true"], parent=parent, displayName=name, maxTrialCount=1))
    first = emulator.get(f"{parent}/hyperparameterTuningJobs", params={"pageSize": "1"}).body
    rest = {"pageToken": first["nextPageToken"], "filter": ""}
    second = emulator.get(f"{parent}/hyperparameterTuningJobs", params=rest).body
    pages = [page["hyperparameterTuningJobs"] for page in (first, second)]
    assert [[job["displayName"] for job in page] for page in pages] == [["b"], ["a"]]


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"displayName": ""}, 400, "display_name"),
        ({"maxTrialCount": 0}, 400, "max_trial_count"),
        ({"parallelTrialCount": -1}, 400, "parallel_trial_count"),
        ({"maxFailedTrialCount": -1}, 400, "max_failed_trial_count"),
        ({"maxTrialCount": 10**12}, 400, "maxTrialCount"),
        ({"trialJobSpec": {}}, 400, "worker_pool_specs"),
        ({"trialJobSpec": {"workerPoolSpecs": [{"replicaCount": 2}]}}, 400, "replica_count must be 1"),
        ({"study": {"metrics": []}}, 400, "metrics"),
        ({"study": {"metrics": [{"metricId": "a b"}]}}, 400, "metric_id"),
        ({"study": {"metrics": [{"metricId": "a"}] * 2}}, 400, "twice"),
        ({"study": {"parameters": []}}, 400, "parameters"),
        ({"study": {"algorithm": "GRID_SEARCH"}}, 400, "DOUBLE"),
        ({"study": {"algorithm": 99}}, 400, "algorithm"),
        ({"study": {"medianAutomatedStoppingSpec": {}}}, 501, "median_automated_stopping_spec"),
        ({"study": {"metrics": [{"metricId": "a", "safetyConfig": {}}]}}, 501, "safety_config"),
    ],
)
def test_a_wrong_job_is_refused_with_the_reason(
    emulator: Emulator, change: dict[str, Any], status: int, problem: str
) -> None:
    answer = create(emulator, ["true"], **change)
    assert answer.status == status
    assert problem in answer.message


def test_after_a_kill_an_interrupted_job_has_failed_with_its_trials(own_emulator: Callable[..., Emulator]) -> None:
    first = own_emulator()
    name = create(first, ["sleep", "1000"]).body["name"]
    eventually(lambda: len(first.get(name).body.get("trials", [])) == 2, "two trials run")
    first.kill()
    job = own_emulator().get(name).body
    assert job["state"] == "JOB_STATE_FAILED"
    assert "The emulator was stopped while the job ran." in job["error"]["message"]
    assert [trial["state"] for trial in job["trials"]] == ["INFEASIBLE"] * 2
    assert all("endTime" in trial for trial in job["trials"])


def test_a_stop_waits_for_trials_that_tidy_up_whether_they_were_cancelled_before_or_not(
    own_emulator: Callable[..., Emulator],
) -> None:
    """Each end is asked for twice: by the tuning job, and by the end of the emulator."""
    first = own_emulator()
    command = ["sh", "-c", "trap 'sleep 0.5; exit 0' TERM; echo started; sleep 1000 & wait"]
    names = [create(first, command, maxTrialCount=1).body["name"] for _ in range(2)]

    def jobs(running: Emulator) -> list[str]:
        return [trial["customJob"] for name in names for trial in running.get(name).body.get("trials", [])]

    eventually(lambda: len(jobs(first)) == 2 and all(first.output(job) for job in jobs(first)), "both trials run")
    tree = first.tree()
    first.post(f"{names[0]}:cancel")
    assert first.stop() == 0
    assert not [process for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    second = own_emulator()
    assert [second.get(name).body["state"] for name in names] == ["JOB_STATE_CANCELLED", "JOB_STATE_FAILED"]
    assert [second.get(job).body["state"] for job in jobs(second)] == ["JOB_STATE_CANCELLED", "JOB_STATE_FAILED"]
