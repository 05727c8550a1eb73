"""Predictions that JSON has no number for."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from edge_tasks.emulator.serving.prebuilt import PrebuiltModel
from edge_tasks.serving import Predictor
from edge_tasks.serving.http_protocol import Answer
from edge_tasks.serving.predictor_model import PredictorModel

BODY = b'{"instances": [[1], [2], [3]]}'


def with_nan(*_: Any) -> Any:
    return np.array([math.nan, 0.5, math.inf])


class WithNan(Predictor):
    def predict(self, instances: Any) -> Any:
        return with_nan(instances)


class WithItsOwnWords(WithNan):
    def postprocess(self, prediction_results: Any) -> Any:
        return {"predictions": prediction_results.tolist()}


@pytest.mark.parametrize(
    "answer",
    [
        PrebuiltModel("scikit-learn", with_nan, joins=False).answer,
        PredictorModel(WithNan(), joins=False).answer,
        PredictorModel(WithItsOwnWords(), joins=False).answer,
    ],
    ids=["prebuilt image", "predictor", "own postprocess"],
)
def test_nan_and_infinity_are_null_whatever_serves(answer: Any) -> None:
    given: Answer = answer(BODY)
    assert json.loads(given.body)["predictions"] == [None, 0.5, None]
