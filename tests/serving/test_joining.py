"""Requests that wait together get the answers that each would have got alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from edge_tasks.serving.__main__ import load
from edge_tasks.serving.joining import VARIABLE, can_join
from edge_tasks.serving.predictor_model import joined, model_of
from edge_tasks.training import save_results
from tests.serving.model_server import started

TABLE = pd.DataFrame({"age": np.arange(20.0), "income": np.arange(20.0) ** 2})
Y = np.where(TABLE["age"] > 9, "old", "young")


def saved(folder: Path, *steps: Any) -> Path:
    model = make_pipeline(SimpleImputer(), *steps, LogisticRegression()).fit(TABLE, Y)
    save_results(model, {"score": 1.0}, str(folder), inputs=TABLE, method="predict_proba")
    return folder / "model"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("joined"), StandardScaler())


def row(number: int) -> dict[str, Any]:
    return {"age": float(number), "income": None if number % 3 else number**2}


def test_each_request_gets_its_own_part(artifact: Path) -> None:
    predictor = load(str(artifact), Path("/nowhere"))
    assert model_of(predictor, artifact).joins
    requests = [
        {"instances": [row(n) for n in range(start, start + count)]} for start, count in ((0, 2), (7, 1), (3, 4))
    ]
    bodies = joined(predictor, requests)
    assert bodies is not None
    for request, body in zip(requests, bodies, strict=True):
        (alone,) = joined(predictor, [request]) or [b""]
        for one, other in zip(orjson.loads(body)["predictions"], orjson.loads(alone)["predictions"], strict=True):
            assert one["prediction"] == other["prediction"]
            assert one["probabilities"] == pytest.approx(other["probabilities"])


@pytest.mark.parametrize(
    "other",
    [
        {"instances": []},
        {"instances": [{"age": "x", "income": 1}]},
        {"instances": [row(1)], "parameters": {"method": "predict"}},
        {"rows": 1},
        [],
    ],
)
def test_what_can_only_be_answered_by_itself_is_not_joined(artifact: Path, other: Any) -> None:
    predictor = load(str(artifact), Path("/nowhere"))
    assert joined(predictor, [{"instances": [row(1)]}, other]) is None


def test_a_model_that_may_look_at_all_rows_is_asked_for_each_request(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = saved(tmp_path, FunctionTransformer(np.negative))
    assert not can_join(looking)
    assert can_join(artifact)
    monkeypatch.setenv(VARIABLE, "0")
    assert not can_join(artifact)


@pytest.mark.slow
def test_a_server_answers_many_at_once_each_with_its_own(artifact: Path, tmp_path: Path) -> None:
    with started(artifact, tmp_path) as server, ThreadPoolExecutor(8) as clients:
        server.wait_until_ready()
        expected = {number: server.predict(row(number)) for number in range(8)}
        wrong = {"age": "x", "income": 1}

        def ask(number: int) -> Any:
            # Some are wrong, and spoil nobody else's.
            return server.predict(wrong if number % 10 == 9 else row(number % 8))

        for number, found in enumerate(clients.map(ask, range(200))):
            if number % 10 == 9:
                assert found == 'instance 0: column `age` is the text "x", not a number'
            else:
                assert found[0]["probabilities"] == pytest.approx(expected[number % 8][0]["probabilities"])
