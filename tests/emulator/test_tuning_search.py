"""The search for better parameters, by itself."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.schema import surface
from edge_tasks.emulator.tuning.reports import Goal, final_measurement, read_measurements
from edge_tasks.emulator.tuning.search import Attempt, BayesianSearch, algorithm, ranked
from edge_tasks.emulator.tuning.space import Interval, Parameter, Point, is_legal, read_parameters

SURFACE = surface.load()
SCALES = ["SCALE_TYPE_UNSPECIFIED", "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def value_specs(draw: st.DrawFn, *, grid: bool) -> dict[str, Any]:
    kind = draw(st.sampled_from(["integer", "categorical", "discrete", *([] if grid else ["double"])]))
    if kind == "categorical":
        return {"categoricalValueSpec": {"values": draw(st.lists(st.text("abc", max_size=3), min_size=1, unique=True))}}
    scale = draw(st.sampled_from(SCALES))
    logarithmic = "LOG" in scale
    if kind == "discrete":
        values = draw(st.lists(st.integers(1 if logarithmic else -5, 20), min_size=1, max_size=5, unique=True))
        return {"discreteValueSpec": {"values": sorted(value / 2 for value in values)}, "scaleType": scale}
    if kind == "double":
        edges = sorted(draw(st.tuples(*[POSITIVE if logarithmic else FINITE] * 2)))
        return {"doubleValueSpec": {"minValue": edges[0], "maxValue": edges[1]}, "scaleType": scale}
    low = draw(st.integers(1, 9) if grid else st.integers(1, 2**63 - 1) if logarithmic else INT64)
    high = draw(st.integers(low, low + 3) if grid else st.integers(low, 2**63 - 1))
    return {"integerValueSpec": {"minValue": str(low), "maxValue": str(high)}, "scaleType": scale}


@st.composite
def spaces(draw: st.DrawFn, *, grid: bool = False) -> tuple[Parameter, ...]:
    """Search spaces as clients send them, with conditional parameters."""
    names = (f"p{number}" for number in itertools.count())

    def parameter(depth: int) -> dict[str, Any]:
        spec = {"parameterId": next(names), **draw(value_specs(grid=grid))}
        children = []
        if depth and "doubleValueSpec" not in spec and draw(st.booleans()):
            condition, values = _condition(spec)
            chosen = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
            children.append({condition: {"values": chosen}, "parameterSpec": parameter(depth - 1)})
        return {**spec, "conditionalParameterSpecs": children}

    return read([parameter(2) for _ in range(draw(st.integers(1, 2)))])


def _condition(spec: dict[str, Any]) -> tuple[str, list[Any]]:
    if "integerValueSpec" in spec:
        return "parentIntValues", [spec["integerValueSpec"]["minValue"], spec["integerValueSpec"]["maxValue"]]
    if "discreteValueSpec" in spec:
        return "parentDiscreteValues", spec["discreteValueSpec"]["values"]
    return "parentCategoricalValues", spec["categoricalValueSpec"]["values"]


def read(parameters: list[dict[str, Any]]) -> tuple[Parameter, ...]:
    spec = SURFACE.new("StudySpec")
    json_format.ParseDict({"parameters": parameters}, spec)
    return read_parameters(spec.parameters)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(space=spaces(), seed=st.integers(0, 99), name=st.sampled_from(["RANDOM_SEARCH", "ALGORITHM_UNSPECIFIED"]))
def test_every_suggestion_is_legal(space: tuple[Parameter, ...], seed: int, name: str) -> None:
    random = Random(seed)
    search = algorithm(name, space, random)
    attempts: list[Attempt] = []
    for _ in range(12):
        point = search.suggest(attempts)
        assert point is not None
        assert is_legal(point, space)
        attempts.append(Attempt(point, (random.random(), random.random()) if random.random() < 0.9 else None))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(space=spaces(grid=True))
def test_the_grid_is_complete_without_doubles(space: tuple[Parameter, ...]) -> None:
    grid = algorithm("GRID_SEARCH", space, Random(0))
    points = list(itertools.takewhile(lambda point: point is not None, (grid.suggest([]) for _ in itertools.count())))
    assert all(is_legal(point or {}, space) for point in points)
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points)
    assert len(points) == math.prod(size(parameter) for parameter in space)


def size(parameter: Parameter) -> int:
    """How many points a parameter and its conditional parameters have, counted another way than the grid does."""
    return sum(math.prod(size(child) for child in parameter.children(value)) for value in parameter.domain.values())


def test_a_grid_of_all_integers_is_not_built_at_once() -> None:
    space = read([{"parameterId": "n", "integerValueSpec": {"minValue": str(-(2**63)), "maxValue": str(2**63 - 1)}}])
    grid = algorithm("GRID_SEARCH", space, Random(0))
    assert [grid.suggest([]) for _ in range(2)] == [{"n": -(2**63)}, {"n": -(2**63) + 1}]


@given(
    low=st.floats(1e-6, 1e6),
    width=st.floats(0.01, 1e6),
    scale=st.sampled_from(SCALES[1:]),
    units=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_scale_is_monotonous_and_has_an_inverse(
    low: float, width: float, scale: str, units: tuple[float, float]
) -> None:
    interval = Interval(low, low + width, scale, whole=False)
    values = [interval.from_unit(unit) for unit in sorted(units)]
    assert values == sorted(values)
    # A reverse logarithm is as exact as its larger edge is.
    exact = 1e-9 * (low + width)
    assert (interval.from_unit(0), interval.from_unit(1)) == pytest.approx((low, low + width), abs=exact)
    for value in values:
        assert interval.from_unit(interval.to_unit(value)) == pytest.approx(value, abs=exact)


def test_log_scales_spread_their_end() -> None:
    def middle(scale: str) -> Any:
        return Interval(1.0, 10_000.0, scale, whole=False).from_unit(0.5)

    assert middle("UNIT_LINEAR_SCALE") == pytest.approx(5000.5)
    assert middle("UNIT_LOG_SCALE") == pytest.approx(100)
    assert middle("UNIT_REVERSE_LOG_SCALE") == pytest.approx(9901)


@pytest.mark.slow
def test_the_default_search_finds_better_points_than_chance() -> None:
    """A valley in two scaled parameters and a category: median of the best of 25 trials over 5 seeds."""
    space = read(
        [
            {"parameterId": "x", "doubleValueSpec": {"minValue": -5, "maxValue": 5}},
            {
                "parameterId": "rate",
                "doubleValueSpec": {"minValue": 1e-5, "maxValue": 1},
                "scaleType": "UNIT_LOG_SCALE",
            },
            {"parameterId": "kind", "categoricalValueSpec": {"values": ["a", "b", "c"]}},
        ]
    )

    def loss(point: Point) -> float:
        x, rate = float(point["x"]), float(point["rate"])
        return (x - 1) ** 2 + (math.log10(rate) + 3) ** 2 + (point["kind"] != "b")

    def best(name: str, seed: int) -> float:
        search = algorithm(name, space, Random(seed))
        attempts: list[Attempt] = []
        for _ in range(25):
            point = search.suggest(attempts)
            assert point is not None
            attempts.append(Attempt(point, (-loss(point),)))
        return min(loss(attempt.point) for attempt in attempts)

    def median(name: str) -> float:
        return sorted(best(name, seed) for seed in range(5))[2]

    assert median("ALGORITHM_UNSPECIFIED") < median("RANDOM_SEARCH") / 3


def test_what_runs_at_the_same_time_is_spread_and_nothing_is_tried_twice() -> None:
    space = read([{"parameterId": "n", "integerValueSpec": {"minValue": "1", "maxValue": "30"}}])
    search = BayesianSearch(space, Random(1))
    attempts = [Attempt({"n": n}, (-float(n),)) for n in range(10, 20)]
    running: list[Attempt] = []
    for _ in range(8):
        running.append(Attempt(search.suggest([*attempts, *running]) or {}))
    points = [attempt.point["n"] for attempt in [*attempts, *running]]
    assert len(set(points)) == len(points)


def test_several_metrics_are_ranked_together() -> None:
    attempts = [Attempt({"n": n}, metrics) for n, metrics in enumerate([(1.0, 9.0), (3.0, 3.0), (2.0, 8.0), None])]
    attempts += [Attempt({"n": 9}, (2.5, 8.5))]
    assert ranked(attempts)[0].point == {"n": 9}


def test_the_hypertune_file_is_read_line_by_line(tmp_path: Path) -> None:
    lines = [
        {"global_step": "1", "timestamp": 1.0, "trial": "1", "loss": "3"},
        {"global_step": "1", "timestamp": 1.5, "acc": "0.5"},
        {"global_step": "2", "timestamp": 2.0, "loss": "1"},
        {"global_step": "3", "timestamp": 3.0, "loss": "2"},
        {"global_step": "4", "loss": "nan"},
        {"global_step": [], "loss": "0"},
        {"other": 1},
    ]
    path = tmp_path / "output.metrics"
    path.write_bytes(b"\n".join([b"\xff{", b"[]", *(json.dumps(line).encode() for line in lines), b'{"loss": "0']))
    goals = [Goal("loss", maximize=False), Goal("acc", maximize=True)]
    measurements = read_measurements(path, goals)
    assert [(m.step, m.metrics) for m in measurements] == [
        (1, {"loss": 3, "acc": 0.5}),
        (2, {"loss": 1}),
        (3, {"loss": 2}),
    ]
    last = final_measurement(measurements, goals, best=False)
    best = final_measurement(measurements, goals, best=True)
    assert last is not None
    assert best is not None
    assert (last.step, last.metrics) == (3, {"loss": 2, "acc": 0.5})
    assert (best.step, best.metrics) == (2, {"loss": 1, "acc": 0.5})
    assert final_measurement(measurements, [Goal("other", maximize=True)], best=True) is None
    assert read_measurements(tmp_path / "none", goals) == []


INTEGER = {"integerValueSpec": {"minValue": "1", "maxValue": "3"}}
CHILD = {"parameterSpec": {"parameterId": "c", **INTEGER}}


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ([], "required"),
        ([{"parameterId": "", **INTEGER}], "parameter_id"),
        ([{"parameterId": "a b", **INTEGER}], "parameter_id"),
        ([{"parameterId": "a"}], "value spec"),
        ([{"parameterId": "a", **INTEGER}] * 2, "twice"),
        ([{"parameterId": "a", "integerValueSpec": {"minValue": "4", "maxValue": "3"}}], "above"),
        ([{"parameterId": "a", "doubleValueSpec": {"minValue": "NaN", "maxValue": 1}}], "finite"),
        ([{"parameterId": "a", "doubleValueSpec": {"maxValue": 1}, "scaleType": 2}], "positive"),
        ([{"parameterId": "a", "discreteValueSpec": {"values": [0, 1]}, "scaleType": 3}], "positive"),
        ([{"parameterId": "a", "discreteValueSpec": {"values": [2, 1]}}], "increase"),
        ([{"parameterId": "a", "discreteValueSpec": {"values": list(range(1001))}}], "1 to 1000"),
        ([{"parameterId": "a", "categoricalValueSpec": {}}], "1 to 1000"),
        ([{"parameterId": "a", "categoricalValueSpec": {"values": ["x", "x"]}}], "twice"),
        ([{"parameterId": "a", **INTEGER, "scaleType": 9}], "scale_type"),
        ([{"parameterId": "a", **INTEGER, "conditionalParameterSpecs": [CHILD]}], "condition"),
        (
            [
                {
                    "parameterId": "a",
                    **INTEGER,
                    "conditionalParameterSpecs": [{**CHILD, "parentIntValues": {"values": ["4"]}}],
                }
            ],
            "not a value of 'a'",
        ),
        (
            [
                {
                    "parameterId": "a",
                    **INTEGER,
                    "conditionalParameterSpecs": [{**CHILD, "parentIntValues": {"values": ["1", "2"]}}] * 2,
                }
            ],
            "twice",
        ),
    ],
)
def test_a_wrong_space_is_refused_with_the_reason(parameters: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ApiError, match=problem):
        read(parameters)


def test_the_same_name_may_stand_under_other_values() -> None:
    children = [{**CHILD, "parentIntValues": {"values": [value]}} for value in ("1", "3")]
    space = read([{"parameterId": "a", **INTEGER, "conditionalParameterSpecs": children}])
    grid = algorithm("GRID_SEARCH", space, Random(0))
    points = [grid.suggest([]) for _ in range(8)]
    assert points[:4] == [{"a": 1, "c": 1}, {"a": 1, "c": 2}, {"a": 1, "c": 3}, {"a": 2}]
    assert points[-1] is None
