"""Doing a recorded run again: its commit in a git worktree, its data by their hashes, its parameters, in this process.

The worktree lies in the repository's `.edge` folder, and shares that folder: the same local servers, the same DVC
remote, and the new run is recorded next to the old one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.domain.run_filter import flattened
from edge_tasks.domain.runs import RunRecord
from edge_tasks.errors import GitError, TrainingError
from edge_tasks.jobs.run_script import run_script
from edge_tasks.repo import layout
from edge_tasks.repo.trained_model import load_trained_model
from edge_tasks.tools import dvc, git
from edge_tasks.tracking.sacred_observer import REPRODUCED_VARIABLE

# Computers do not add floating-point numbers in the same order.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Reproduction:
    """What came of it: where it was done, the new run's id, and its metrics next to the recorded ones."""

    folder: Path
    run_id: str
    recorded: dict[str, Any]
    reproduced: dict[str, Any]

    @property
    def same(self) -> bool:
        """Whether every metric is the same, but for the last digits."""
        return all(_same(self.recorded.get(name), self.reproduced.get(name)) for name in self.names)

    @property
    def names(self) -> list[str]:
        """The metrics that one of the two has."""
        return list(dict.fromkeys([*self.recorded, *self.reproduced]))

    def rows(self) -> list[list[str]]:
        """Return a line for each metric: name, recorded, reproduced, and whether they are the same."""
        rows = []
        for name in self.names:
            before, after = self.recorded.get(name), self.reproduced.get(name)
            rows.append([name, _shown(before), _shown(after), "same" if _same(before, after) else "differs"])
        return rows

    def document(self) -> dict[str, Any]:
        """Return the same as plain JSON."""
        return {**asdict(self), "folder": str(self.folder), "same": self.same}


def reproduce(root: Path, cloud: Cloud, config: EdgeConfig, record: RunRecord, progress: Progress) -> Reproduction:
    """Train as `record` tells, and return what came of it. Raises EdgeError when something of it is missing."""
    if record.commit is None:
        raise GitError(
            f"the run {record.run_id} was not trained in a git repository, so its code is not known",
            f"its source files: invoke experiments.show {record.run_id}",
        )
    if git.resolve(root, record.commit) is None:
        raise GitError(f"the commit {record.commit} is not in this clone", "git fetch --all")
    folder = layout.reproduction_folder(root, record.run_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress.step(f"checking out {record.commit[:12]} in {folder.relative_to(root)}")
    there = git.add_worktree(root, record.commit, folder)
    _share(root, there)
    _restore_sources(there, record, RunStore(cloud, config), progress)
    for path, version in record.data.items():
        progress.step(f"fetching {path} ({version})")
        dvc.fetch(there, path, version)
        dvc.record(there, path)
    for line in _other_versions(record.environment):
        progress.step(line)
    _train(there, record, progress)
    trained = load_trained_model(layout.model_folder(there, record.model_name), record.model_name)
    return Reproduction(folder, trained.run_id, flattened(record.metrics), flattened(trained.metrics))


def _share(root: Path, there: Path) -> None:
    """Let the worktree use the repository's local servers, DVC remote and DVC cache."""
    layout.machine_folder(there).symlink_to(layout.machine_folder(root))
    local_config = root / ".dvc" / "config.local"
    if local_config.exists():
        shutil.copy(local_config, there / ".dvc" / "config.local")
    dvc.share_cache(root, there)


def _restore_sources(there: Path, record: RunRecord, store: RunStore, progress: Progress) -> None:
    """Put the recorded source files in their places when the run's files differed from its commit."""
    if not record.dirty:
        return
    progress.step(
        f"the files of this run differed from its commit: its recorded source files are taken "
        f"({', '.join(record.sources) or 'none'}); other files, such as edge.yaml, are those of the commit"
    )
    for name in record.sources:
        path = layout.model_folder(there, record.model_name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.source(record.model_name, record.run_id, name))


def _other_versions(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each library that is not the recorded version here."""
    lines = []
    for name, version in environment.items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # it is not a distribution of that name, such as Python itself
        if here != version:
            lines.append(f"the run used {name} {version}; here is {here}")
    return lines


def _train(there: Path, record: RunRecord, progress: Progress) -> None:
    progress.step(f"training `{record.model_name}` in this machine's Python process")
    with tempfile.TemporaryDirectory(prefix="edge-reproduction-") as name:
        parameters = Path(name) / "parameters.json"
        parameters.write_text(json.dumps(record.parameters), encoding="utf-8")
        status = run_script(
            there,
            record.model_name,
            ["is_vertex=False"],
            script=record.script,
            parameters=parameters,
            environ={**os.environ, REPRODUCED_VARIABLE: record.run_id},
        )
    if status != 0:
        raise TrainingError(f"training `{record.model_name}` ended with status {status}", "fix what it says above")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
