"""`template.*`: the template that made the repository."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task(
    help={
        "to": "a version, a checkout or a wheel of vertex-edge (default: the installed package)",
        "base": "the one that made the repository, where git's history does not hold what it gave",
    }
)
def update(_context: Any, to: str | None = None, base: str | None = None) -> None:
    """Merge what has changed in the template.

    That is since it made this repository, on a branch made for it.
    """
    from edge_tasks.console import Console
    from edge_tasks.setup import template_update

    with Console() as console:
        done = template_update.update(repository().root, console, to, base)
        if done.branch is None:
            console.step(f"the repository has all of the template's version {done.after} already")
        else:
            console.step(f"merged the template's version {done.after} (it was {done.before}) on `{done.branch}`")
            console.step("look at it and test it: git diff HEAD^; then merge it: git switch - && git merge -")


collection = Collection("template", update)
