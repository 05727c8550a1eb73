"""Where a training happens: the repository's config and state, on a laptop or inside a job."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_tasks.cloud import connect, connect_from_job
from edge_tasks.config import EdgeConfig
from edge_tasks.edge_yaml import find_root, load_config
from edge_tasks.state import EdgeState

# Set by `edge_tasks.training.job` inside a job: the file with the job's order.
ORDER_VARIABLE = "EDGE_TRAINING_ORDER"

# The package that carries the model's folder and the order to a job, and the order's file in it.
MODEL_PACKAGE = "edge_model"
ORDER_FILE = "order.json"


@dataclass(frozen=True)
class Order:
    """What a job is to do: written when it is submitted, read inside it. All values are plain JSON."""

    run_id: str
    model_name: str
    script: str
    output_uri: str
    parameters: dict[str, Any]
    data: dict[str, str]


def current_order() -> Order | None:
    """Return the order of the job that this process is, or None on a laptop."""
    path = os.environ.get(ORDER_VARIABLE)
    return Order(**json.loads(Path(path).read_text(encoding="utf-8"))) if path else None


class TrainingState:
    """The shared state, read from the bucket when something of it is first asked for.

    Most trainings never look at it, so they need neither the bucket nor a network for it.
    """

    def __init__(self, config: EdgeConfig, root: Path):
        self._config = config
        self._root = root

    @cached_property
    def value(self) -> EdgeState:
        """The state as it was when it was first looked at."""
        from edge_tasks.store import StateStore

        cloud = connect_from_job(self._config) if current_order() else connect(self._config, self._root)
        return StateStore(cloud).load()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)


def get_config_and_state() -> tuple[EdgeConfig, TrainingState]:
    """Return the repository's checked edge.yaml and its shared state (loaded when first used).

    The repository is found from the working directory upwards. Raises ConfigError when there is none.
    """
    root = find_root()
    config = load_config(root)
    return config, TrainingState(config, root)
