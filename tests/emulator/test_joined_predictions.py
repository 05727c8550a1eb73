"""Requests that wait together for a prebuilt image's model get the answers, and the errors, that each gets alone."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import orjson
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from edge_tasks.emulator.serving.pickled import load
from edge_tasks.emulator.serving.prebuilt import PrebuiltModel
from edge_tasks.serving.joining import can_join
from tests.emulator.harness import Emulator

ROWS = np.random.default_rng(0).normal(size=(40, 3))
WORDS = np.array(["low", "high"])[(ROWS[:, 0] > 0).astype(int)]


def served(folder: Path, model: Any) -> PrebuiltModel:
    joblib.dump(model, folder / "model.joblib")
    return PrebuiltModel("sklearn", load(folder), joins=can_join(folder))


@pytest.fixture(params=["words", "numbers", "tables"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> PrebuiltModel:
    fitted = {
        "words": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(ROWS, WORDS),
        "numbers": lambda: LinearRegression().fit(ROWS, ROWS.sum(axis=1)),
        "tables": lambda: LinearRegression().fit(ROWS, ROWS[:, :2]),
    }[request.param]()
    return served(tmp_path, fitted)


def body(rows: Any, **more: Any) -> bytes:
    return orjson.dumps({"instances": rows, **more})


def test_each_request_gets_what_it_gets_alone(model: PrebuiltModel) -> None:
    assert model.joins
    bodies = [body(ROWS[first : first + count].tolist()) for first, count in ((0, 1), (5, 3), (9, 1), (20, 7))]
    together = model.answer_together(bodies)
    assert together is not None
    for alone, one in zip(map(model.answer, bodies), together, strict=True):
        assert one.status == alone.status == 200
        found, expected = (orjson.loads(answer.body)["predictions"] for answer in (one, alone))
        assert len(found) == len(expected)
        if isinstance(found[0], str):
            assert found == expected
        else:
            assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        body([]),
        body([["a", "b", "c"]]),
        body([[1.0, 2.0]]),
        body([[1.0, 2.0, None]]),
        body([[1, 2, 3]]),
        body([1.0, 2.0, 3.0]),
        body([[1.0, 2.0, 3.0]], parameters={"a": 1}),
        body("x"),
        b"{}",
        b"[]",
        b"not JSON",
    ],
)
def test_a_request_of_another_kind_is_answered_by_itself(tmp_path: Path, other: bytes) -> None:
    model = served(tmp_path, LinearRegression().fit(ROWS, ROWS[:, 0]))
    assert model.answer_together([body(ROWS[:2].tolist()), other]) is None


def test_a_model_that_may_look_at_all_rows_is_asked_for_each_request(tmp_path: Path) -> None:
    looking = make_pipeline(FunctionTransformer(np.negative), LinearRegression()).fit(ROWS, ROWS[:, 0])
    assert not served(tmp_path, looking).joins


def test_an_endpoint_asked_by_many_at_once_answers_each_its_own(emulator: Emulator) -> None:
    fitted = make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(ROWS, WORDS)
    expected = fitted.predict(ROWS).tolist()
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(pickle.dumps(fitted)))
    wrong = emulator.predict(endpoint, [["x", 1, 2]])
    assert wrong.status == 400

    def ask(number: int) -> bool:
        if number % 7 == 6:
            return bool(emulator.predict(endpoint, [["x", 1, 2]]).body == wrong.body)
        answer = emulator.predict(endpoint, ROWS[number % 40 : number % 40 + 2].tolist())
        return bool(answer.body["predictions"] == expected[number % 40 : number % 40 + 2])

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(ask, range(280)))
