"""`infra.*`: what the repository needs on Google Cloud, as code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import Repository
from edge_tasks.tasks._repository import repository as find_repository
from edge_tasks.tasks._task import task

if TYPE_CHECKING:
    from edge_tasks.domain.infrastructure import Trust
    from edge_tasks.setup.infrastructure import Wanted

_FORMATS = ("terraform", "json")


@task(
    help={
        "format": "terraform (files) or json (the plan, on stdout)",
        "output": "the folder for the files (default: infra)",
        "ci": "circleci or github (default: the one that the repository has files of), or none",
        "repository": "on GitHub: OWNER/NAME (default: that of the remote `origin`)",
        "organization": "on CircleCI: the organization's id",
        "project": "on CircleCI: the project's id",
        "apply_in_ci": "accounts by which CI plans on pull requests and applies what was approved, too",
        "context": "on CircleCI, with --apply-in-ci: the id of the context that only those may use who approve",
        "endpoints": "the models' endpoints, too",
        "request_logs": "the data sets of the models' request logs, too",
        "dashboard": "the account that dashboard.deploy runs the dashboard as, too; it may only read",
        "alert_email": "an e-mail to this address when endpoints answer with errors",
        "budget": "a budget of this amount a month, in the billing account's currency",
        "billing_account": "of the budget, such as 012345-6789AB-CDEF01",
    }
)
def export(
    _context: Any,
    format: str = "terraform",  # noqa: A002  the flag's name is the user's word
    output: str = "infra",
    ci: str | None = None,
    repository: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    apply_in_ci: bool = False,
    context: str | None = None,
    endpoints: bool = False,
    request_logs: bool = False,
    dashboard: bool = False,
    alert_email: str = "",
    budget: int = 0,
    billing_account: str = "",
) -> None:
    """Write what init and ci.setup make as Terraform.

    What they make on Google Cloud, with imports of what exists there.
    """
    import json
    from dataclasses import replace

    from edge_tasks.cloud.client import on_google_cloud
    from edge_tasks.console import Console, print_result
    from edge_tasks.domain.infrastructure import as_json
    from edge_tasks.errors import EdgeError
    from edge_tasks.setup import infrastructure
    from edge_tasks.setup.infrastructure import Wanted

    if format not in _FORMATS:
        raise EdgeError(f"there is no format `{format}`", f"use --format {' or --format '.join(_FORMATS)}")
    here = find_repository()
    with Console() as console:
        trust = _trust(here, ci, repository, organization, project, context)
        if trust is None and ci != "none" and not apply_in_ci:
            console.step("CI is left out: its ids are not given (see --help)")
        wanted = Wanted(
            trust, endpoints, request_logs, alert_email, billing_account, budget, apply_in_ci, dashboard=dashboard
        )
        wanted.check()
        if endpoints and on_google_cloud(here.config):
            wanted = replace(
                wanted,
                endpoint_ids=infrastructure.known_endpoints(here.config, here.cloud),
                dedicated=infrastructure.dedicated_endpoints(here.config, here.cloud),
            )
        if format == "json":
            print_result(json.dumps(as_json(infrastructure.make_plan(here.config, wanted)), indent=2))
            return
        existing = _existing(here, wanted)
        if existing is None:
            console.step("with target local nothing on Google Cloud is looked at: imports.tf is left out")
        files = infrastructure.terraform_files(here.config, wanted, existing or [], output)
        changed = infrastructure.write(here.root / output, files)
        for name in changed:
            console.step(f"{output}/{name}")
        console.step(f"next: {output}/README.md" if changed else f"{output}/ is as edge.yaml says")


@task(help={"file": "what `terraform output -json` printed; - is stdin (default: terraform is run in infra/)"})
def adopt(_context: Any, file: str | None = None) -> None:
    """Write the accounts that Terraform made into edge.yaml.

    Only where no other is named; and the files by which CI logs in, which hold no secret.
    """
    from edge_tasks.console import Console
    from edge_tasks.setup import ci_federation, infrastructure
    from edge_tasks.setup.terraform import FOLDER

    here = find_repository()
    outputs = infrastructure.read_outputs(_outputs(here.root, file))
    with Console() as console:
        files = infrastructure.log_in_files(outputs)
        written = infrastructure.adopt(here.root, here.config, outputs)
        for key, value in written.items():
            console.step(f"edge.yaml: {key} = {value}")
        if not written:
            console.step("edge.yaml names the accounts already")
        if not files:
            return
        for name in infrastructure.write_log_ins(here.root, files):
            console.step(name)
        ci = "circleci" if any(name.startswith(".circleci/") for name in files) else "github"
        lines = ci_federation.by_hand(ci)
        if any(name.endswith("-apply.json") for name in files):
            lines += ci_federation.infrastructure_by_hand(ci, FOLDER)
        for line in lines:
            console.step(f"then {line}")


def _trust(
    here: Repository,
    ci: str | None,
    repository: str | None,
    organization: str | None,
    project: str | None,
    context: str | None,
) -> Trust | None:
    """Return whose CI is let in; None when the repository has no CI, or it cannot be told which project is its."""
    from edge_tasks.setup import ci_federation
    from edge_tasks.tools import git

    if ci == "none":
        return None
    given = any((ci, repository, organization, project, context))
    try:
        if ci_federation.choose(here.root, ci) == "github":
            return ci_federation.github(repository, git.remote_url(here.root))
        return ci_federation.circleci(organization, project, context)
    except ci_federation.SetUpError:
        if given:
            raise
        return None


def _existing(here: Repository, wanted: Wanted) -> list[str] | None:
    """Return the import ids of what exists; None with target local."""
    from edge_tasks.cloud.client import on_google_cloud
    from edge_tasks.setup import infrastructure

    if not on_google_cloud(here.config):
        return None
    return infrastructure.existing(here.config, wanted, here.cloud)


def _outputs(root: Path, file: str | None) -> str:
    """Return what Terraform says that it made."""
    import subprocess

    from edge_tasks.errors import EdgeError
    from edge_tasks.setup.terraform import FOLDER

    if file == "-":
        return sys.stdin.read()
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EdgeError(f"cannot read `{file}`: {error}", "terraform -chdir=infra output -json > FILE") from None
    command = ["terraform", f"-chdir={FOLDER}", "output", "-json"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EdgeError(
            "terraform is not installed", "install it from https://developer.hashicorp.com/terraform/install"
        ) from None
    if done.returncode:
        raise EdgeError(f"terraform failed: {done.stderr.strip()}", f"terraform -chdir={FOLDER} init")
    return done.stdout


collection = Collection("infra", export, adopt)
