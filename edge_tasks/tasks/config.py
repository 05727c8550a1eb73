"""`config.*`: looking at edge.yaml as the tasks understand it."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, task


@task(help=AS_JSON)
def show(_context: Any, json: bool = False) -> None:
    """Print edge.yaml with every default filled in."""
    from edge_tasks.console import print_document

    print_document(repository().config.model_dump(mode="json"), json=json)


@task(help={"key": "such as target, google_cloud_project.region or models.NAME.endpoint_name", **AS_JSON})
def get(_context: Any, key: str, json: bool = False) -> None:
    """Print one value of the config."""
    from edge_tasks.console import print_document, print_result
    from edge_tasks.domain.config import lookup

    value = lookup(repository().config, key)
    if isinstance(value, str) and not json:
        print_result(value)
    else:
        print_document(value, json=json)


@task()
def schema(_context: Any) -> None:
    """Print the JSON Schema of edge.yaml, for editors."""
    from edge_tasks.console import print_json
    from edge_tasks.domain.config import json_schema

    print_json(json_schema())


collection = Collection("config", show, get, schema)
