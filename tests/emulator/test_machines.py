"""Machines, accelerators and disks that Vertex AI does not have are refused, in its words where they are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
from google.api_core import exceptions

from edge_tasks.domain import machines as own
from edge_tasks.domain import prices
from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.schema import surface as schema
from edge_tasks.emulator.services.machines import Use, check_machine
from edge_tasks.errors import ConfigError
from tests.emulator.harness import ECHO, PARENT, PYTHON_IMAGE, Emulator

ACCELERATORS = ("NVIDIA_TESLA_T4", "NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100", "NVIDIA_L4", "NVIDIA_H100_80GB")
OTHERS = ("n1-standard-1", "n1-standard-3", "n1-custom-4-5120", "e2-micro", "z9-standard-4")
T4 = {"acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}
K80 = {"acceleratorType": "NVIDIA_TESLA_K80", "acceleratorCount": 1}
L4 = {"acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
SPEC = "job_spec.worker_pool_specs[0].machine_spec"
NOT_BOTH = "Both `accelerator_type` and `accelerator_count` should be specified or none."
OF_THE_SDK = {
    "machine_spec": {"machine_type": "n1-standard-1"},
    "replica_count": 1,
    "container_spec": {"image_uri": PYTHON_IMAGE, "command": ["true"]},
}
UNSUPPORTED = re.escape('Machine type "n1-standard-1" is not supported.')


def pool(machine_type: str, **more: Any) -> dict[str, Any]:
    return {
        "machineSpec": {"machineType": machine_type, **more.pop("machine", {})},
        "replicaCount": "1",
        "containerSpec": {"imageUri": PYTHON_IMAGE, "command": ["true"]},
        **more,
    }


def create(emulator: Emulator, *pools: dict[str, Any]) -> Any:
    return emulator.post(f"{PARENT}/customJobs", {"displayName": "x", "jobSpec": {"workerPoolSpecs": pools}})


@pytest.mark.parametrize(
    ("machine_type", "machine", "message"),
    [
        ("n1-standard-2", {}, 'Machine type "n1-standard-2" is not supported.'),
        ("n2d-standard-4", {}, 'Machine type "n2d-standard-4" is not supported.'),
        ("a3-edgegpu-8g", {}, 'Machine type "a3-edgegpu-8g" is not supported.'),
        ("large", {}, 'Machine type "large" is not supported.'),
        ("", {}, f"{SPEC}.machine_type is required."),
        ("n1-standard-4", K80, 'Accelerator "NVIDIA_TESLA_K80" is not supported for machine type "n1-standard-4"'),
        ("e2-standard-4", T4, 'Accelerator "NVIDIA_TESLA_T4" is not supported for machine type "e2-standard-4"'),
        (
            "n1-standard-4",
            {"acceleratorType": 999, "acceleratorCount": 1},
            'Accelerator "999" is not supported for machine type "n1-standard-4"',
        ),
        (
            "n1-standard-4",
            {"acceleratorCount": 1},
            f"List of found errors:\t1.Field: {SPEC}.accelerator_type; Message: {NOT_BOTH}\t",
        ),
        (
            "n1-standard-32",
            T4,
            f"{SPEC}.accelerator_count is 1; n1-standard-32 can have 2, 4 of NVIDIA_TESLA_T4.",
        ),
        (
            "g2-standard-4",
            {},
            f"{SPEC}.machine_type g2-standard-4 must be used with NVIDIA_L4: set accelerator_type and _count.",
        ),
    ],
)
def test_a_job_on_a_machine_that_there_is_not_is_refused(
    emulator: Emulator, machine_type: str, machine: dict[str, Any], message: str
) -> None:
    answer = create(emulator, pool(machine_type, machine=machine))
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert answer.message == message


@pytest.mark.parametrize(
    ("machine_type", "machine"),
    [
        ("n1-standard-4", T4),
        ("g2-standard-4", L4),
        ("a3-ultragpu-8g", {"acceleratorType": "NVIDIA_H200_141GB", "acceleratorCount": 8}),
        ("cloud-tpu", {"acceleratorType": "TPU_V3", "acceleratorCount": 8}),
        ("ct5lp-hightpu-4t", {"tpuTopology": "2x2"}),
        ("z9-standard-4", {}),
    ],
)
def test_a_job_runs_on_any_other_machine_of_which_google_may_know(
    emulator: Emulator, machine_type: str, machine: dict[str, Any]
) -> None:
    job = create(emulator, pool(machine_type, machine=machine))
    assert emulator.wait_for_job(job.body["name"])["state"] == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize(
    ("disk", "problem"),
    [
        ({"bootDiskType": "pd-balanced"}, "not one of pd-ssd, pd-standard, hyperdisk-balanced"),
        ({"bootDiskSizeGb": 99}, "must be from 100 to 64000"),
        ({"bootDiskSizeGb": 64_001}, "must be from 100 to 64000"),
        ({"bootDiskSizeGb": -1}, "must be from 100 to 64000"),
    ],
)
def test_a_disk_that_vertex_ai_does_not_have_is_refused(emulator: Emulator, disk: dict[str, Any], problem: str) -> None:
    answer = create(emulator, pool("n1-standard-4", diskSpec=disk))
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert problem in answer.message


def test_the_largest_machines_have_another_disk(emulator: Emulator) -> None:
    h200 = {"acceleratorType": "NVIDIA_H200_141GB", "acceleratorCount": 8}
    (made,) = create(emulator, pool("a3-ultragpu-8g", machine=h200)).body["jobSpec"]["workerPoolSpecs"]
    assert made["diskSpec"] == {"bootDiskType": "hyperdisk-balanced", "bootDiskSizeGb": 100}


def test_the_sdk_is_told_of_a_machine_for_training_that_there_is_not(aiplatform: Any) -> None:
    job = aiplatform.CustomJob("x", [OF_THE_SDK])
    with pytest.raises(exceptions.BadRequest, match=UNSUPPORTED):
        job.submit()


def test_the_sdk_is_told_of_a_machine_for_serving_that_there_is_not(aiplatform: Any, emulator: Emulator) -> None:
    model = aiplatform.Model(emulator.upload(ECHO))
    with pytest.raises(exceptions.BadRequest, match=UNSUPPORTED):
        model.deploy(machine_type="n1-standard-1")
    with pytest.raises(exceptions.BadRequest, match='Accelerator "NVIDIA_TESLA_K80" is not supported for machine type'):
        model.deploy(machine_type="n1-standard-4", accelerator_type="NVIDIA_TESLA_K80", accelerator_count=1)
    with pytest.raises(exceptions.BadRequest, match='Machine type "n1-standard-96" is not supported'):
        model.batch_predict(
            "x", gcs_source="gs://b/x.jsonl", gcs_destination_prefix="gs://b/out", machine_type="n1-standard-96"
        )


def test_a_tuning_job_on_a_machine_that_there_is_not_is_refused(aiplatform: Any, bucket: str) -> None:
    from google.cloud.aiplatform import hyperparameter_tuning as tuning

    job = aiplatform.HyperparameterTuningJob(
        "x",
        aiplatform.CustomJob("x", [OF_THE_SDK]),
        metric_spec={"a": "maximize"},
        parameter_spec={"x": tuning.DoubleParameterSpec(0, 1, "linear")},
        max_trial_count=1,
        parallel_trial_count=1,
    )
    with pytest.raises(exceptions.BadRequest, match=UNSUPPORTED):
        job.run()


def refuses(check: Callable[[], None]) -> bool:
    try:
        check()
    except (ApiError, ConfigError):
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("use", "name"), [(Use.TRAINING, prices.TRAINING), (Use.SERVING, prices.PREDICTION)])
def test_the_tasks_and_the_emulator_know_the_same_machines(use: Use, name: str) -> None:
    surface = schema.load()
    names = {*own.machine_types(prices.TRAINING), *own.machine_types(prices.PREDICTION), *OTHERS}
    for machine_type, accelerator, count in product(sorted(names), (None, *ACCELERATORS), (1, 2, 4, 8)):
        spec = surface.new("MachineSpec", machine_type=machine_type)
        if accelerator is not None:
            spec.accelerator_type, spec.accelerator_count = surface.enum_value("AcceleratorType", accelerator), count
        elif use is Use.SERVING and machine_type[:2] in ("a2", "a3", "a4", "g2", "g4"):
            # Vertex AI gives what is built in; edge.yaml must tell it, for the prices.
            continue
        machine = prices.Machine(name, machine_type, accelerator, count)
        theirs, ours = partial(check_machine, spec, "x", use), partial(own.check_machine, "x.machine_type", machine)
        assert refuses(theirs) == refuses(ours), machine
