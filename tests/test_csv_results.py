"""The table that a batch prediction gives, for every form of instances and predictions."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from edge_tasks.jobs.csv_results import as_csv


def table(*results: tuple[Any, Any], header: tuple[str, ...] = ()) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(as_csv([{"instance": one, "prediction": two} for one, two in results], header)))


@pytest.mark.parametrize(
    ("prediction", "columns"),
    [
        (7, {"prediction": 7}),
        ("yes", {"prediction": "yes"}),
        ([0.25, 0.75], {"prediction_0": 0.25, "prediction_1": 0.75}),
        (
            {"prediction": "no", "probabilities": {"no": 0.75, "yes": 0.25}},
            {"prediction": "no", "probabilities_no": 0.75, "probabilities_yes": 0.25},
        ),
        ({"scores": [1, 2], "degrees": 3.5}, {"scores_0": 1, "scores_1": 2, "degrees": 3.5}),
        ([[1, 2], [3]], {"prediction": "[[1, 2], [3]]"}),
        ({"found": []}, {"found": "[]"}),
    ],
)
def test_each_value_of_a_prediction_is_a_column(prediction: Any, columns: dict[str, Any]) -> None:
    (row,) = table(({"age": 5}, prediction)).to_dict(orient="records")
    assert row == {"age": 5, **columns}


def test_instances_that_are_lists_have_the_names_of_the_header() -> None:
    assert list(table(([1, 2], 3), header=("a", "b"))) == ["a", "b", "prediction"]
    assert list(table(([1, 2], 3))) == ["x1", "x2", "prediction"]


def test_values_stay_in_their_columns_when_instances_and_predictions_lack_some() -> None:
    rows = table(({"a": 1, "b": 2}, {"x": 1}), ({"b": 3}, {"y": 2, "x": None}))
    assert list(rows) == ["a", "b", "x", "y"]
    assert rows["b"].tolist() == [2, 3]
    assert rows.isna().to_numpy().tolist() == [[False, False, False, True], [True, False, True, False]]


def test_a_prediction_does_not_take_the_name_of_a_column_of_the_instances() -> None:
    assert list(table(({"prediction": 1, "degrees": 2}, {"degrees": 3, "prediction": 4}))) == [
        "prediction",
        "degrees",
        "prediction_degrees",
        "prediction_prediction",
    ]


def test_without_results_there_is_the_header() -> None:
    assert as_csv([]) == "prediction\n"
