"""What is refused before anything is paid for: images, machines and accelerators that do not exist or go together."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.images import PrebuiltImage, prebuilt
from edge_tasks.domain.machines import check_machine
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
    ("machine", "accelerator", "count"),
    [
        ("n1-standard-2", None, 1),
        ("n1-highmem-32", "NVIDIA_TESLA_T4", 4),
        ("g2-standard-24", "NVIDIA_L4", 2),
        ("a3-highgpu-8g", "NVIDIA_H100_80GB", 3),  # fewer may be asked for: replicas then share the machine
        ("e2-highcpu-16", None, 1),
        ("z9-standard-4", "NVIDIA_NEW", 3),  # a family that came later: Google judges it
    ],
)
def test_machines_that_go_with_their_accelerators(machine: str, accelerator: str | None, count: int) -> None:
    check_machine(KEY, machine, accelerator, count)


@pytest.mark.parametrize(
    ("machine", "accelerator", "count", "problem", "hint"),
    [
        ("n1-standard-3", None, 1, f"`{KEY}` is `n1-standard-3`, which is not a machine type", "did you mean `n1-st"),
        ("n1-nothing-like-it-1000", None, 1, "which is not a machine type", "use one of n1-standard-2, "),
        ("n2-standard-4", "NVIDIA_TESLA_T4", 1, "no accelerator can be added to `n2-standard-4`", "use an n1 machine"),
        ("n1-standard-4", "NVIDIA_TESLA_T4", 3, "3 NVIDIA_TESLA_T4 cannot be added", "NVIDIA_TESLA_T4: 1, 2, 4"),
        ("n1-standard-4", "NVIDIA_L4", 1, "1 NVIDIA_L4 cannot be added to `n1-standard-4`", "what goes with n1"),
        ("g2-standard-4", None, 1, "`models.m.serving_accelerator_type` asks for none", "type: NVIDIA_L4"),
        ("g2-standard-4", "NVIDIA_L4", 2, "asks for 2 NVIDIA_L4", "with a count of at most 1"),
        ("a2-highgpu-1g", "NVIDIA_TESLA_T4", 1, "has 1 NVIDIA_TESLA_A100 built in", "NVIDIA_TESLA_A100"),
    ],
)  # fmt: skip
def test_machines_that_do_not_are_refused(
    machine: str, accelerator: str | None, count: int, problem: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_machine(KEY, machine, accelerator, count)
    assert problem in caught.value.problem
    assert hint in (caught.value.hint or "")
