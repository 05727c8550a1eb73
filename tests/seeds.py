"""Where the random tests begin. A change is checked with the same numbers every time: a failure is the change's own.

EDGE_TESTS_SEED=random draws another beginning (and says which, to repeat it), as `make test-long` does.
"""

from __future__ import annotations

import os
import random

from hypothesis import settings

_VARIABLE = "EDGE_TESTS_SEED"


def draw() -> None:
    """Put a number in the place of the word `random`, for this process and the workers that it starts."""
    if os.environ.get(_VARIABLE) == "random":
        os.environ[_VARIABLE] = str(random.SystemRandom().randrange(1, 10**6))


def first() -> int:
    """Return the first seed."""
    return int(os.environ.get(_VARIABLE) or 0)


def is_fixed() -> bool:
    """Whether the numbers are those of every run."""
    return first() == 0


def set_up_hypothesis() -> None:
    """Let Hypothesis try the same examples every time; in the long form others, and ten times as many."""
    settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
    settings.register_profile("random", max_examples=1000, database=None, deadline=None, print_blob=True)
    settings.load_profile("fixed" if is_fixed() else "random")
