"""Sampled Shapley: how much each feature of an instance adds to what a model predicts.

https://cloud.google.com/vertex-ai/docs/explainable-ai/overview#compare-methods. The model is asked only for
predictions, so this works for any model: along random orders of the features, each is turned from its baseline to its
value, and what changes is its share. All instances of one order are asked for at once.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge_tasks.emulator.errors import invalid

# The same question has the same answer.
SEED = 7
MOST_PATHS = 50
# A feature: the input, and the place in it if it is a list.
Feature: TypeAlias = tuple[str, int | None]
# Instances, as {input: content}, to predictions.
Ask: TypeAlias = Callable[[list[dict[str, Any]]], Awaitable[list[Any]]]


@dataclass(frozen=True)
class Attribution:
    """The shares of one output; those of an input have its shape."""

    baseline: float
    output: float
    index: int | None
    shares: dict[str, Any]
    error: float


async def explain(
    instance: dict[str, Any], baseline: dict[str, Any], paths: int, indices: Sequence[int], ask: Ask
) -> list[Attribution]:
    """Explain the outputs with these indices; without any, that of the largest value."""
    features = [feature for name in instance for feature in _features(name, instance[name])]
    chance = random.Random(SEED)  # noqa: S311  (any order will do)
    walks = []
    for _ in range(paths):
        order = list(features)
        chance.shuffle(order)
        walks.append((order, _numbers(await ask(_along(instance, baseline, order)))))
    first, last = walks[0][1][0], walks[0][1][-1]
    if len(last) == 1:
        chosen: list[int] = [0]
    else:
        chosen = list(indices) or [max(range(len(last)), key=last.__getitem__)]
    found = []
    for index in chosen:
        if not 0 <= index < len(last):
            raise invalid(f"output_indices: the model has {len(last)} outputs, there is none of index {index}.")
        shares = _shares(instance, walks, index)
        difference = last[index] - first[index]
        whole = sum(part for share in shares.values() for part in (share if isinstance(share, list) else [share]))
        error = abs(whole - difference) / abs(difference) if difference else 0.0
        found.append(Attribution(first[index], last[index], index if len(last) > 1 else None, shares, error))
    return found


def _features(name: str, content: Any) -> list[Feature]:
    return [(name, place) for place in range(len(content))] if isinstance(content, list) else [(name, None)]


def _along(instance: dict[str, Any], baseline: dict[str, Any], order: Sequence[Feature]) -> list[dict[str, Any]]:
    """Return the instances from the baseline to the instance itself, one feature after the other."""
    steps = [copy.deepcopy(baseline)]
    for name, place in order:
        step = copy.deepcopy(steps[-1])
        if place is None:
            step[name] = instance[name]
        else:
            step[name][place] = instance[name][place]
        steps.append(step)
    return steps


def _shares(
    instance: dict[str, Any], walks: Sequence[tuple[list[Feature], list[list[float]]]], index: int
) -> dict[str, Any]:
    shares: dict[str, Any] = {
        name: [0.0] * len(content) if isinstance(content, list) else 0.0 for name, content in instance.items()
    }
    for order, outputs in walks:
        for (name, place), before, after in zip(order, outputs, outputs[1:], strict=False):
            gain = (after[index] - before[index]) / len(walks)
            if place is None:
                shares[name] += gain
            else:
                shares[name][place] += gain
    return shares


def _numbers(predictions: Sequence[Any]) -> list[list[float]]:
    """Return the outputs of predictions, each a list of numbers."""
    found = []
    for prediction in predictions:
        outputs = prediction if isinstance(prediction, list) else [prediction]
        if not outputs or not all(isinstance(output, (int, float)) for output in outputs):
            raise invalid("Only models that predict a number, or a list of numbers, can be explained.")
        found.append([float(output) for output in outputs])
    return found
