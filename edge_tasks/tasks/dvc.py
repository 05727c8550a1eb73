"""`dvc.*`: DVC's own commands are used as they are; this only leads them to the right place."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task(name="init")
def init_(_context: Any) -> None:
    """Point DVC's remote at the bucket.

    Initialises DVC if need be; with target local the remote is a folder of this machine.
    """
    from edge_tasks.console import Console
    from edge_tasks.setup import initialise

    here = repository()
    with Console() as console:
        initialise.set_up_dvc(here.root, here.config, console)


collection = Collection("dvc", init_)
