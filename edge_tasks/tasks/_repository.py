"""What almost every task needs first: the repository, its config, and its cloud."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_tasks.cloud.client import Cloud
    from edge_tasks.domain.config import EdgeConfig


@dataclass(frozen=True)
class Repository:
    """The repository that the working directory belongs to."""

    root: Path
    config: EdgeConfig

    @cached_property
    def cloud(self) -> Cloud:
        """The clients for the repository's target; target `local` has its servers started."""
        from edge_tasks.cloud.client import connect

        return connect(self.config, self.root)


def repository() -> Repository:
    """Find and read the repository. Raises ConfigError when there is none, or its edge.yaml is wrong."""
    from edge_tasks.repo.edge_yaml import find_root, load_config

    root = find_root()
    return Repository(root, load_config(root))
