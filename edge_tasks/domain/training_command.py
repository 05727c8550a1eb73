"""The command of a train stage, read: `python train.py with params.yaml C=3`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edge_tasks.errors import ConfigError


@dataclass(frozen=True)
class TrainingCommand:
    """A script, the files with its parameters, and single ones (NAME=VALUE), which go over those."""

    script: str
    files: tuple[str, ...]
    updates: tuple[str, ...]

    @classmethod
    def parse(cls, address: str, commands: Sequence[str]) -> TrainingCommand:
        """Read the command of the stage `address`. Raises ConfigError when it does more than to start a script."""
        hint = f"its cmd in {address.rpartition(':')[0]} must be one line, like `python train.py with params.yaml`"
        problem = f"the stage `{address}` does not just start a script, so it cannot be a task of a pipeline"
        try:
            words = shlex.split(commands[0]) if len(commands) == 1 else []
        except ValueError:
            words = []
        if len(words) < 2 or not words[0].startswith("python") or not words[1].endswith(".py") or "/" in words[1]:
            raise ConfigError(problem, hint)
        rest = words[2:]
        if rest and rest[0] != "with":
            raise ConfigError(problem, hint)
        files = tuple(word for word in rest[1:] if "=" not in word)
        if not all(file.endswith((".yaml", ".yml", ".json")) for file in files):
            raise ConfigError(problem, hint)
        return cls(words[1], files, tuple(word for word in rest[1:] if "=" in word))
