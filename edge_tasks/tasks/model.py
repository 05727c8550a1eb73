"""`model.*`: from a new model to its predictions, and away again."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import Repository, repository
from edge_tasks.tasks._task import NAME_HELP, WAIT_HELP, task

_NAME_AND_WAIT = {"name": NAME_HELP, "wait": WAIT_HELP}


@task(name="init", help={"name": "the new model's name", "example": "what to start from: hello-world or digits"})
def init_(_context: Any, name: str, example: str = "hello-world") -> None:
    """Add a model: its folder from the template, edge.yaml, and the root's dvc.yaml."""
    from edge_tasks import models
    from edge_tasks.console import Console

    here = repository()
    with Console() as console:
        folder = models.init_model(here.root, here.config, name, example)
        console.step(f"made {folder.relative_to(here.root)} from the example `{example}`")
        console.step(f"now train it: dvc repro {folder.relative_to(here.root)}/dvc.yaml")


@task(name="list")
def list_(_context: Any) -> None:
    """List the models: trained when, and what serves."""
    from edge_tasks import catalogue
    from edge_tasks.console import print_table

    here = repository()
    rows = catalogue.list_models(here.root, here.config, here.cloud)
    print_table(catalogue.COLUMNS, rows)


@task(help={"name": NAME_HELP})
def describe(_context: Any, name: str | None = None) -> None:
    """Print all that is known of a model as YAML: config, training, deployment and its history."""
    import yaml

    from edge_tasks import catalogue
    from edge_tasks.console import print_result

    here = repository()
    name, _ = here.config.model(name)
    description = catalogue.describe(here.root, here.config, here.cloud, name)
    print_result(yaml.safe_dump(description, sort_keys=False, allow_unicode=True).rstrip())


@task(help=_NAME_AND_WAIT)
def deploy(_context: Any, name: str | None = None, wait: int = 0) -> None:
    """Serve the trained model on its endpoint; the version before goes when the new one serves."""
    from edge_tasks import models
    from edge_tasks.console import Console

    here = repository()
    name, _ = here.config.model(name)
    with Console() as console:
        deployed = models.deploy(here.cloud, here.config, here.root, name, console, wait)
        done = "serves" if deployed.changed else "serves already"
        console.step(f"`{name}` version {deployed.version} {done}: {deployed.url}")
        console.step("now ask it: ./test_endpoint.sh" + _argument(here, name))


def _argument(here: Repository, name: str) -> str:
    return f" {name}" if len(here.config.models) > 1 else ""


@task(help=_NAME_AND_WAIT)
def undeploy(_context: Any, name: str | None = None, wait: int = 0) -> None:
    """Take the model off its endpoint, which stays with its id (and costs nothing)."""
    from edge_tasks import models
    from edge_tasks.console import Console

    here = repository()
    name, _ = here.config.model(name)
    with Console() as console:
        done = models.undeploy(here.cloud, name, console, wait)
        console.step(f"`{name}` is no longer deployed" if done else f"`{name}` was not deployed")


@task(help={**_NAME_AND_WAIT, "yes": "do not ask"})
def remove(_context: Any, name: str | None = None, wait: int = 0, yes: bool = False) -> None:
    """Delete a model's endpoint and all its registered versions; the folder and edge.yaml stay."""
    from edge_tasks import models
    from edge_tasks.console import Console, confirm
    from edge_tasks.errors import EdgeError

    here = repository()
    name, _ = here.config.model(name)
    if not yes and not confirm(f"delete the endpoint and all registered versions of `{name}` ({here.config.target})?"):
        raise EdgeError("nothing was removed", "add `--yes` to remove without being asked")
    with Console() as console:
        models.remove(here.cloud, name, console, wait)
        console.step(f"removed what existed of `{name}`; models/{name} and edge.yaml are as they were")


@task(name="get-endpoint", help={"name": NAME_HELP, "url": "print the address for predict requests instead"})
def get_endpoint(_context: Any, name: str | None = None, url: bool = False) -> None:
    """Print the endpoint's resource name, alone, for scripts."""
    from edge_tasks import models, vertex
    from edge_tasks.console import print_result

    here = repository()
    name, _ = here.config.model(name)
    endpoint = models.endpoint_name(here.cloud, name)
    print_result(vertex.predict_url(here.cloud, endpoint) if url else endpoint)


@task(
    help={
        "name": NAME_HELP,
        "file": 'a JSON file: {"instances": [...]} (default: the model\'s test_payload.json)',
    }
)
def predict(_context: Any, name: str | None = None, file: str | None = None) -> None:
    """Ask the endpoint for predictions and print its answer as JSON."""
    import json

    from edge_tasks import models, payloads
    from edge_tasks.console import print_result

    here = repository()
    name, _ = here.config.model(name)
    payload = payloads.read_payload(file or models.model_folder(here.root, name) / "test_payload.json")
    print_result(json.dumps(models.predict(here.cloud, name, payload), indent=2, ensure_ascii=False))


@task(help={"output": "write to this file instead of stdout"})
def report(_context: Any, output: str | None = None) -> None:
    """Print a Markdown report on every model's last training."""
    from pathlib import Path

    from edge_tasks.console import print_result
    from edge_tasks.files import write_atomically
    from edge_tasks.pipelines import report as write_report

    here = repository()
    text = write_report(here.root, here.config)
    if output is None:
        print_result(text.rstrip())
    else:
        write_atomically(Path(output), text.encode())


collection = Collection("model", init_, list_, describe, deploy, undeploy, remove, get_endpoint, predict, report)
