"""Automated stopping: whether a trial is so bad so far that it need not run to its end.

By the rules that Vertex AI Vizier describes, `medianAutomatedStoppingSpec` and `decayCurveStoppingSpec` of
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edge_tasks.emulator.tuning.gaussian_process import GaussianProcess

# Fewer curves tell too little of how another one will continue.
FEWEST_CURVES = 5
# A trial that will be the best one with less probability than this is stopped.
HOPE = 0.02
# More curves make no better guess, only a slower one.
MOST_CURVES = 100


@dataclass(frozen=True)
class Curve:
    """What a trial has measured, by step or by time, oldest first: values of which more is better."""

    places: tuple[float, ...]
    gains: tuple[float, ...]

    def until(self, place: float) -> tuple[float, ...]:
        """Return the values up to a step or a time."""
        return tuple(gain for at, gain in zip(self.places, self.gains, strict=True) if at <= place)


def below_median(current: Curve, completed: Sequence[Curve]) -> bool:
    """Whether a trial's best value is below the median of the others' running averages at its last measurement."""
    if not current.gains:
        return False
    averages = [statistics.fmean(known) for curve in completed if (known := curve.until(current.places[-1]))]
    return bool(averages) and max(current.gains) < statistics.median(averages)


def beyond_hope(current: Curve, completed: Sequence[Curve]) -> bool:
    """Whether a trial will hardly become the best one, if it continues from here as the others have done."""
    if not current.gains:
        return False
    place = current.places[-1]
    seen = [(known[-1], curve.gains[-1]) for curve in completed[-MOST_CURVES:] if (known := curve.until(place))]
    if len(seen) < FEWEST_CURVES:
        return False
    mean, deviation = _expected_growth(current.gains[-1], seen)
    missing = max(curve.gains[-1] for curve in completed) - (current.gains[-1] + mean)
    # The probability that a normal variable exceeds what is missing.
    return 0.5 * math.erfc(missing / deviation / math.sqrt(2)) < HOPE


def _expected_growth(gain: float, seen: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return by how much a trial will grow to its end, and how sure that is."""
    growth = [end - at for at, end in seen]
    mean = statistics.fmean(growth)
    scale = statistics.pstdev(growth) or 1e-9
    low = min(gain, *(at for at, _ in seen))
    width = max(gain, *(at for at, _ in seen)) - low or 1.0
    process = GaussianProcess(
        [{"gain": (at - low) / width} for at, _ in seen], [(value - mean) / scale for value in growth]
    )
    expected, deviation = process.predict({"gain": (gain - low) / width})
    return mean + scale * expected, scale * deviation
