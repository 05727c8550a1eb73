"""Explanations, by the SDK: what each feature adds to a prediction."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tests.emulator.harness import Emulator

SHAPLEY = {"sampledShapleyAttribution": {"pathCount": 10}}
INPUTS = {"inputs": {"features": {"inputBaselines": [[1, 1, 1]]}}, "outputs": {"price": {}}}


def linear() -> bytes:
    from sklearn.linear_model import LinearRegression

    rows = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
    return pickle.dumps(LinearRegression().fit(rows, [2 * x - 3 * y + 0.5 * z + 7 for x, y, z in rows]))


def served(emulator: Emulator, pickled: bytes, **spec: Any) -> str:
    model = emulator.upload(pickled, model={"explanationSpec": spec} if spec else None)
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, model)
    return endpoint


def test_the_features_of_a_linear_model_add_what_its_coefficients_say(emulator: Emulator, aiplatform: Any) -> None:
    name = served(emulator, linear(), parameters=SHAPLEY, metadata=INPUTS)
    answer = aiplatform.Endpoint(name).explain([[2.0, 3.0, 5.0], [1.0, 1.0, 1.0]])
    first, second = (explanation.attributions[0] for explanation in answer.explanations)
    assert list(first.feature_attributions["features"]) == pytest.approx([2, -6, 2])
    assert (first.baseline_output_value, first.instance_output_value) == pytest.approx((6.5, 4.5))
    assert (first.output_name, first.approximation_error) == ("price", pytest.approx(0, abs=1e-9))
    assert list(second.feature_attributions["features"]) == pytest.approx([0, 0, 0])
    assert answer.predictions == pytest.approx([4.5, 6.5])


@pytest.mark.parametrize(
    ("status", "spec", "text"),
    [
        (400, {}, "has no explanation_spec"),
        (501, {"parameters": {"xraiAttribution": {"stepCount": 1}}, "metadata": INPUTS}, "xrai_attribution"),
        (400, {"parameters": {"sampledShapleyAttribution": {"pathCount": 99}}, "metadata": INPUTS}, "path_count"),
        (400, {"parameters": SHAPLEY, "metadata": {"inputs": {"a": {"inputBaselines": [[1]]}}}}, "shape"),
    ],
)
def test_what_cannot_be_explained_is_refused_with_the_reason(
    emulator: Emulator, status: int, spec: dict[str, Any], text: str
) -> None:
    answer = emulator.post(f"{served(emulator, linear(), **spec)}:explain", {"instances": [[1, 2, 3]]})
    assert answer.status == status, answer.body
    assert text in answer.message
