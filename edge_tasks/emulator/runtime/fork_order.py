"""What a process that is forked is to be. Some interpreters that read it have Python's own modules only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Order(NamedTuple):
    """`python -m MODULE ARGUMENT ...`, and where. One without a module asks for imports only.

    `preloaded` is imported before, once for all: see `fork_server` for what that may be. `mount` is the address of
    Cloud Storage and the folder of the new root, for a process that gets its own /gcs; `pip` is what `pip_shim` is told
    to do before. Of a `supervised` process it is told how it ended. `mark` tells what belongs to it: see `processes`.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    preloaded: Sequence[str]
    mount: Sequence[str] | None = None
    pip: Sequence[str] | None = None
    supervised: bool = False
    mark: str = ""

    def to_json(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(self._asdict()).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Order:
        """Read what was sent. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(text))
