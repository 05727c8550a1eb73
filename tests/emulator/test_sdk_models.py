"""The methods of aiplatform.Model, ModelRegistry and Endpoint, one by one."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.harness import ECHO, SKLEARN_IMAGE, Emulator, model_of

# What takes a service of Google's, a dedicated endpoint, gRPC, or a call that bypasses api_endpoint.
ABSENT = {
    "Model": {"evaluate"},
    "ModelRegistry": set(),
    "Endpoint": {
        *("direct_predict", "direct_predict_async", "direct_raw_predict", "direct_raw_predict_async"),
        *("explain", "explain_async", "invoke", "predict_async", "raw_predict", "stream_raw_predict"),
        *("stream_direct_predict", "stream_direct_raw_predict"),
    },
}


def test_every_method_is_called_in_these_tests_or_known_to_be_absent(aiplatform: Any) -> None:
    """A new release of the SDK may bring new ones."""
    folder = Path(__file__).parent
    source = "".join((folder / name).read_text() for name in (Path(__file__).name, "test_batch_predictions.py"))
    classes = (aiplatform.models.Model, aiplatform.models.ModelRegistry, aiplatform.models.Endpoint)
    for cls in classes:
        methods = {
            name
            for name, _ in inspect.getmembers(cls, lambda member: inspect.isroutine(member))
            if not name.startswith("_") and name not in ABSENT[cls.__name__]
        }
        assert {name for name in methods if f".{name}(" not in source} == set(), cls


@pytest.fixture
def model(aiplatform: Any, emulator: Emulator, bucket: str) -> Any:
    emulator.put(bucket, "m/model.pkl", ECHO)
    return aiplatform.Model.upload(
        artifact_uri=f"gs://{bucket}/m",
        serving_container_image_uri=SKLEARN_IMAGE,
        display_name="full",
        description="a description",
        labels={"x": "y"},
        version_aliases=["one"],
        version_description="the first",
        serving_container_environment_variables={"A": "1"},
        serving_container_predict_route="/p",
        serving_container_health_route="/h",
        serving_container_ports=[8080],
        instance_schema_uri="gs://x/instance.yaml",
        parameters_schema_uri="gs://x/parameters.yaml",
        prediction_schema_uri="gs://x/prediction.yaml",
    )


def test_the_properties_of_a_model(aiplatform: Any, model: Any, bucket: str) -> None:
    model = aiplatform.Model(model.versioned_resource_name)
    assert (model.display_name, model.description, model.labels) == ("full", "a description", {"x": "y"})
    assert (model.version_id, model.version_aliases) == ("1", ["one", "default"])
    assert (model.version_description, model.uri) == ("the first", f"gs://{bucket}/m")
    assert model.container_spec.env[0].value == "1"
    assert model.predict_schemata.instance_schema_uri == "gs://x/instance.yaml"
    assert model.create_time == model.version_create_time <= model.update_time
    assert model.supported_input_storage_formats == ["jsonl", "csv"]
    assert model.supported_output_storage_formats == ["jsonl"]
    assert [found.name for found in model.supported_deployment_resources_types] == ["DEDICATED_RESOURCES"]
    assert list(model.supported_export_formats) == ["custom-trained"]
    assert model.training_job is None
    assert model.to_dict()["versionId"] == "1"
    model.wait()


def test_models_are_changed_copied_exported_and_listed(aiplatform: Any, model: Any, bucket: str) -> None:
    assert model.update(display_name="new", description="d", labels={"c": model.name}).display_name == "new"
    assert [found.name for found in aiplatform.Model.list(filter=f'labels.c="{model.name}"')] == [model.name]
    copied = model.copy(destination_location="europe-west4", destination_model_id=f"copy-{model.name}"[:63])
    assert (copied.version_id, copied.labels) == ("1", {"c": model.name})
    again = model.copy(destination_location="europe-west4", destination_parent_model=copied.resource_name)
    assert again.version_id == "2"
    output = model.export_model(export_format_id="custom-trained", artifact_destination=f"gs://{bucket}/out")
    assert output["artifactOutputUri"].startswith(f"gs://{bucket}/out/model-export-new-")
    assert list(model.list_model_evaluations()) == []
    with pytest.raises(Exception, match="not found"):
        model.get_model_evaluation("1")
    copied.delete()
    model.delete()
    assert aiplatform.Model.list(filter=f'labels.c="{model.name}"') == []


def test_local_files_are_uploaded_by_their_framework(aiplatform: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(ECHO)
    (tmp_path / "model.bst").write_bytes(b"x")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    sklearn = aiplatform.Model.upload_scikit_learn_model_file(str(tmp_path / "model.pkl"), sklearn_version="1.5")
    xgboost = aiplatform.Model.upload_xgboost_model_file(str(tmp_path / "model.bst"), xgboost_version="2.1")
    tensorflow = aiplatform.Model.upload_tensorflow_saved_model(str(tmp_path / "saved"), tensorflow_version="2.15")
    images = [found.container_spec.image_uri for found in (sklearn, xgboost, tensorflow)]
    assert ["prediction/sklearn-cpu.1-5" in images[0], "prediction/xgboost-cpu.2-1" in images[1]] == [True, True]
    assert "prediction/tf2-cpu.2-15" in images[2]


def test_the_registry(aiplatform: Any, model: Any) -> None:
    second = aiplatform.Model.upload(parent_model=model.resource_name, serving_container_image_uri=SKLEARN_IMAGE)
    registry = model.versioning_registry
    assert [found.version_id for found in registry.list_versions()] == ["1", "2"]
    assert registry.get_model().version_id == second.version_id == "2"
    registry.update_version("1", version_description="changed", labels={"q": "r"})
    registry.add_version_aliases(["golden"], "1")
    info = registry.get_version_info("golden")
    assert (info.version_id, info.version_description, info.version_aliases) == ("1", "changed", ["one", "golden"])
    registry.remove_version_aliases(["golden"], "1")
    registry.delete_version("1")
    assert [found.version_id for found in registry.list_versions()] == ["2"]


def test_the_life_of_an_endpoint(aiplatform: Any, model: Any, emulator: Emulator) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="e", description="d", labels={"a": "b"}, endpoint_id="7654321")
    endpoint.deploy(
        model,
        deployed_model_display_name="first",
        machine_type="n1-standard-4",
        min_replica_count=1,
        max_replica_count=2,
        autoscaling_target_cpu_utilization=50,
        enable_access_logging=True,
        disable_container_logging=True,
        service_account="a@b.c",
        deploy_request_timeout=30,
    )
    (first,) = endpoint.list_models()
    assert (first.display_name, first.dedicated_resources.max_replica_count) == ("first", 2)
    assert first.dedicated_resources.autoscaling_metric_specs[0].target == 50
    other = aiplatform.Model(emulator.upload(model_of("lambda rows: ['other'] * len(rows)")))
    endpoint.deploy(other, traffic_split={"0": 100, first.id: 0})
    assert endpoint.predict([[1]], timeout=10).predictions == ["other"]
    endpoint.update(display_name="renamed", labels={"z": "y"}, traffic_split={first.id: 100})
    found = aiplatform.Endpoint(endpoint.resource_name)
    assert (found.display_name, found.labels, found.traffic_split) == ("renamed", {"z": "y"}, {first.id: 100})
    assert found.predict([[1]]).predictions == [[1.0]]
    assert (found.network, found.dedicated_endpoint_enabled) == ("", False)
    assert found.create_time <= found.update_time
    assert found.to_dict()["displayName"] == "renamed"
    for text in ('display_name="renamed"', "endpoint=7654321", 'labels.z="y"'):
        assert [listed.name for listed in aiplatform.Endpoint.list(filter=text)] == ["7654321"]
    with pytest.raises(Exception, match="is deployed on the endpoint"):
        model.delete()
    endpoint.undeploy(first.id, traffic_split={next(d.id for d in endpoint.list_models() if d.id != first.id): 100})
    assert endpoint.predict([[1]]).predictions == ["other"]
    endpoint.undeploy_all()
    endpoint.delete()
    endpoint.wait()


def test_a_model_deploys_itself_in_the_background(aiplatform: Any, model: Any) -> None:
    endpoint = model.deploy(machine_type="n1-standard-2", sync=False)
    endpoint.wait()
    assert endpoint.predict([[3]]).predictions == [[3.0]]
    endpoint.delete(force=True)


def test_what_is_absent_says_so(aiplatform: Any) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="absent", enable_request_response_logging=True)
    with pytest.raises(Exception, match=r"PredictionService.*is not implemented by this emulator"):
        endpoint.direct_predict([{"dtype": "STRING"}])
    endpoint.delete()


def test_a_dedicated_endpoint_is_this_machine(aiplatform: Any, emulator: Emulator, model: Any) -> None:
    endpoint = aiplatform.Endpoint.create(
        display_name="dedicated", dedicated_endpoint_enabled=True, inference_timeout=30
    )
    address = emulator.url.removeprefix("http://")
    assert (endpoint.dedicated_endpoint_enabled, endpoint.dedicated_endpoint_dns) == (True, address)
    (found,) = aiplatform.Endpoint.list(filter="dedicated_endpoint_enabled=true")
    assert (found.name, found.dedicated_endpoint_dns) == (endpoint.name, address)
    endpoint.deploy(model, machine_type="n1-standard-2")
    # By HTTPS, which is not spoken here: the fixture of the pytest plugin shows the way.
    with pytest.raises(Exception, match=r"(?i)ssl"):
        endpoint.predict([[1]])
    endpoint.delete(force=True)
