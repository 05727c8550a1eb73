"""`invoke init`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task

if TYPE_CHECKING:
    from edge_tasks.console import Console
    from edge_tasks.setup.initialise import Plan

# The flags and their keys in edge.yaml.
_KEYS = {
    "target": "target",
    "project": "google_cloud_project.project_id",
    "region": "google_cloud_project.region",
    "bucket": "storage_bucket.bucket_name",
}
# What is asked for on a terminal when the target becomes gcp.
_QUESTIONS = {
    "project": "Google Cloud project id",
    "region": "region",
    "bucket": "bucket for data, models and state (its name must be unique in the world)",
}


@task(
    help={
        "target": "local (this machine) or gcp (Google Cloud); default: that of edge.yaml",
        "project": "Google Cloud project id",
        "region": "Vertex AI region, such as europe-west1",
        "bucket": "name of the bucket, without gs://",
        "yes": "do not ask",
        "dry_run": "only say what would be done",
    }
)
def init(
    _context: Any,
    target: str | None = None,
    project: str | None = None,
    region: str | None = None,
    bucket: str | None = None,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Set the repository up for its target.

    Google Cloud, bucket, edge.yaml, DVC's remote, shared state. Can be run again at any time, also after a failure.
    """
    from edge_tasks.console import Console, can_ask, confirm
    from edge_tasks.errors import EdgeError

    root = repository().root
    given = {"target": target, "project": project, "region": region, "bucket": bucket}
    wanted = {_KEYS[name]: value for name, value in given.items() if value is not None}
    _check_flags(root, wanted)
    asking = can_ask() and not yes
    if asking and _moves_to_google_cloud(root, wanted):
        _ask(root, wanted, list(_QUESTIONS))
    with Console() as console:
        plan = _plan(root, wanted, console, asking)
        for fact in plan.facts:
            console.step(fact)
        if dry_run:
            for repair in plan.repairs:
                console.step(f"would {repair.text}")
            return
        if plan.asks and not yes:
            for repair in plan.repairs:
                console.step(f"to do: {repair.text}")
            if not confirm("do all this?"):
                raise EdgeError("nothing was done", "add `--yes` to do it without being asked")
        plan.carry_out(console)
        models = list(repository().config.models)
        training = f"train: dvc repro models/{models[0]}/dvc.yaml" if models else "add a model: invoke model.init NAME"
        console.step(f"ready; now {training}")


def _check_flags(root: Path, wanted: Mapping[str, str]) -> None:
    """Raise ConfigError for a flag whose value edge.yaml could not hold, in words about the flag."""
    from edge_tasks.domain.config import FILE_NAME
    from edge_tasks.errors import ConfigError
    from edge_tasks.repo import edge_yaml

    try:
        edge_yaml.config_with(root, wanted)
    except ConfigError as error:
        for name, key in _KEYS.items():
            place = f"`{FILE_NAME}`: {key}"
            if key in wanted and error.problem.startswith(place):
                fix = (error.hint or "fix").startswith("fix")
                hint = f"invoke init --{name} ANOTHER" if fix else error.hint
                raise ConfigError(error.problem.replace(place, f"`--{name}`", 1), hint) from None
        raise


def _plan(root: Path, wanted: dict[str, str], console: Console, asking: bool) -> Plan:
    """Read the world; a bucket's name that is taken is asked for again when somebody is there."""
    from edge_tasks.errors import BucketTakenError
    from edge_tasks.repo import edge_yaml
    from edge_tasks.setup import initialise

    while True:
        config = edge_yaml.config_with(root, wanted)
        try:
            return initialise.plan(root, config, edge_yaml.changed(root, wanted))
        except BucketTakenError as error:
            if not asking:
                raise
            console.step(error.problem)
            wanted.pop(_KEYS["bucket"], None)
            _ask(root, wanted, ["bucket"])


def _moves_to_google_cloud(root: Path, wanted: Mapping[str, str]) -> bool:
    from edge_tasks.cloud import client
    from edge_tasks.repo import edge_yaml

    return _KEYS["target"] in edge_yaml.changed(root, wanted) and client.on_google_cloud(
        edge_yaml.config_with(root, wanted)
    )


def _ask(root: Path, wanted: dict[str, str], names: list[str]) -> None:
    """Ask for those of `names` that are not known yet, each until the answer is possible."""
    from edge_tasks.console import ask, print_error
    from edge_tasks.errors import ConfigError
    from edge_tasks.repo import edge_yaml
    from edge_tasks.setup import initialise

    for name in names:
        key = _KEYS[name]
        while key not in wanted:
            suggestions = initialise.suggestions(edge_yaml.load_config(root), edge_yaml.config_with(root, wanted))
            answer = ask(_QUESTIONS[name], suggestions[key])
            try:
                edge_yaml.config_with(root, {**wanted, key: answer})
            except ConfigError as error:
                print_error(error)
            else:
                wanted[key] = answer
