"""`config.*`: looking at edge.yaml as the tasks understand it."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task()
def show(_context: Any) -> None:
    """Print edge.yaml with every default filled in."""
    import yaml

    from edge_tasks.console import print_result

    print_result(yaml.safe_dump(repository().config.model_dump(mode="json"), sort_keys=False).rstrip())


@task(help={"key": "such as target, google_cloud_project.region or models.NAME.endpoint_name"})
def get(_context: Any, key: str) -> None:
    """Print one value of the config."""
    import yaml

    from edge_tasks.console import print_result
    from edge_tasks.domain.config import lookup

    value = lookup(repository().config, key)
    print_result(
        value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False).removesuffix("...\n").rstrip()
    )


@task()
def schema(_context: Any) -> None:
    """Print the JSON Schema of edge.yaml, for editors."""
    import json

    from edge_tasks.console import print_result
    from edge_tasks.domain.config import json_schema

    print_result(json.dumps(json_schema(), indent=2))


collection = Collection("config", show, get, schema)
