"""Which rows are for training, which for validation, which for the test.

https://cloud.google.com/vertex-ai/docs/tabular-data/data-splits
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from edge_tasks.emulator.errors import invalid, unimplemented

if TYPE_CHECKING:
    from edge_tasks.emulator.datasets.tables import Table
    from edge_tasks.emulator.schema.surface import Message

USES = ("training", "validation", "test")
DEFAULT = (0.8, 0.1, 0.1)
# The values of a column that says it: the newer ones, and those of before.
NAMED = {"training": 0, "train": 0, "validation": 1, "validate": 1, "test": 2}
# The same rows every time: Vertex AI's own choice is by hash, too.
SEED = 5
Shares: TypeAlias = list[list[int]]


def split(table: Table, config: Message, rpc: str) -> Shares:
    """Return the numbers of the rows for each use."""
    kind = config.WhichOneof("split") or "fraction_split"
    if kind == "filter_split":
        raise unimplemented(f"{rpc} with a filter_split is not implemented by this emulator: split by fractions.")
    given = getattr(config, kind)
    if kind == "predefined_split":
        return _predefined(table, given.key)
    fractions = _fractions(given)
    rows = list(range(len(table.rows)))
    if kind == "timestamp_split":
        column = table.column(given.key, "timestamp_split.key")
        return _cut(sorted(rows, key=lambda row: column[row]), fractions)
    groups: dict[str, list[int]] = {}
    for row, value in enumerate(table.column(given.key, "stratified_split.key") if kind == "stratified_split" else []):
        groups.setdefault(value, []).append(row)
    shares: Shares = [[], [], []]
    for group in groups.values() or [rows]:
        random.Random(SEED).shuffle(group)  # noqa: S311  (which row is where is not secret)
        for share, part in zip(shares, _cut(group, fractions), strict=True):
            share += part
    return [sorted(share) for share in shares]


def _predefined(table: Table, key: str) -> Shares:
    shares: Shares = [[], [], []]
    for row, value in enumerate(table.column(key, "predefined_split.key")):
        place = NAMED.get(value.strip().lower())
        # Rows without a use are left out, as on Vertex AI.
        if place is not None:
            shares[place].append(row)
    return shares


def _fractions(given: Message) -> Sequence[float]:
    fractions = (given.training_fraction, given.validation_fraction, given.test_fraction)
    if not any(fractions):
        return DEFAULT
    if any(fraction < 0 for fraction in fractions) or sum(fractions) > 1 + 1e-9:
        raise invalid("The fractions of a split must not be negative, and their sum not more than 1.")
    return fractions


def _cut(rows: Sequence[int], fractions: Sequence[float]) -> Shares:
    whole = sum(fractions)
    first = round(len(rows) * fractions[0] / whole)
    second = first + round(len(rows) * fractions[1] / whole)
    return [list(rows[:first]), list(rows[first:second]), list(rows[second:])]
