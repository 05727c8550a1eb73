"""The search algorithms: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#Algorithm.

Vertex AI's default is Bayesian optimization by its own service, and so it is here, in its plainest form: after
a random start, a Gaussian process learns from the trials that have ended, and of some hundred candidates the one
with the largest expected improvement is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Protocol

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.tuning.gaussian_process import GaussianProcess, Place
from edge_tasks.emulator.tuning.space import Choices, Interval, Parameter, Point, Value

# This many trials are random, and one for each parameter.
RANDOM_START = 4
RANDOM_CANDIDATES = 200
NEAR_CANDIDATES = 100
# The best trials, around which candidates are looked for.
BEST = 3
# The model learns from the best trials and the newest, half of each: its cost grows with the cube of them.
MOST_LEARNT = 100
NORMAL = NormalDist()


@dataclass
class Attempt:
    """A trial as an algorithm sees it: its parameters, and its metrics once it has succeeded.

    Of each metric more is better; a trial that runs or has failed has none.
    """

    point: Point
    metrics: tuple[float, ...] | None = None


class Search(Protocol):
    """A search algorithm."""

    def suggest(self, attempts: Sequence[Attempt]) -> Point | None:
        """Return what to try next, given all attempts so far; None when everything has been tried."""


def algorithm(name: str, parameters: Sequence[Parameter], random: Random) -> Search:
    """Return an algorithm by its name in the API."""
    if name == "GRID_SEARCH":
        return Grid(parameters)
    if name == "RANDOM_SEARCH":
        return RandomSearch(parameters, random)
    return BayesianSearch(parameters, random)


class Grid:
    """Every point once, the values of the last parameter first."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        for parameter in _all(parameters):
            if isinstance(parameter.domain, Interval) and not parameter.domain.whole:
                raise invalid(
                    f"GRID_SEARCH needs INTEGER, CATEGORICAL or DISCRETE parameters; {parameter.name!r} is DOUBLE."
                )
        self._points = _grid(list(parameters))

    def suggest(self, attempts: Sequence[Attempt]) -> Point | None:
        """Return the next point."""
        return next(self._points, None)


class RandomSearch:
    """Points by chance, evenly in the scaled space."""

    def __init__(self, parameters: Sequence[Parameter], random: Random) -> None:
        self._parameters = parameters
        self._random = random

    def suggest(self, attempts: Sequence[Attempt]) -> Point | None:
        """Return a point."""
        return self.draw()

    def draw(self) -> Point:
        """Return a point."""
        return _walk(self._parameters, lambda parameter: parameter.domain.from_unit(self._random.random()))


class BayesianSearch:
    """Points that promise most by what is known."""

    def __init__(self, parameters: Sequence[Parameter], random: Random) -> None:
        self._parameters = parameters
        self._random = random
        self._chance = RandomSearch(parameters, random)
        self._start = RANDOM_START + sum(1 for _ in _all(parameters))

    def suggest(self, attempts: Sequence[Attempt]) -> Point | None:
        """Return a point; one that was tried already only if all candidates were."""
        ended = ranked(attempts)
        if len(ended) < self._start:
            return self._chance.draw()
        known = _scored(attempts, ended)
        model = GaussianProcess([self._place(point) for point, _ in known], [score for _, score in known])
        best = max(score for _, score in known)
        candidates = [self._chance.draw() for _ in range(RANDOM_CANDIDATES)]
        candidates += [self._near(self._random.choice(ended[:BEST]).point) for _ in range(NEAR_CANDIDATES)]
        tried = [attempt.point for attempt in attempts]

        def promise(point: Point) -> tuple[bool, float]:
            mean, deviation = model.predict(self._place(point))
            return point not in tried, _expected_improvement(mean - best, deviation)

        return max(candidates, key=promise)

    def _near(self, origin: Point) -> Point:
        """Return a point near to another: mostly a little different, sometimes more."""
        width = 10 ** self._random.uniform(-2.5, -0.5)

        def choose(parameter: Parameter) -> Value:
            domain, value = parameter.domain, origin.get(parameter.name)
            # Under another value of its parent, a parameter of the same name may have another domain.
            if value is None or not domain.holds(value):
                return domain.from_unit(self._random.random())
            if not domain.ordered:
                return value if self._random.random() < 0.8 else domain.from_unit(self._random.random())
            unit = self._random.gauss(domain.to_unit(value), width) % 2
            # What leaves the interval is reflected into it.
            return domain.from_unit(2 - unit if unit > 1 else unit)

        return _walk(self._parameters, choose)

    def _place(self, point: Point) -> Place:
        place: dict[str, float | str] = {}

        def read(parameter: Parameter) -> Value:
            value = point[parameter.name]
            is_category = isinstance(parameter.domain, Choices) and not parameter.domain.ordered
            place[parameter.name] = str(value) if is_category else parameter.domain.to_unit(value)
            return value

        _walk(self._parameters, read)
        return place


def ranked(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return what has succeeded, the best first; of several metrics the mean rank counts."""
    ended = [attempt for attempt in attempts if attempt.metrics is not None]
    ranks = [0] * len(ended)
    for metric in zip(*(attempt.metrics or () for attempt in ended), strict=True):
        for rank, index in enumerate(sorted(range(len(ended)), key=metric.__getitem__, reverse=True)):
            ranks[index] += rank
    return [ended[index] for index in sorted(range(len(ended)), key=ranks.__getitem__)]


def _scored(attempts: Sequence[Attempt], ended: Sequence[Attempt]) -> list[tuple[Point, float]]:
    """Return points with scores, spread by rank like a normal distribution: a metric may have any scale.

    A trial that runs or has failed counts as the worst. So trials that run side by side spread out.
    """
    scores = {id(attempt): NORMAL.inv_cdf(1 - (rank + 0.5) / len(ended)) for rank, attempt in enumerate(ended)}
    worst = min(scores.values())
    newest = list(attempts)[-MOST_LEARNT // 2 :] if len(attempts) > MOST_LEARNT else list(attempts)
    best = ended[: MOST_LEARNT // 2] if len(attempts) > MOST_LEARNT else ()
    learnt = {id(attempt): attempt for attempt in [*best, *newest]}
    return [(attempt.point, scores.get(key, worst)) for key, attempt in learnt.items()]


def _expected_improvement(gain: float, deviation: float) -> float:
    """Return how much better than the best a normally distributed value is on average."""
    scaled = gain / deviation
    return deviation * (scaled * NORMAL.cdf(scaled) + NORMAL.pdf(scaled))


def _walk(parameters: Sequence[Parameter], choose: Callable[[Parameter], Value]) -> Point:
    """Choose a value for every parameter, and for its conditional parameters."""
    point: Point = {}
    remaining = list(reversed(parameters))
    while remaining:
        parameter = remaining.pop()
        point[parameter.name] = choose(parameter)
        remaining += reversed(parameter.children(point[parameter.name]))
    return point


def _grid(parameters: list[Parameter]) -> Iterator[Point]:
    """Yield all points one by one: a range of integers may be too long to be kept."""
    if not parameters:
        yield {}
        return
    first, *others = parameters
    for value in first.domain.values():
        for rest in _grid([*first.children(value), *others]):
            yield {first.name: value, **rest}


def _all(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    for parameter in parameters:
        yield parameter
        yield from _all([child for _, child in parameter.conditional])
