"""`invoke init`."""

from __future__ import annotations

from typing import Any

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task()
def init(_context: Any) -> None:
    """Set the repository up for its target: DVC's remote, bucket, shared state. Can be run again."""
    from edge_tasks import projects
    from edge_tasks.console import Console

    here = repository()
    with Console() as console:
        console.step(f"edge.yaml is in order: target {here.config.target}, {len(here.config.models)} model(s)")
        projects.set_up(here.root, here.config, here.cloud, console)
        if here.config.models:
            console.step(f"ready; now train: dvc repro models/{next(iter(here.config.models))}/dvc.yaml")
        else:
            console.step("ready; now add a model: invoke model.init NAME")
