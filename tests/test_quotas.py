"""Quotas of a project, by a stand-in for the Cloud Quotas API: what can never work is refused before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud import quotas
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.prices import PREDICTION, TRAINING, Machine
from edge_tasks.domain.quotas import Shortage, needs, shortages
from edge_tasks.errors import ConfigError
from edge_tasks.releases.preflight import check_quota
from edge_tasks.setup import doctor
from tests.json_service import Asked, served

AI = "aiplatform.googleapis.com/"


def info(metric: str, *places: tuple[dict[str, str], str]) -> Any:
    """As https://cloud.google.com/docs/quotas/reference/rest/v1/projects.locations.services.quotaInfos has it."""
    return {
        "quotaId": "Some-Id-per-project-region",
        "metric": f"{AI}{metric}",
        "service": "aiplatform.googleapis.com",
        "dimensions": ["region"],
        "dimensionsInfos": [
            {
                "dimensions": dimensions,
                "details": {"value": value},
                "applicableLocations": list(dimensions.values()) or ["europe-west1", "us-central1"],
            }
            for dimensions, value in places
        ],
    }


QUOTAS = [
    info("custom_model_training_cpus", ({"region": "us-central1"}, "42"), ({}, "8")),
    info("custom_model_training_nvidia_t4_gpus", ({}, "0")),
    info("custom_model_serving_cpus", ({"region": "europe-west1"}, "20")),
    info("custom_model_training_n2_cpus", ({}, "-1")),
    # Of another dimension, and without a value: it says nothing of a region.
    info("custom_model_training_c2_cpus", ({"region": "us-central1", "model": "x"}, "0")),
    {"metric": f"{AI}custom_model_training_a2_cpus", "dimensionsInfos": [{"details": {}}]},
]


class Quotas:
    """Answers as the Cloud Quotas API, two entries a page."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.refusal: tuple[int, Any] | None = None

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        first = int(asked.query.get("pageToken", ["0"])[0])
        following = str(first + 2) if first + 2 < len(QUOTAS) else ""
        return self.refusal or (200, {"quotaInfos": QUOTAS[first : first + 2], "nextPageToken": following})


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Quotas, str]]:
    found = Quotas()
    with served(found.answer) as url:
        yield found, url


def cloud(url: str | None, region: str = "us-central1") -> Cloud:
    return Cloud(
        project="my-project", region=region, bucket_name="b", vertex_url="", logging_url="", storage_url=None,
        credentials=AnonymousCredentials(), console_url=None, quotas_url=url,
    )  # fmt: skip


def test_limits_are_those_of_the_region_on_all_pages(service: tuple[Quotas, str]) -> None:
    quota, url = service
    assert quotas.limits(cloud(url)) == {
        f"{AI}custom_model_training_cpus": 42,
        f"{AI}custom_model_training_nvidia_t4_gpus": 0,
        f"{AI}custom_model_training_n2_cpus": -1,
    }
    assert [one.path for one in quota.asked] == [
        "/v1/projects/my-project/locations/global/services/aiplatform.googleapis.com/quotaInfos"
    ] * 3
    elsewhere = quotas.limits(cloud(url, "europe-west1")) or {}
    assert (elsewhere[f"{AI}custom_model_training_cpus"], elsewhere[f"{AI}custom_model_serving_cpus"]) == (8, 20)


@pytest.mark.parametrize(
    "answer", [(403, {"error": {"message": "API not enabled"}}), (500, b"<html>"), (200, b"<html>"), (200, [1]),
               (200, {"quotaInfos": [{"dimensionsInfos": [{"details": {"value": "x"}}]}]})], ids=str,
)  # fmt: skip
def test_where_nobody_tells_nothing_is_refused(answer: tuple[int, Any], service: tuple[Quotas, str]) -> None:
    quota, url = service
    quota.refusal = answer
    try:
        assert quotas.limits(cloud(url)) is None
        check_quota(cloud(url), "key", Machine(TRAINING, "n1-standard-96", count=100))
    finally:
        quota.refusal = None
    assert quotas.limits(cloud(None)) is None
    assert quotas.limits(cloud("http://127.0.0.1:9")) is None


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        (Machine(TRAINING, "n1-standard-4", "NVIDIA_TESLA_T4", 2, 3),
         {"training_cpus": 12, "training_nvidia_t4_gpus": 6}),
        (Machine(TRAINING, "e2-standard-8"), {"training_cpus": 8}),
        (Machine(TRAINING, "n1-highmem-2", spot=True), {"training_preemptible_cpus": 2}),
        (Machine(PREDICTION, "n2-standard-4"), {"serving_n2_cpus": 4}),
        (Machine(PREDICTION, "a3-highgpu-1g", "NVIDIA_H100_80GB"),
         {"serving_a3_cpus": 26, "serving_nvidia_h100_80gb_gpus": 1}),
        (Machine(TRAINING, "x9-future-4"), {}),
    ],
    ids=str,
)  # fmt: skip
def test_machines_count_against_these_metrics(machine: Machine, wanted: dict[str, int]) -> None:
    assert needs(machine) == {f"{AI}custom_model_{name}": count for name, count in wanted.items()}


def test_only_what_is_known_to_be_too_little_is_a_shortage() -> None:
    machine = Machine(TRAINING, "n1-standard-4", "NVIDIA_TESLA_T4")
    cpus, gpus = f"{AI}custom_model_training_cpus", f"{AI}custom_model_training_nvidia_t4_gpus"
    assert shortages(machine, {cpus: 4, gpus: 0}) == [Shortage(gpus, 0, 1)]
    assert shortages(machine, {cpus: -1, gpus: 1}) == []
    assert shortages(machine, {}) == []


def test_a_job_that_the_project_may_never_run_is_refused_with_where_to_ask(service: tuple[Quotas, str]) -> None:
    _, url = service
    check_quota(cloud(url), "key", Machine(TRAINING, "n1-standard-32"))
    with pytest.raises(ConfigError) as caught:
        check_quota(cloud(url), "models.m.training_machine_type", Machine(TRAINING, "n1-standard-4", "NVIDIA_TESLA_T4"))
    assert caught.value.problem == (
        "`models.m.training_machine_type` asks for 1 n1-standard-4 with 1 NVIDIA_TESLA_T4, and the project may have "
        "0 of custom_model_training_nvidia_t4_gpus in us-central1, less than 1"
    )
    assert "quotas?project=my-project" in str(caught.value.hint)


def test_doctor_looks_at_the_machines_of_every_model(service: tuple[Quotas, str]) -> None:
    _, url = service
    settings = {"google_cloud_project": {"project_id": "my-project", "region": "us-central1"},
                "storage_bucket": {"bucket_name": "my-bucket"}}  # fmt: skip
    small = EdgeConfig.model_validate(settings | {"models": {"m": {"endpoint_name": "m"}}})
    assert (
        doctor._quota(small, cloud(url)).fact
        == "the project may have the machines that edge.yaml names, in us-central1"
    )
    large = small.models["m"].model_copy(update={"training_replica_count": 11})
    with pytest.raises(ConfigError, match="asks for 11 n1-standard-4, and the project may have 42 of"):
        doctor._quota(small.model_copy(update={"models": {"m": large}}), cloud(url))
    assert "cloudquotas.googleapis.com" in str(doctor._quota(small, cloud("http://127.0.0.1:9")).advice)
    assert doctor._quota(small, cloud(None)).advice is None
