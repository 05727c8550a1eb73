"""What a signature takes from a sample of inputs, and which requests it refuses by the column's name."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from edge_tasks.domain.signature import Column, RequestError, Signature
from edge_tasks.errors import TrainingError
from edge_tasks.serving.inputs import reader_of
from edge_tasks.training.describe import describe

FRAME = pd.DataFrame(
    {
        "age": [30, 41, 52],
        "income": [1.5, None, 3.0],
        "city": ["Rome", None, "Paris"],
        "member": [True, False, True],
        "since": pd.to_datetime(["2020-01-01", "2021-06-01", "2022-01-01"]),
        "plan": pd.Categorical(["basic", "full", "basic"]),
    }
)


def of_frame() -> Signature:
    signature, _ = describe(DummyClassifier().fit(FRAME, ["no", "yes", "no"]), FRAME, "predict")
    return signature


def test_a_frame_gives_names_types_categories_and_ranges() -> None:
    columns = {column.name: column for column in of_frame().columns}
    assert {name: column.type for name, column in columns.items()} == {
        "age": "integer",
        "income": "number",
        "city": "string",
        "member": "boolean",
        "since": "datetime",
        "plan": "string",
    }
    assert (columns["age"].minimum, columns["age"].maximum) == (30, 52)
    assert columns["city"].categories == ("Paris", "Rome")
    assert [name for name, column in columns.items() if column.optional] == ["income", "city"]


def test_the_example_is_the_first_row_as_json_has_it() -> None:
    signature, instances = describe(DummyRegressor().fit(FRAME, [1, 2, 3]), FRAME, "predict")
    # This model looks at nothing, so that the prebuilt image, which takes lists, may serve it.
    assert list(signature.example.values()) == instances[0]
    assert instances[1] == [41, None, None, False, "2021-06-01T00:00:00", "full"]


def test_the_classes_and_the_form_of_what_is_answered_are_told() -> None:
    assert of_frame().output.classes == ("no", "yes")
    regressor, _ = describe(LinearRegression().fit([[1], [2]], [[1, 2], [3, 4]]), np.array([[1], [2]]), "predict")
    assert (regressor.output.form, regressor.output.length) == ("vector", 2)


class _Sees(BaseEstimator, ClassifierMixin):  # type: ignore[misc]
    """Answers what it sees of one column."""

    def fit(self, table: Any, labels: Any) -> _Sees:
        self.classes_ = np.unique(labels)
        return self

    def predict(self, table: Any) -> Any:
        return [f"{column}: {table[column].dtype}, {table[column].tolist()}" for column in table]


@pytest.mark.parametrize(
    "values",
    [
        pd.array([True, None], dtype="boolean"),
        pd.array([1, None], dtype="Int64"),
        pd.array([1.5, None], dtype="Float64"),
        pd.array(["a", None], dtype="string"),
        pd.Series([[1, 2], [3]]),
        pd.Series([{"a": 1}, {"a": 2}]),
        pd.Series([2**60 + 1, 3]),
    ],
    ids=["boolean", "Int64", "Float64", "string", "lists", "objects", "large-integers"],
)
@pytest.mark.parametrize("name", ["x", "", "ä b", 0])
def test_a_request_becomes_the_columns_of_the_training_whatever_their_type_and_name(values: Any, name: Any) -> None:
    table = pd.DataFrame({name: values})
    model = _Sees().fit(table, ["no", "yes"])
    signature, instances = describe(model, table, "predict")
    read = reader_of(Signature.from_json(signature.to_json()))
    asked = [row if isinstance(row, dict) else {str(name): row[0]} for row in instances]
    assert model.predict(read(json.loads(json.dumps(asked)))) == model.predict(table)


def test_a_signature_survives_being_written() -> None:
    signature = of_frame()
    assert Signature.from_json(signature.to_json()) == signature


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"format_version": 2, "form": "table"}', '{"format_version": 1, "x": 1}']
)
def test_what_is_no_signature_of_this_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Signature.from_json(text)


def test_a_pipeline_over_column_names_is_not_for_the_prebuilt_image() -> None:
    frame = FRAME[["city"]].fillna("none")
    encoder = ColumnTransformer([("c", OneHotEncoder(), ["city"])])
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, [0, 1, 1])
    signature, _ = describe(model, frame, "predict")
    assert "without the names of their columns" in str(signature.differs)


def test_a_model_of_numbers_is_for_the_prebuilt_image() -> None:
    inputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    signature, _ = describe(LogisticRegression().fit(inputs, [0, 1]), inputs, "predict")
    assert signature.differs == ""
    assert signature.shape == (2,)


def test_probabilities_are_not_for_the_prebuilt_image() -> None:
    inputs = np.array([[1.0], [3.0]])
    signature, _ = describe(LogisticRegression().fit(inputs, [0, 1]), inputs, "predict_proba")
    assert "predict_proba" in str(signature.differs)


def test_texts_are_a_signature() -> None:
    texts = ["good day", "bad night"]
    signature, instances = describe(
        make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0]), texts, "predict"
    )
    assert (signature.form, instances) == ("texts", texts)
    with pytest.raises(RequestError, match="instance 1 is the number 3, not a text"):
        signature.check_texts(["a", 3])


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (FRAME.head(0), "are empty"),
        ([], "are empty"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name"),
        (np.array([[1.0, 2.0, 3.0]]), "does not answer the inputs"),
    ],
)
def test_inputs_that_are_none_are_refused(inputs: Any, problem: str) -> None:
    with pytest.raises(TrainingError, match=problem):
        describe(LinearRegression().fit([[1.0, 2.0]], [1.0]), inputs, "predict")


def test_a_sparse_matrix_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(TrainingError, match="a sparse matrix") as error:
        describe(LinearRegression().fit([[1.0]], [1.0]), OneHotEncoder().fit_transform([["a"], ["b"]]), "predict")
    assert "toarray()" in str(error.value.hint)


def test_a_model_that_cannot_be_asked_takes_a_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.array([[1.0], [2.0]])
    model = NearestNeighbors(n_neighbors=1).fit(rows)
    with pytest.raises(TrainingError, match="a NearestNeighbors has no `predict`: there is nothing to ask it by"):
        describe(model, rows, "predict")
    (tmp_path / "predictor.py").write_text("")
    assert describe(model, rows, "predict")[0].shape == (1,)


def test_a_method_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(TrainingError, match="LinearRegression has no `predict_proba`"):
        describe(LinearRegression().fit([[1.0]], [1.0]), np.array([[1.0]]), "predict_proba")


GOOD = {"age": 1, "income": 2.5, "city": "x", "member": True, "since": "2020-01-01", "plan": "basic"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"age": "old"}, 'instance 1: column `age` is the text "old", not an integer'),
        ({"age": 1.5}, "column `age` is the number 1.5, not an integer"),
        ({"age": None}, "column `age` is null, not an integer"),
        ({"age": True}, "column `age` is true, not an integer"),
        ({"income": "1"}, "column `income` is the text"),
        ({"city": 3}, "column `city` is the number 3, not a text"),
        ({"member": 1}, "column `member` is the number 1, not true or false"),
        ({"plan": ["basic"]}, "column `plan` is a list, not a text"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_column(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        of_frame().by_column([GOOD, {**GOOD, **change}])


def test_a_missing_column_is_named_and_a_misspelt_one_guessed() -> None:
    signature = of_frame()
    without = {name: value for name, value in GOOD.items() if name != "age"}
    with pytest.raises(RequestError, match="instance 0 has no column `age`; the columns are `age`, `income`"):
        signature.by_column([without])
    with pytest.raises(RequestError, match="no column `age`; did you mean it by `agee`"):
        signature.by_column([{**without, "agee": 3}])
    optional = {name: value for name, value in GOOD.items() if name != "city"}
    with pytest.raises(RequestError, match="no column `city`; did you mean it by `City`"):
        signature.by_column([{**optional, "City": "Rome"}])
    assert signature.by_column([optional])["city"] == [None]


def test_rows_may_be_lists_and_numbers_floats_and_what_is_not_asked_for_is_left_aside() -> None:
    signature = of_frame()
    assert signature.by_column([list(GOOD.values())])["age"] == [1]
    assert signature.by_column([{**GOOD, "age": 1.0}])["age"] == [1.0]
    assert "id" not in signature.by_column([{**GOOD, "id": 7}])
    with pytest.raises(RequestError, match="instance 0 has 2 values, there are 6 columns"):
        signature.by_column([[1, 2]])
    with pytest.raises(RequestError, match="instance 1 is the number 3, not an object"):
        signature.by_column([GOOD, 3])


def test_null_is_a_value_of_numbers_and_texts() -> None:
    Column("x", "number").check([1, None])
    Column("x", "string").check(["a", None])
    Column("x", "integer", optional=True).check([1, None])


def test_dates_and_numbers_of_numpy_become_json() -> None:
    from edge_tasks.training.describe import as_json

    assert as_json([np.int64(3), np.float32("nan"), dt.date(2020, 1, 2), pd.NA, pd.NaT, b"ab"]) == [
        3, None, "2020-01-02", None, None, {"b64": "YWI="},
    ]  # fmt: skip


def test_an_integer_that_is_missing_is_nan() -> None:
    from edge_tasks.serving.inputs import reader_of

    signature = Signature("table", columns=(Column("n", "integer", optional=True, dtype="int64"),))
    assert reader_of(signature)([{"n": 1}, {"n": None}])["n"].isna().tolist() == [False, True]
    assert str(reader_of(signature)([{"n": 1}, {"n": 2.0}])["n"].dtype) == "int64"


class Asked:
    """A model that answers with what `answer` makes of the table."""

    def __init__(self, answer: Any):
        self.predict = answer


def test_a_category_keeps_its_place_among_the_others_and_a_new_one_comes_last() -> None:
    from edge_tasks.serving.inputs import reader_of

    frame = pd.DataFrame(
        {
            "size": pd.Categorical(["small", "large", None], categories=["small", "medium", "large"], ordered=True),
            "doors": pd.Categorical([4, 2, 4], categories=[4, 2]),
        }
    )
    signature, _ = describe(Asked(lambda table: table["doors"].cat.codes.to_numpy()), frame, "predict")
    read = reader_of(Signature.from_json(signature.to_json()))
    # A request has a part of the categories, in any order.
    table = read([{"size": "large", "doors": 2}, {"size": "huge", "doors": 4.0}, {"size": None, "doors": 3}])
    assert table["size"].cat.codes.tolist() == [2, 3, -1]
    assert table["doors"].cat.codes.tolist() == [1, 0, 2]
    assert table["size"].cat.ordered
    assert not table["doors"].cat.ordered


def test_dates_of_one_request_may_be_written_in_several_ways() -> None:
    from edge_tasks.serving.inputs import reader_of

    dates = pd.to_datetime(["2020-01-01", "2020-01-01T10:00:00.5", None], format="ISO8601")
    frame = pd.DataFrame({"at": dates, "there": dates.tz_localize("Europe/Berlin")})
    signature, _ = describe(Asked(lambda table: table["at"].dt.microsecond.to_numpy()), frame, "predict")
    rows = [{"at": text, "there": None} for text in ("2020-01-01", "2020-01-01T10:00:00.5", "1 Feb 2021", None)]
    assert reader_of(signature)(rows)["at"].dt.month.tolist()[:3] == [1, 1, 2]


def test_columns_of_other_types_than_numpy_s_are_what_they_hold() -> None:
    frame = pd.DataFrame(
        {
            "sparse": pd.array([0, 1, 0], dtype="Sparse[int64]"),
            "nullable": pd.array([1.5, None, 2.5], dtype="Float64"),
            "month": pd.period_range("2020-01", periods=3, freq="M"),
            "took": pd.to_timedelta([1, 2, None], unit="h"),
        }
    )

    def answer(table: Any) -> Any:
        return (table["sparse"] + table["month"].dt.month + table["took"].dt.days.fillna(0)).to_numpy()

    signature, _ = describe(Asked(answer), frame, "predict")
    assert [column.type for column in signature.columns] == ["integer", "number", "string", "string"]


DAYS = pd.DataFrame({"day": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)]})


@pytest.mark.parametrize(
    ("model", "inputs", "problem"),
    [
        (Asked(lambda table: [day.year for day in table["day"]]), DAYS, r"in JSON: 'str' object .*`day`"),
        (Asked(lambda table: [{1, 2} for _ in table["day"]]), DAYS, "does not go into JSON: a prediction of type set"),
        (Asked(lambda _: 5), DAYS, "does not go into JSON"),
        (len, DAYS, "a builtin_function_or_method has no `predict`: there is nothing to ask it by"),
        (Asked(len), {"day": [1, 2]}, "are columns by name, not rows"),
    ],
)
def test_what_could_not_be_asked_by_a_request_is_refused_when_it_is_saved(
    model: Any, inputs: Any, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=problem):
        describe(model, inputs, "predict")
    if inputs is DAYS:  # one's own predictor may make of it what the model takes
        (tmp_path / "predictor.py").write_text("")
        describe(model, inputs, "predict")


def test_what_a_prebuilt_image_may_be_asked_is_shown_as_it_takes_it() -> None:
    table = pd.DataFrame({"age": [20, 50], "visits": [1.5, 9.0]})
    signature, shown = describe(LinearRegression().fit(table.to_numpy(), [0, 1]), table.to_numpy(), "predict")
    assert shown == [[20, 1.5], [50, 9.0]]
    signature, shown = describe(LinearRegression().fit(table, [0, 1]), table, "predict")
    assert (signature.differs, signature.example) == ("", {"age": 20, "visits": 1.5})
    assert shown == [[20, 1.5], [50, 9.0]]
    assert signature.by_column(shown)["age"] == [20, 50]
    # By probabilities it is asked in the predictor, by name.
    assert describe(LogisticRegression().fit(table, [0, 1]), table, "predict_proba")[1][0] == {"age": 20, "visits": 1.5}
