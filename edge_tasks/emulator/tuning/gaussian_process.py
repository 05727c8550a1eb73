"""Regression by a Gaussian process: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006.

For a hundred points it takes a fraction of a second without NumPy, which the emulator does not depend on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import mul
from typing import TypeAlias

# What is known of a point: its places in the unit interval, and its categories.
Place: TypeAlias = Mapping[str, float | str]

# The way after which two points tell little about each other, and how much of a value is chance: what fits best.
LENGTHS = (0.15, 0.3, 0.6, 1.2)
NOISES = (0.003, 0.1)


class GaussianProcess:
    """What is to be expected at any place, given the values at some; values have mean 0 and variance 1."""

    def __init__(self, places: Sequence[Place], values: Sequence[float]) -> None:
        self._places = places
        distances = [[_distance(one, other) for other in places[: row + 1]] for row, one in enumerate(places)]
        fits = (_Fit(distances, values, length, noise) for length in LENGTHS for noise in NOISES)
        self._fit = max(fits, key=lambda fit: fit.likelihood)

    def predict(self, place: Place) -> tuple[float, float]:
        """Return the mean and the standard deviation at a place."""
        fit = self._fit
        near = [_likeness(_distance(place, known), fit.length) for known in self._places]
        explained = _solve_lower(fit.factor, near)
        variance = 1 + fit.noise - sum(map(mul, explained, explained))
        return sum(map(mul, near, fit.weights)), math.sqrt(max(variance, 1e-9))


class _Fit:
    """A process with one length and one noise, and how likely it makes the values."""

    def __init__(self, distances: list[list[float]], values: Sequence[float], length: float, noise: float) -> None:
        self.length = length
        self.noise = noise
        covariance = [[_likeness(distance, length) for distance in row] for row in distances]
        for row, line in enumerate(covariance):
            line[row] += noise
        self.factor = _cholesky(covariance)
        self.weights = _solve_upper(self.factor, _solve_lower(self.factor, values))
        fit = sum(map(mul, values, self.weights))
        self.likelihood = -0.5 * fit - sum(math.log(line[-1]) for line in self.factor)


def _distance(one: Place, other: Place) -> float:
    """Return how far two places are apart; another category, or a parameter that only one has, is a whole unit."""
    total = 0.0
    for name in one.keys() | other.keys():
        a, b = one.get(name), other.get(name)
        total += (a - b) ** 2 if isinstance(a, float) and isinstance(b, float) else a != b
    return math.sqrt(total)


def _likeness(distance: float, length: float) -> float:
    """Return the Matern kernel of 5/2: smooth, but not so smooth that noise is explained by waves."""
    scaled = math.sqrt(5) * distance / length
    return (1 + scaled + scaled * scaled / 3) * math.exp(-scaled)


def _cholesky(lower: list[list[float]]) -> list[list[float]]:
    """Return the lower triangle L with L L^T = A, of which the lower triangle is given."""
    factor: list[list[float]] = []
    for row, line in enumerate(lower):
        done: list[float] = []
        for column in range(row):
            above = factor[column]
            done.append((line[column] - sum(map(mul, done, above))) / above[-1])
        # Rounding may leave less than nothing where points are equal.
        done.append(math.sqrt(max(line[row] - sum(map(mul, done, done)), 1e-12)))
        factor.append(done)
    return factor


def _solve_lower(factor: list[list[float]], values: Sequence[float]) -> list[float]:
    solution: list[float] = []
    for line, value in zip(factor, values, strict=True):
        solution.append((value - sum(map(mul, line, solution))) / line[-1])
    return solution


def _solve_upper(factor: list[list[float]], values: Sequence[float]) -> list[float]:
    """Solve with the transposed factor, from the last unknown to the first."""
    rest = list(values)
    for row in reversed(range(len(factor))):
        line = factor[row]
        rest[row] /= line[-1]
        for column in range(row):
            rest[column] -= line[column] * rest[row]
    return rest
