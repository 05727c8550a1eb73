"""`service.*`: the repository's own web services, in services/NAME."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task(
    help={
        "name": "the service; not needed when there is only one",
        "port": "of 127.0.0.1 to listen on",
        "model": "the model to ask; not needed when there is only one",
    }
)
def run(_context: Any, name: str | None = None, port: int = 8000, model: str | None = None) -> None:
    """Run a web service of this repository.

    It asks the deployed model, and listens on 127.0.0.1.
    """
    from edge_tasks.console import Console
    from edge_tasks.models import web_services

    here = repository()
    service = web_services.prepare(here.root, here.config, here.cloud, name, model, port)
    with Console() as console:
        console.step(f"`{service.name}` at {service.url}, until Ctrl-C")
    service.run()


collection = Collection("service", run)
