"""`ci.*`: what CI runs, over all models of the repository, and letting it into Google Cloud."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from edge_tasks.tasks._output import output_file, output_folder
from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, LOCK_TIMEOUT_HELP, task

if TYPE_CHECKING:
    from edge_tasks.releases.plan import Release


@task(
    help={
        "base": "the branch or commit to compare with",
        "serving": "compare with the version that serves instead, as who approves a release wants to know it",
        "output": "write it to this file, too",
        **AS_JSON,
    }
)
def compare(
    _context: Any, base: str = "main", serving: bool = False, output: str | None = None, json: bool = False
) -> None:
    """Print metrics next to those of another branch.

    Metrics and parameters, as Markdown or JSON.
    """
    from json import dumps

    from edge_tasks.console import print_result
    from edge_tasks.releases import branch_comparison, serving_comparison
    from edge_tasks.repo.files import write_atomically

    here = repository()
    root = here.root
    file = output_file(output) if output is not None else None
    if serving:
        found = serving_comparison.compared(root, here.config, here.cloud)
        text = dumps(found, indent=2) if json else serving_comparison.markdown(found)
    elif json:
        text = dumps(branch_comparison.compared(root, base), indent=2)
    else:
        text = branch_comparison.compare(root, base)
    if file is not None:
        write_atomically(file, text.encode())
    print_result(text.rstrip())


@task(help={"again": "train this model alone, though nothing changed: each of its stages, so that it gets new data"})
def train(_context: Any, again: str | None = None) -> None:
    """Train every model that changed; push data and models.

    A model that was last trained for another target is trained, too.
    """
    from edge_tasks.cloud.state_store import StateStore
    from edge_tasks.console import Console
    from edge_tasks.releases import ci_pipeline
    from edge_tasks.setup import initialise

    here = repository()
    StateStore(here.cloud).load()  # of lost credentials or a lost bucket DVC would tell in a page of traceback
    with Console() as console:
        # EDGE_TARGET leads a release to another target than edge.yaml's.
        initialise.set_up_dvc(here.root, here.config, console, as_committed=True)
        if again is not None:
            ci_pipeline.train_again(here.root, here.config.model(again)[0], console)
        else:
            ci_pipeline.train(here.root, here.config, console)


@task(help={"branch": "of the remote `origin`"})
def record(_context: Any, branch: str = "main") -> None:
    """Commit what training wrote and push it.

    That is dvc.lock and metrics; the commit starts no pipeline.
    """
    from edge_tasks.console import Console
    from edge_tasks.releases import ci_pipeline

    with Console() as console:
        ci_pipeline.record(repository().root, branch, console)


@contextlib.contextmanager
def _releases(lock_timeout: int) -> Iterator[list[Release]]:
    """Give a release of each model of the repository."""
    from edge_tasks.console import Console
    from edge_tasks.releases.plan import Options, Release

    here = repository()
    with Console() as console:
        options = Options(lock_timeout=lock_timeout)
        yield [Release(here.cloud, here.config, here.root, name, console, options) for name in here.config.models]


@task(
    help={
        "traffic": "per cent of the requests for new versions (default: all)",
        "allow_dirty": "deploy models, too, that were trained with changes that were not committed",
        "lock_timeout": LOCK_TIMEOUT_HELP,
    }
)
def deploy(_context: Any, traffic: int = 100, allow_dirty: bool = False, lock_timeout: int = 0) -> None:
    """Deploy every newly trained model.

    It gets a part of the requests if something serves already.
    """
    from edge_tasks.releases import ci_pipeline

    with _releases(lock_timeout) as releases:
        ci_pipeline.deploy(releases, traffic, allow_dirty=allow_dirty)


@task(name="smoke-test", help={"requests": "for each model"})
def smoke_test(_context: Any, requests: int = 1) -> None:
    """Ask every deployed model with its test_payload.json.

    Fails unless each request is answered with predictions.
    """
    from edge_tasks.console import Console
    from edge_tasks.releases import ci_pipeline

    here = repository()
    with Console() as console:
        ci_pipeline.smoke_test(here.cloud, here.config, here.root, console, requests)


@task(help={"lock_timeout": LOCK_TIMEOUT_HELP})
def promote(_context: Any, lock_timeout: int = 0) -> None:
    """Give every new version all the requests.

    That is, those versions that have a part of the requests.
    """
    from edge_tasks.releases import ci_pipeline

    with _releases(lock_timeout) as releases:
        ci_pipeline.promote(releases)


@task(help={"lock_timeout": LOCK_TIMEOUT_HELP})
def cancel(_context: Any, lock_timeout: int = 0) -> None:
    """Take every new version off again.

    That is, those that have a part of the requests; what served before has them all again.
    """
    from edge_tasks.releases import ci_pipeline

    with _releases(lock_timeout) as releases:
        ci_pipeline.cancel(releases)


@task(help={"output": "folder of the reports (default monitoring)"})
def monitor(_context: Any, output: str = "monitoring") -> None:
    """Look at what every model is asked, and act on a change.

    `monitoring.on_drift` in edge.yaml says how; nothing is done twice for the same drift.
    With `report` the exit status is 1 the first time, so that the CI tells people.
    """
    from invoke.exceptions import Exit

    from edge_tasks.console import Console
    from edge_tasks.monitoring import rounds
    from edge_tasks.tools import ci_service

    here = repository()
    folder = output_folder(output)
    with Console() as console:
        reported = rounds.look(here.cloud, here.config, folder, ci_service, os.environ, console)
        if any(folder.iterdir()):
            console.step(f"the reports are in {output}")
        if reported:
            names = ", ".join(f"`{name}`" for name in reported)
            advice = f"run CI's `retrain` for {names}, or set `monitoring` in edge.yaml"
            console.step(f"this fails once, so that somebody looks: {advice}")
    if reported:
        raise Exit(code=1)


@task()
def token(_context: Any) -> None:
    """Print who this CI job is.

    Google's client runs this by itself.
    """
    import json

    from edge_tasks.console import print_result
    from edge_tasks.setup import ci_token

    print_result(json.dumps(ci_token.answer(os.environ)))


@task(
    help={
        "ci": "circleci or github (default: the one that the repository has files of)",
        "repository": "on GitHub: OWNER/NAME (default: that of the remote `origin`)",
        "organization": "on CircleCI: the organization's id",
        "project": "on CircleCI: the project's id",
        "request_logs": "roles to read what models are asked, too, for ci.monitor (model.monitor --on)",
        "dry_run": "only print the commands",
        "yes": "do not ask",
    }
)
def setup(
    _context: Any,
    ci: str | None = None,
    repository: str | None = None,  # the flag's name is the user's word
    organization: str | None = None,
    project: str | None = None,
    request_logs: bool = False,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Let CI into the Google Cloud project, without a key.

    It makes an account and gives it roles, by gcloud and workload identity federation.
    """
    from edge_tasks.console import Console, confirm, print_result
    from edge_tasks.errors import EdgeError
    from edge_tasks.setup import ci_federation
    from edge_tasks.tasks import _repository
    from edge_tasks.tools import git

    here = _repository.repository()
    if ci_federation.choose(here.root, ci) == "github":
        provider = ci_federation.github(repository, git.remote_url(here.root))
    else:
        provider = ci_federation.circleci(organization, project)
    found = ci_federation.steps(here.config, provider, request_logs=request_logs)
    project_id = here.config.google_cloud_project.project_id
    with Console() as console:
        if dry_run:
            print_result("\n".join(ci_federation.script(here.config, found)))
        else:
            if not yes and not confirm(f"make an account and give it roles in the project `{project_id}`?"):
                raise EdgeError("nothing was changed", "add `--yes` to continue without being asked, or `--dry-run`")
            ci_federation.carry_out(here.config, here.root, found, console)
            if provider.ci == "circleci" and not ci_federation.switch_on(here.root):
                console.step("set the default of the parameter `release` in .circleci/config.yml to true")
        for line in ci_federation.by_hand(provider.ci):
            console.step(f"then {line}")


collection = Collection("ci", compare, train, record, deploy, smoke_test, promote, cancel, monitor, token, setup)
