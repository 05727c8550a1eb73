"""How probable each class is, by what the model answers for a picture and for copies of it.

The endpoint answers with a class number alone. So it is asked about a picture and about copies
that are moved by one pixel: the surer the model is, the more of the answers agree. Each answer
speaks for its class with a weight; `calibrate.py` fits the two weights to the test images, so that
of all answers that are said to be right with 90 %, 90 % are.
"""

import json
import math
from pathlib import Path

CALIBRATION_FILE = Path(__file__).parent / "calibration.json"


def read_weights():
    """Return what the answer for the picture weighs, and what each of those for its copies does."""
    weights = json.loads(CALIBRATION_FILE.read_text(encoding="utf-8"))
    return weights["picture"], weights["copy"]


def probabilities(numbers, classes, weights):
    """Return how probable each of `classes` classes is; the first of `numbers` is the picture's."""
    scores = [0.0] * classes
    for place, number in enumerate(numbers):
        scores[number] += weights[min(place, 1)]
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]
