"""Whether the models of edge.yaml and the folders in models/ agree, and what to say when somebody changed one alone."""

from __future__ import annotations

import difflib
from pathlib import Path

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import ConfigError
from edge_tasks.repo import layout

_SCRIPT = "train.py"


def unlisted(root: Path, config: EdgeConfig) -> list[str]:
    """Return the names of the folders in models/ that hold a train.py and that edge.yaml does not name."""
    found = layout.model_folders(root).glob(f"*/{_SCRIPT}")
    return sorted(path.parent.name for path in found if path.parent.name not in config.models)


def missing(root: Path, config: EdgeConfig) -> list[str]:
    """Return the names of edge.yaml's models that have no folder."""
    return [name for name in config.models if not layout.model_folder(root, name).is_dir()]


def check_folder(root: Path, config: EdgeConfig, name: str) -> None:
    """Raise ConfigError when the model `name` of edge.yaml has no folder."""
    if layout.model_folder(root, name).is_dir():
        return
    others = unlisted(root, config)
    near = difflib.get_close_matches(name, others, n=1) or others[:1]
    renamed = f"when it is models/{near[0]} now: invoke model.rename {name} {near[0]}; else " if near else ""
    raise ConfigError(
        f"edge.yaml names the model `{name}`, but there is no folder models/{name}",
        f"{renamed}git checkout models/{name}, or invoke model.delete {name}",
    )
