"""Google's own operators: none so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

# What an operator does: given a location, its words, its ExecutorInput and who to tell of its job, it gives outputs.
Operator: TypeAlias = Callable[[str, list[str], dict[str, Any], Callable[[str], None]], Awaitable[dict[str, Any]]]


class Operators:
    """Finds the operator that a container stands for."""

    def find(self, container: Mapping[str, Any]) -> Operator | None:
        """Return the operator of a container; None when it is another one."""
        del container
        return None
