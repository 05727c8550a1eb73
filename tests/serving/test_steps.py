"""The steps of scikit-learn's models, called one by one: the same answers as the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from edge_tasks.serving.steps import Steps

NUMBERS, WORDS = ["age", "fee", "calls"], ["city", "plan"]


def _table(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({name: rng.normal(40, 10, rows) for name in NUMBERS})
    table["city"], table["plan"] = rng.choice(["Leeds", "York", "Bath"], rows), rng.choice(["basic", "full"], rows)
    table["note"] = rng.choice(["was late again", "all well", "late, but well"], rows)
    table.loc[::5, "fee"] = np.nan
    return table


TABLE = _table(60)
LEFT = np.where(TABLE["age"] > 40, "yes", "no")


def _numbers() -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def _words(**options: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", **options)


def _filled() -> SimpleImputer:
    return SimpleImputer(strategy="most_frequent")


def _classifier() -> LogisticRegression:
    return LogisticRegression(solver="liblinear")


def _by_steps(model: Any, name: str, *tables: Any) -> bool:
    """Compare some answers with the model's own; return whether they came from its steps."""
    steps = Steps(model, name)
    for table in tables:
        for _ in range(2):
            expected, found = getattr(model, name)(table), steps(table)
            assert type(found) is type(expected)
            if hasattr(expected, "toarray"):
                expected, found = expected.toarray(), found.toarray()
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    return steps.are_known


SELECTOR = make_column_selector(dtype_include="number")
COLUMNS = {
    "by-names": [("numbers", _numbers(), NUMBERS), ("words", _words(), WORDS)],
    "sparse": [("words", _words(sparse_output=True), WORDS), ("note", CountVectorizer(), "note")],
    "one-column-of-texts": [("note", CountVectorizer(), "note"), ("numbers", _numbers(), NUMBERS)],
    "dropped": [("numbers", _numbers(), NUMBERS), ("words", "drop", WORDS)],
    "passed-through": [("numbers", _numbers(), ["fee"]), ("rest", "passthrough", ["age", "calls"])],
    "by-positions": [("numbers", _numbers(), [0, 1, 2]), ("words", _words(), [3, 4])],
    "by-a-mask": [("numbers", _numbers(), [True, True, True, False, False, False]), ("words", _words(), WORDS)],
    "by-a-slice": [("numbers", _numbers(), slice(0, 3)), ("words", _words(), WORDS)],
    "by-a-function": [("numbers", _numbers(), SELECTOR), ("words", _words(), WORDS)],
    "no-columns": [("numbers", _numbers(), NUMBERS), ("none", _words(), [])],
    "in-itself": [("all", ColumnTransformer([("numbers", _numbers(), NUMBERS)]), [*NUMBERS, "city"])],
    "in-a-union": [("numbers", FeatureUnion([("scaled", _numbers()), ("filled", SimpleImputer())]), NUMBERS)],
}  # fmt: skip


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("remainder", ["drop", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)])
def test_a_pipeline_over_columns_answers_by_its_steps_what_it_answers_itself(columns: Any, remainder: Any) -> None:
    model = make_pipeline(ColumnTransformer(columns, remainder=remainder), _filled(), _classifier())
    model.fit(TABLE, LEFT)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert _by_steps(model, name, _table(1, 1), _table(7, 2))


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), PCA(2), RandomForestClassifier(5, random_state=0)),
        make_pipeline(make_pipeline(StandardScaler(), PCA(2)), make_pipeline(StandardScaler(), Ridge())),
        Pipeline([("none", None), ("nothing", "passthrough"), ("model", DummyClassifier())]),
        make_pipeline(FunctionTransformer(np.log1p), StandardScaler().set_output(transform="pandas"), Ridge()),
    ],
    ids=["scaled", "three-steps", "nested", "empty-steps", "a-step-that-makes-tables"],
)
def test_a_pipeline_over_arrays_answers_by_its_steps_what_it_answers_itself(model: Pipeline) -> None:
    numbers = TABLE[NUMBERS].fillna(0).to_numpy()
    model.fit(numbers, TABLE["age"] > 40)
    assert _by_steps(model, "predict", numbers[:1], numbers[3:9])


def test_a_pipeline_that_only_transforms_does_so_by_its_steps() -> None:
    model = make_pipeline(ColumnTransformer([("numbers", _numbers(), NUMBERS)]), PCA(2)).fit(TABLE)
    assert _by_steps(model, "transform", TABLE[:1], TABLE[4:9])


