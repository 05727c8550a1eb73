"""Where a training happens: the repository's config and state, on a laptop or inside a job."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import connect, connect_from_job
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.state import EdgeState
from edge_tasks.repo.edge_yaml import find_root, load_config

# Set by `edge_tasks.training.job` inside a job: the file with the job's order.
ORDER_VARIABLE = "EDGE_TRAINING_ORDER"

# The package that carries the model's folder and the order to a job, and the order's file in it.
MODEL_PACKAGE = "edge_model"
ORDER_FILE = "order.json"


@dataclass(frozen=True)
class Search:
    """What a tuning job looks for: the metric that its trials report, and the Vertex AI type of each parameter."""

    metric: str
    types: dict[str, str]


@dataclass(frozen=True)
class Order:
    """What a job is to do: written when it is submitted, read inside it. All values are plain JSON.

    `data` is the address of the version of each path. `search` is there for the trials of a tuning job only.
    """

    run_id: str
    model_name: str
    script: str
    output_uri: str
    parameters: dict[str, Any]
    data: dict[str, str]
    commit: str | None = None
    dirty: bool | None = None
    user: str | None = None
    search: Search | None = None

    def to_json(self) -> str:
        """Return the order as the text that `from_json` reads."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Return the order that `to_json` wrote."""
        values = json.loads(text)
        search = values.pop("search", None)
        return cls(**values, search=Search(**search) if search else None)


def current_order() -> Order | None:
    """Return the order of the job that this process is, or None on a laptop."""
    path = os.environ.get(ORDER_VARIABLE)
    return Order.from_json(Path(path).read_text(encoding="utf-8")) if path else None


def job_root() -> Path:
    """Return the folder of the repository's part that travelled with the job that this process is."""
    return Path(os.environ[ORDER_VARIABLE]).parent


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
        from edge_tasks.cloud.state_store import StateStore

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
