"""What is refused before anything is paid for: images, machines and accelerators that do not exist or go together."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.images import PrebuiltImage, prebuilt
from edge_tasks.domain.machines import check_machine
from edge_tasks.domain.prices import PREDICTION as SERVING
from edge_tasks.domain.prices import TRAINING, Machine
from edge_tasks.errors import ConfigError, TrainingError
from edge_tasks.releases.preflight import check_library_version, check_serving_image
from edge_tasks.repo.edge_yaml import load_config

TODAY = date(2026, 11, 23)
PREDICTION = "europe-docker.pkg.dev/vertex-ai/prediction"


def config(tmp_path: Path, target: str) -> EdgeConfig:
    (tmp_path / "edge.yaml").write_text(
        f"target: {target}\n"
        "google_cloud_project: {project_id: my-project, region: us-central1}\n"
        "storage_bucket: {bucket_name: my-bucket}\n"
        "models: {my-model: {endpoint_name: e}}\n"
    )
    return load_config(tmp_path, {})


@pytest.mark.parametrize(
    ("uri", "image"),
    [
        (f"{PREDICTION}/sklearn-cpu.1-6:latest", PrebuiltImage("prediction", "sklearn", (1, 6))),
        (f"{PREDICTION}/tf2-gpu.2-15:latest", PrebuiltImage("prediction", "tf2", (2, 15))),
        (
            "us-docker.pkg.dev/vertex-ai/training/pytorch-gpu.2-4.py310:latest",
            PrebuiltImage("training", "pytorch", (2, 4)),
        ),
        (
            "asia-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.0-23:latest",
            PrebuiltImage("training", "scikit-learn", (0, 23)),
        ),
        ("mirror.gcr.io/library/python:3.10-slim", None),
        ("europe-west1-docker.pkg.dev/my-project/images/mine:1", None),
    ],
)
def test_the_name_of_an_image_says_what_it_is(uri: str, image: PrebuiltImage | None) -> None:
    assert prebuilt(uri) == image


@pytest.mark.parametrize("image", ["sklearn-cpu.1-6", "sklearn-cpu.1-4", "sklearn-cpu.1-7", "xgboost-cpu.2-1"])
def test_an_image_in_support_or_newer_than_our_table_is_accepted(tmp_path: Path, image: str) -> None:
    check_serving_image(config(tmp_path, "gcp"), "m", f"{PREDICTION}/{image}:latest", TODAY)


def test_an_image_of_ones_own_is_accepted(tmp_path: Path) -> None:
    check_serving_image(config(tmp_path, "gcp"), "m", "europe-west1-docker.pkg.dev/p/r/mine:1", TODAY)


@pytest.mark.parametrize(
    ("image", "today", "since"),
    [
        ("sklearn-cpu.1-5", date(2027, 1, 15), "since 2027-01-14"),
        ("sklearn-cpu.1-6", date(2027, 10, 15), "since 2027-10-14"),
        ("sklearn-cpu.1-3", TODAY, "by now"),
        ("sklearn-cpu.0-24", TODAY, "by now"),
    ],
)
def test_an_image_that_google_no_longer_lets_be_used_is_refused_on_google_alone(
    tmp_path: Path, image: str, today: date, since: str
) -> None:
    with pytest.raises(ConfigError, match=f"the serving image of `m` can no longer be used {since}"):
        check_serving_image(config(tmp_path, "gcp"), "m", f"{PREDICTION}/{image}:latest", today)
    check_serving_image(config(tmp_path, "local"), "m", f"{PREDICTION}/{image}:latest", today)


def test_an_image_for_training_does_not_serve(tmp_path: Path) -> None:
    image = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
    with pytest.raises(ConfigError, match="names an image for training"):
        check_serving_image(config(tmp_path, "local"), "m", image, TODAY)


@pytest.mark.parametrize(
    ("image", "environment", "fits"),
    [
        ("sklearn-cpu.1-6", {"scikit-learn": "1.6.1"}, True),
        ("sklearn-cpu.1-6", {"scikit-learn": "1.5.2"}, False),
        ("xgboost-cpu.2-1", {"xgboost": "2.1.3", "scikit-learn": "1.5.2"}, True),
        ("xgboost-cpu.2-1", {"xgboost": "2.0.3"}, False),
        ("sklearn-cpu.1-6", {}, True),
    ],
)
def test_the_framework_must_be_the_version_of_the_training(image: str, environment: dict[str, str], fits: bool) -> None:
    uri = f"{PREDICTION}/{image}:latest"
    if fits:
        check_library_version("m", environment, uri)
    else:
        with pytest.raises(TrainingError, match="but its serving image holds"):
            check_library_version("m", environment, uri)


KEY = "models.m.serving_machine_type"


@pytest.mark.parametrize(
    "machine",
    [
        Machine(SERVING, "n1-standard-2"),
        Machine(SERVING, "n1-highmem-32", "NVIDIA_TESLA_T4", 4),
        Machine(SERVING, "g2-standard-24", "NVIDIA_L4", 2),
        Machine(SERVING, "a3-highgpu-8g", "NVIDIA_H100_80GB", 3),  # replicas then share the machine
        Machine(SERVING, "e2-highcpu-16"),
        Machine(TRAINING, "n4-standard-80"),
        Machine(TRAINING, "n1-standard-96", "NVIDIA_TESLA_V100", 8),
        Machine(TRAINING, "n1-highcpu-64", "NVIDIA_TESLA_P100", 4),
        Machine(TRAINING, "a3-megagpu-8g", "NVIDIA_H100_MEGA_80GB", 8),
        Machine(TRAINING, "cloud-tpu", "TPU_V3", 8),
        Machine(TRAINING, "z9-standard-4", "NVIDIA_NEW", 3),  # a family that came later: Google judges it
    ],
)
def test_machines_that_go_with_their_accelerators(machine: Machine) -> None:
    check_machine(KEY, machine)


@pytest.mark.parametrize(
    ("machine", "problem", "hint"),
    [
        (Machine(SERVING, "n1-standard-3"), f"`{KEY}` is `n1-standard-3`, which is not a machine type", "did you mean"),
        (Machine(SERVING, "n1-nothing-like-it-1000"), "which is not a machine type", "use one of n1-standard-2, "),
        (Machine(SERVING, "n1-standard-96"), "not a machine type of Vertex AI for serving", "`n2-standard-96`"),
        (Machine(TRAINING, "n1-standard-2"), "not a machine type of Vertex AI for training", "did you mean `n1-st"),
        (Machine(TRAINING, "n2d-standard-4"), "not a machine type of Vertex AI for training", "`n2-standard-4`"),
        (Machine(SERVING, "a3-megagpu-8g", "NVIDIA_H100_MEGA_80GB", 8), "for serving", "did you mean `a3-edgegpu-8g`"),
        (Machine(SERVING, "n2-standard-4", "NVIDIA_TESLA_T4"), "can be added to `n2-standard-4`", "use an n1 machine"),
        (Machine(SERVING, "n1-standard-4", "NVIDIA_TESLA_T4", 3), "3 NVIDIA_TESLA_T4 cannot", "NVIDIA_TESLA_T4: 1, 2"),
        (Machine(SERVING, "n1-standard-4", "NVIDIA_L4"), "1 NVIDIA_L4 cannot be added to `n1-st", "what goes with `n1"),
        (Machine(TRAINING, "n1-standard-32", "NVIDIA_TESLA_V100", 2), "2 NVIDIA_TESLA_V100 cannot", "V100: 4, 8"),
        (Machine(TRAINING, "n1-standard-64", "NVIDIA_TESLA_P100", 4), "4 NVIDIA_TESLA_P100 cannot", "P4: 4; NVIDIA_T"),
        (Machine(SERVING, "g2-standard-4"), "`models.m.serving_accelerator_type` asks for none", "type: NVIDIA_L4"),
        (Machine(SERVING, "g2-standard-4", "NVIDIA_L4", 2), "asks for 2 NVIDIA_L4", "with a count of at most 1"),
        (Machine(TRAINING, "a3-highgpu-8g", "NVIDIA_H100_80GB", 3), "asks for 3 NVIDIA_H100", "with a count of 8"),
        (Machine(SERVING, "a2-highgpu-1g", "NVIDIA_TESLA_T4"), "has 1 NVIDIA_TESLA_A100 built in", "NVIDIA_TESLA_A100"),
    ],
)  # fmt: skip
def test_machines_that_do_not_are_refused(machine: Machine, problem: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_machine(KEY, machine)
    assert problem in caught.value.problem
    assert hint in (caught.value.hint or "")
