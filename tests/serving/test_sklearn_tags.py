"""What scikit-learn says of its estimators when it looks for their tags once per class."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.utils import _tags, all_estimators

from edge_tasks.serving import sklearn_tags

HAS_WALK = hasattr(_tags, "_find_tags_provider")
needs_walk = pytest.mark.skipif(not HAS_WALK, reason=f"scikit-learn {sklearn.__version__} does not walk")


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    if HAS_WALK:
        monkeypatch.setattr(_tags, "_find_tags_provider", _tags._find_tags_provider)
    sklearn_tags.look_once_per_class()


def estimators() -> list[Any]:
    return [made for _, kind in all_estimators() if (made := without_arguments(kind)) is not None]


def without_arguments(kind: type) -> Any:
    try:
        return kind()
    except TypeError:  # it wants another estimator
        return None


def test_every_estimator_has_the_same_tags(request: pytest.FixtureRequest) -> None:
    every = estimators()
    assert len(every) > 150
    before = [repr(_tags.get_tags(one)) for one in every]
    request.getfixturevalue("once")
    for _ in range(2):
        assert [repr(_tags.get_tags(one)) for one in every] == before


@needs_walk
def test_a_class_is_walked_through_once(once: None) -> None:
    walks = []

    class Kind(type):
        def mro(cls) -> list[type]:
            walks.append(cls.__name__)
            return super().mro()

    class Counted(BaseEstimator, metaclass=Kind):  # type: ignore[misc]
        pass

    walks.clear()
    for _ in range(3):
        assert _tags.get_tags(Counted()).requires_fit
    assert walks == ["Counted"]


@needs_walk
def test_a_class_of_the_old_way_is_warned_of_each_time(once: None) -> None:
    class Old(BaseEstimator):  # type: ignore[misc]
        def _more_tags(self) -> dict[str, bool]:
            return {"requires_fit": False}

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            assert not _tags.get_tags(Old()).requires_fit
    assert [one.category for one in seen if "_more_tags" in str(one.message)] == [DeprecationWarning] * 2


def test_it_is_done_once(once: None) -> None:
    found = getattr(_tags, "_find_tags_provider", None)
    sklearn_tags.look_once_per_class()
    assert getattr(_tags, "_find_tags_provider", None) is found


def test_nothing_is_imported_for_a_model_of_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sklearn.utils._tags")
    sklearn_tags.look_once_per_class()
    assert "sklearn.utils._tags" not in sys.modules
