"""What serves a model follows from its artifact and from edge.yaml, and the reason is told."""

from __future__ import annotations

from typing import Any

import pytest

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.serving_choice import ArtifactFacts, ContainerSpec, choose
from edge_tasks.domain.signature import Signature
from edge_tasks.errors import ConfigError

SKLEARN = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
XGBOOST = "us-docker.pkg.dev/vertex-ai/prediction/xgboost-cpu.2-1:latest"
OWN = "europe-west1-docker.pkg.dev/my-project/images/mine:1"

LIBRARIES = {"python": "3.10.1", "scikit-learn": "1.6.1", "numpy": "1.26.4"}
LOCK = "scikit-learn==1.6.1\n"


def config(**settings: Any) -> EdgeConfig:
    return EdgeConfig.model_validate(
        {
            "google_cloud_project": {"project_id": "my-project", "region": "us-central1"},
            "storage_bucket": {"bucket_name": "my-bucket"},
            "models": {"m": {"endpoint_name": "e", **settings}},
        }
    )


def facts(*files: str, **changes: Any) -> ArtifactFacts:
    known: dict[str, Any] = {"environment": LIBRARIES, "requirements": LOCK, **changes}
    return ArtifactFacts(files or ("model.joblib",), **known)


@pytest.mark.parametrize(
    ("artifact", "settings", "kind", "why"),
    [
        (facts(), {}, "prebuilt", "nothing is known that it could not do"),
        (facts(signature=Signature("array", differs="")), {}, "prebuilt", "it answers the same as the model itself"),
        (facts(signature=Signature("table", differs="it makes an array")), {}, "predictor", "it makes an array"),
        (facts("model.joblib", "code/predictor.py"), {}, "predictor", "the model has a predictor.py"),
        (facts("model.joblib", "code/a/b.py"), {}, "predictor", "its own code (`a`)"),
        (facts("model.bst"), {}, "predictor", "the image for sklearn does not load model.bst"),
        (facts("model.bst"), {"serving_container_image_uri": XGBOOST}, "prebuilt", "nothing is known"),
        (facts("model.cbm"), {}, "predictor", "does not load model.cbm"),
        (facts(environment={**LIBRARIES, "lightgbm": "4.6.0"}), {}, "predictor", "the model needs lightgbm"),
        (
            facts(environment={**LIBRARIES, "scikit-learn": "1.7.2"}), {}, "predictor",
            "the model was trained with scikit-learn 1.7.2, the image holds 1.6",
        ),
        (facts(environment={"scikit-learn": "1.7.2"}, requirements=None), {}, "prebuilt", "nothing is known"),
        (facts(), {"serving": "predictor"}, "predictor", "edge.yaml says so"),
        (facts("model.cbm"), {"serving": "prebuilt"}, "prebuilt", "edge.yaml says so"),
        (facts(), {"serving_container_image_uri": OWN}, "container", "edge.yaml names its own image"),
        (facts(), {"serving": "container", "serving_container_image_uri": OWN}, "container", "its own image"),
        (facts(), {"serving": "predictor", "serving_container_image_uri": OWN}, "predictor", "edge.yaml says so"),
    ],
)  # fmt: skip
def test_the_choice(artifact: ArtifactFacts, settings: dict[str, Any], kind: str, why: str) -> None:
    serving = choose(config(**settings), "m", artifact)
    assert serving.kind == kind
    assert why in serving.why


def test_a_container_needs_an_image_of_ones_own() -> None:
    with pytest.raises(ConfigError, match="it names no image"):
        choose(config(serving="container"), "m", facts())


def test_variables_reach_whatever_serves() -> None:
    for settings in ({}, {"serving": "predictor"}, {"serving_container_image_uri": OWN}):
        serving = choose(config(serving_env={"WORD": "1"}, **settings), "m", facts())
        assert serving.container.message()["env"] == [{"name": "WORD", "value": "1"}]


@pytest.mark.parametrize("env", [{"AIP_HTTP_PORT": "1"}, {"a-b": "1"}])
def test_variables_of_vertex_ai_cannot_be_set(env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a variable's name"):
        config(serving_env=env)


def test_what_differs_between_two_containers_is_named() -> None:
    one = ContainerSpec("image:1", port=8080)
    other = ContainerSpec("image:2", args=("--x",), env={"A": "1"})
    assert one.differences(other) == [
        "image: image:1 -> image:2", 'args: none -> ["--x"]', "port: 8080 -> none", 'env: none -> {"A": "1"}',
    ]  # fmt: skip
    assert one.digest != other.digest
    assert one.differences(one) == []
