"""Where a training happens: the repository's config and state, on a laptop or inside a job."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path

from edge_tasks.cloud.client import connect, connect_from_job
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.state import Change, EdgeState, ModelState
from edge_tasks.repo.edge_yaml import find_root, load_config

# Set by `edge_tasks.training.job` inside a job: the file with its TrainingSpec.
SPEC_VARIABLE = "EDGE_TRAINING_ORDER"


def current_spec() -> TrainingSpec | None:
    """Return what the job that this process is has to do, or None on a laptop."""
    path = os.environ.get(SPEC_VARIABLE)
    return TrainingSpec.from_json(Path(path).read_text(encoding="utf-8")) if path else None


def job_root() -> Path:
    """Return the folder of the repository's part that travelled with the job that this process is."""
    return Path(os.environ[SPEC_VARIABLE]).parent


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

        cloud = connect_from_job(self._config) if current_spec() else connect(self._config, self._root)
        return StateStore(cloud).load()

    @property
    def models(self) -> dict[str, ModelState]:
        """What exists of each model: its endpoint, what serves, and what served before."""
        return self.value.models

    @property
    def changes(self) -> tuple[Change, ...]:
        """The last changes, oldest first."""
        return self.value.changes

    @property
    def format_version(self) -> int:
        """The version of the state's format."""
        return self.value.format_version

    def model(self, name: str) -> ModelState:
        """Return what exists of the model `name`; an empty ModelState when nothing does."""
        return self.value.model(name)


def get_config_and_state() -> tuple[EdgeConfig, TrainingState]:
    """Return the repository's checked edge.yaml and its shared state (loaded when first used).

    The repository is found from the working directory upwards. Raises ConfigError when there is none.
    """
    # Sacred takes a second with pandas; what only asks where it is goes without.
    from edge_tasks.training.failure import show_errors_plainly

    # It is called while train.py is imported, before Sacred is there to print an error.
    show_errors_plainly(str(sys._getframe(1).f_globals.get("__name__")))  # noqa: SLF001  the only way to know the caller
    return read_config_and_state()


def read_config_and_state() -> tuple[EdgeConfig, TrainingState]:
    """Do what `get_config_and_state` does, for others than a train.py."""
    root = find_root()
    config = load_config(root)
    return config, TrainingState(config, root)