def test_several_outputs_are_compared_one_by_one() -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))
    numbers = TABLE[NUMBERS].fillna(0).to_numpy()
    model.fit(numbers, np.column_stack([TABLE["age"] > 40, TABLE["calls"] > 30]))
    steps = Steps(model, "predict_proba")
    for rows in (numbers[:1], numbers[:1], numbers[2:5]):
        for found, expected in zip(steps(rows), model.predict_proba(rows), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert steps.are_known


def test_columns_in_another_order_and_more_of_them_are_left_to_the_model() -> None:
    model = make_pipeline(ColumnTransformer(COLUMNS["by-names"]), _classifier()).fit(TABLE, LEFT)
    turned = TABLE[TABLE.columns[::-1]].assign(more=1)
    assert _by_steps(model, "predict_proba", TABLE[:1], turned[:3], TABLE[2:4])


class Doubled(Pipeline):  # type: ignore[misc]
    """Does something else with the same steps."""

    def predict(self, X: Any, **params: Any) -> Any:  # noqa: N803  scikit-learn's name
        return 2 * super().predict(X, **params)


@pytest.mark.parametrize(
    "model",
    [
        Doubled([("scaled", StandardScaler()), ("model", Ridge())]),
        Ridge(),
        make_pipeline(StandardScaler(), "passthrough"),
    ],
    ids=["derived", "no-pipeline", "without-a-last-step"],
)
def test_another_model_is_asked_itself(model: Any) -> None:
    numbers = TABLE[NUMBERS].fillna(0).to_numpy()
    model.fit(numbers, TABLE["calls"])
    assert not _by_steps(model, "predict" if hasattr(model, "predict") else "transform", numbers[:1], numbers[3:9])


def test_columns_that_become_a_table_are_made_by_the_transformer_itself() -> None:
    columns = ColumnTransformer([("numbers", _numbers(), NUMBERS)]).set_output(transform="pandas")
    model = make_pipeline(columns, FunctionTransformer(lambda table: table[["numbers__age"]].to_numpy()), Ridge())
    model.fit(TABLE, TABLE["calls"])
    assert _by_steps(model, "predict", TABLE[:1], TABLE[3:9])


def test_with_routing_of_metadata_the_model_is_asked_itself() -> None:
    numbers = TABLE[NUMBERS].fillna(0).to_numpy()
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(StandardScaler(), Ridge()).fit(numbers, TABLE["calls"])
        assert not _by_steps(model, "predict", numbers[:1])


def test_steps_that_answer_otherwise_than_the_model_are_not_called_again() -> None:
    """A step whose answers differ from call to call cannot be compared."""
    calls: list[int] = []

    def drift(rows: Any) -> Any:
        calls.append(1)
        return rows + len(calls)

    numbers = TABLE[NUMBERS].fillna(0).to_numpy()
    model = make_pipeline(FunctionTransformer(drift), Ridge()).fit(numbers, TABLE["calls"])
    steps = Steps(model, "predict")
    steps(numbers[:1])
    assert not steps.are_known
    before = len(calls)
    steps(numbers[:1])
    assert len(calls) == before + 1


def test_what_a_step_refuses_is_refused_in_its_own_words() -> None:
    model = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["age"])]), Ridge()).fit(TABLE, TABLE["calls"])
    steps = Steps(model, "predict")
    steps(TABLE[:1])
    assert steps.are_known
    with pytest.raises(ValueError, match="Input X contains NaN"):
        steps(TABLE[:1].assign(age=np.nan))
    with pytest.raises(ValueError, match="columns are missing"):
        steps(TABLE[:1].drop(columns="age"))


@pytest.mark.slow
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from([_numbers(), SimpleImputer(), "passthrough", "drop"]), st.sets(st.sampled_from(NUMBERS))
        ),
        max_size=3,
    ),
    words=st.sets(st.sampled_from(WORDS)),
    sparse=st.booleans(),
    threshold=st.sampled_from([0.0, 0.3, 1.0]),
    rows=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_whatever_the_columns_are_the_answers_are_the_model_s(
    parts: Any, words: set[str], sparse: bool, threshold: float, rows: int, seed: int
) -> None:
    columns = [(str(number), step, sorted(names)) for number, (step, names) in enumerate(parts)]
    columns.append(("words", _words(sparse_output=sparse), sorted(words)))
    columns.append(("age", _numbers(), ["age"]))
    transformer = ColumnTransformer(columns, sparse_threshold=threshold)
    model = make_pipeline(transformer, SimpleImputer(), _classifier()).fit(TABLE, LEFT)
    assert _by_steps(model, "predict_proba", _table(rows, seed))
