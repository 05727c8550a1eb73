"""Limits that the API's comments name: of replicas, metrics, containers and ids."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions

from tests.emulator.harness import ECHO, PARENT, SKLEARN_IMAGE, Emulator

CPU = "aiplatform.googleapis.com/prediction/online/cpu/utilization"


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"requiredReplicaCount": 2}, "required_replica_count must be from 1 to min_replica_count"),
        ({"requiredReplicaCount": -1}, "required_replica_count must be from 1 to min_replica_count"),
        ({"autoscalingMetricSpecs": [{"target": 60}]}, "metric_name is required"),
        ({"autoscalingMetricSpecs": [{"metricName": CPU}] * 2}, "names a metric twice"),
        ({"autoscalingMetricSpecs": [{"metricName": CPU, "target": 101}]}, "is 101: it must be from 1 to 100 percent"),
    ],
)
def test_replicas_and_metrics_that_no_deployment_has_are_refused(
    emulator: Emulator, resources: dict[str, Any], problem: str
) -> None:
    one = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
    endpoint = emulator.create_endpoint()
    answer = emulator.deploy(endpoint, emulator.upload(ECHO), dedicatedResources={**one, **resources})
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert problem in answer.message
    assert "deployedModels" not in emulator.get(endpoint).body


def test_the_sdk_is_told_of_a_target_that_is_no_percentage(aiplatform: Any, emulator: Emulator) -> None:
    model = aiplatform.Model(emulator.upload(ECHO))
    with pytest.raises(exceptions.BadRequest, match="is 101: it must be from 1 to 100 percent"):
        model.deploy(machine_type="n1-standard-2", autoscaling_target_cpu_utilization=101)


@pytest.mark.parametrize(
    ("container", "problem"),
    [
        ({"deploymentTimeout": "7201s"}, "deployment_timeout must be at most 7200 seconds"),
        ({"deploymentTimeout": "-1s"}, "deployment_timeout must be at most 7200 seconds"),
        ({"healthProbe": {"periodSeconds": -1}}, "health_probe: period_seconds"),
        ({"invokeRoutePrefix": "/x"}, "invoke_route_prefix must be /*"),
        ({"invokeRoutePrefix": "/*", "predictRoute": "/p"}, "Only one of predict_route and invoke_route_prefix"),
    ],
)
def test_a_container_that_no_model_has_is_refused(emulator: Emulator, container: dict[str, Any], problem: str) -> None:
    model = {"displayName": "x", "containerSpec": {"imageUri": SKLEARN_IMAGE, **container}}
    answer = emulator.post(f"{PARENT}/models:upload", {"model": model})
    assert answer.error == (400, "INVALID_ARGUMENT")
    assert problem in answer.message


def test_a_model_of_any_route_needs_a_dedicated_endpoint(aiplatform: Any, emulator: Emulator, bucket: str) -> None:
    emulator.put(bucket, "model/model.pkl", ECHO)
    container = {"imageUri": SKLEARN_IMAGE, "invokeRoutePrefix": "/*"}
    name = emulator.upload(None, model={"containerSpec": container, "artifactUri": f"gs://{bucket}/model"})
    shared = aiplatform.Endpoint.create("shared")
    with pytest.raises(exceptions.BadRequest, match="it can only be deployed to a dedicated endpoint"):
        shared.deploy(aiplatform.Model(name), machine_type="n1-standard-2")
    dedicated = aiplatform.Endpoint.create("dedicated", dedicated_endpoint_enabled=True)
    dedicated.deploy(aiplatform.Model(name), machine_type="n1-standard-2")
    dedicated.delete(force=True)


@pytest.mark.parametrize("endpoint_id", ["0", "0123", "12345678901", "Abc", "a_b", "a-", "a" * 64])
def test_the_id_of_an_endpoint_is_a_number_or_begins_with_a_letter(aiplatform: Any, endpoint_id: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="the first not 0, or begin with a letter"):
        aiplatform.Endpoint.create("x", endpoint_id=endpoint_id)
