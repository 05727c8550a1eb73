"""A client that asks a model at zero: where a dedicated endpoint is asked, and for how long it is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from edge_tasks.cloud import endpoints, scale_to_zero
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import ModelConfig, ScaleToZero
from edge_tasks.errors import CloudError
from tests.json_service import Asked, served

ENDPOINT = "projects/1/locations/us-central1/endpoints/7"
NOT_READY = "Model is not yet ready for inference. Please wait and then try your request again."


class Google:
    """Stands for Vertex AI: an endpoint, and a model on it that is at zero for some requests."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.dns = ""
        self.refusals = 0
        self.form: Any = {"error": {"code": 429, "message": NOT_READY, "status": "RESOURCE_EXHAUSTED"}}

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        if asked.path.endswith(":deployModel"):
            return 200, {"name": f"{ENDPOINT}/operations/1"}
        if asked.method == "GET":
            return 200, {"name": ENDPOINT, "dedicatedEndpointDns": self.dns}
        self.refusals -= 1
        return (429, self.form) if self.refusals >= 0 else (200, {"predictions": [1]})


@pytest.fixture
def google() -> Google:
    return Google()


@pytest.fixture
def cloud(google: Google, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(endpoints, "_FIRST_PAUSE", 0.01)
    with served(google.answer) as url:
        yield Cloud(
            project="p", region="us-central1", bucket_name="b", vertex_url=url, logging_url=url, storage_url=url,
            credentials=AnonymousCredentials(), console_url=None,
        )  # fmt: skip


@pytest.mark.parametrize("form", [None, NOT_READY])
def test_a_model_that_starts_is_waited_for(google: Google, cloud: Cloud, form: Any) -> None:
    """Whether the refusal is in Google's usual form, or a text alone."""
    google.form = form or google.form
    google.refusals = 3
    waited: list[float] = []
    assert endpoints.predict(cloud, ENDPOINT, b"{}", on_wait=waited.append) == {"predictions": [1]}
    assert len(waited) == 3


def test_one_does_not_wait_longer_than_one_likes_nor_for_a_quota(google: Google, cloud: Cloud) -> None:
    google.refusals = 1
    with pytest.raises(CloudError, match="the endpoint answered 429: Model is not yet ready") as refused:
        endpoints.predict(cloud, ENDPOINT, b"{}", patience=0)
    assert refused.value.hint == "it is being started: ask again in some minutes"
    google.refusals, google.form = 1, {"error": {"code": 429, "message": "Quota exceeded"}}
    with pytest.raises(CloudError, match="Quota exceeded"):
        endpoints.predict(cloud, ENDPOINT, b"{}")


@pytest.mark.parametrize("dns", ["7.us-central1-1.prediction.vertexai.goog", "https://7.prediction.vertexai.goog/"])
def test_a_dedicated_endpoint_is_asked_at_its_own_address(google: Google, cloud: Cloud, dns: str) -> None:
    assert endpoints.predict_url(cloud, ENDPOINT) == f"{cloud.vertex_url}/v1/{ENDPOINT}:predict"
    google.dns = cloud.vertex_url.partition("://")[2]  # as the emulator tells it
    assert endpoints.predict_url(cloud, ENDPOINT) == f"{cloud.vertex_url}/v1/{ENDPOINT}:predict"
    google.dns = dns
    host = dns.removeprefix("https://").rstrip("/")
    assert endpoints.predict_url(cloud, ENDPOINT) == f"https://{host}/v1/{ENDPOINT}:predict"


def test_v1beta1_is_asked_for_it_in_the_words_of_its_reference(google: Google, cloud: Cloud) -> None:
    settings = ModelConfig(
        endpoint_name="e", scale_to_zero=ScaleToZero(idle="90m"), min_replica_count=2, max_replica_count=3,
        serving_machine_type="n1-standard-4", serving_accelerator_type="NVIDIA_TESLA_T4",
        serving_service_account="s@p.iam.gserviceaccount.com",
    )  # fmt: skip
    begun = endpoints.start_deployment(
        cloud, ENDPOINT, model="m@1", display_name="churn", settings=settings, traffic={"0": 100}
    )
    assert (begun.name, begun.beta) == (f"{ENDPOINT}/operations/1", True)
    assert google.asked[-1].path == f"/v1beta1/{ENDPOINT}:deployModel"
    assert google.asked[-1].body == {
        "deployedModel": {
            "model": "m@1",
            "displayName": "churn",
            "enableContainerLogging": True,
            "serviceAccount": "s@p.iam.gserviceaccount.com",
            "dedicatedResources": {
                "machineSpec": {
                    "machineType": "n1-standard-4",
                    "acceleratorType": "NVIDIA_TESLA_T4",
                    "acceleratorCount": 1,
                },
                "minReplicaCount": 0,
                "initialReplicaCount": 2,
                "maxReplicaCount": 3,
                "scaleToZeroSpec": {"minScaleupPeriod": "3600s", "idleScaledownPeriod": "5400s"},
            },
        },
        "trafficSplit": {"0": 100},
    }
    assert scale_to_zero.words(settings.scale_to_zero) == "after 90m without a request, up for 1h at least"
