"""Workload identity federation: letting one repository's CI into one Google Cloud project, with no stored key.

Google trusts the tokens of CircleCI or GitHub that name this repository and its main branch, and lets their bearer act
as a service account with the few roles that training and releasing take.
https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines and
https://circleci.com/docs/openid-connect-tokens/
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from edge_tasks.cloud import gcloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.infrastructure import (
    POOL,
    Place,
    ServiceAccount,
    Trust,
    continuous_integration,
    log_reader,
)
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import EdgeError
from edge_tasks.setup import gcloud_commands
from edge_tasks.setup.gcloud_commands import PROJECT_NUMBER, Step, pool_name

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GITHUB_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_GITHUB_REMOTE = re.compile(r"github\.com[:/](?P<repository>[^/]+/[^/]+?)(\.git)?/?$")


class SetUpError(EdgeError):
    """CI cannot be let in, or it is not clear which CI and which repository."""


_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105  (a name of a type)
_TOKEN_COMMAND, _TOKEN_LIMIT = "edge ci.token", "30000"  # milliseconds

# Where Google's client finds how a CI logs in.
CREDENTIALS_FILES = {"circleci": ".circleci/google-cloud.json", "github": ".github/google-cloud.json"}


def circleci(organization: str | None, project: str | None, context: str | None = None) -> Trust:
    """Return the trust in one project of CircleCI. The ids are UUIDs from the pages of the settings.

    `context` is one that only those may use who approve: a job that has it is approved. The subject of CircleCI's
    tokens is longer than the 127 bytes that Google takes, so the project's id stands for it.
    """
    for what, value, flag in (("organization", organization, "--organization"), ("project", project, "--project")):
        if value is None or not _UUID.fullmatch(value):
            raise SetUpError(
                f"CircleCI knows the {what} by an id like 00000000-0000-0000-0000-000000000000"
                + (f", and `{value}` is not one" if value else ", and it is not given"),
                f"add `{flag} ID`: on CircleCI, {what.capitalize()} Settings > Overview",
            )
    if context is not None and not _UUID.fullmatch(context):
        raise SetUpError(
            f"CircleCI knows a context by an id like 00000000-0000-0000-0000-000000000000, and `{context}` is not one",
            "add `--context ID`: on CircleCI, Organization Settings > Contexts; the page's address ends with it",
        )
    return Trust(
        ci="circleci",
        issuer=f"https://oidc.circleci.com/org/{organization}",
        audience=organization,
        attribute="project",
        claim="assertion['oidc.circleci.com/project-id']",
        repository=str(project),
        branch_claim="assertion['oidc.circleci.com/vcs-ref']",
        approved=f"'{context}' in assertion['oidc.circleci.com/context-ids']" if context else "",
    )


def github(repository: str | None, remote: str | None) -> Trust:
    """Return the trust in GitHub for `repository`, OWNER/NAME; without it, for that of the remote's address."""
    found = _GITHUB_REMOTE.search(remote or "")
    repository = repository or (found["repository"] if found else None)
    if repository is None or not _GITHUB_REPOSITORY.fullmatch(repository):
        raise SetUpError(
            f"`{repository}` is not a repository of GitHub" if repository else "it is not clear which repository",
            "add `--repository OWNER/NAME`",
        )
    return Trust(
        ci="github",
        issuer="https://token.actions.githubusercontent.com",
        audience=None,
        attribute="repository",
        claim="assertion.repository",
        repository=repository,
        branch_claim="assertion.ref",
        # The environment whose reviewers approve: https://docs.github.com/actions/reference/security/oidc.
        approved="assertion.environment == 'production'",
    )


def choose(root: Path, ci: str | None) -> str:
    """Return `ci`, or the one whose files the repository has. Raises SetUpError when that is not clear."""
    known = {"circleci": root / ".circleci" / "config.yml", "github": root / ".github" / "workflows" / "release.yml"}
    if ci is not None and ci not in known:
        raise SetUpError(f"there is no CI `{ci}`", "use --ci circleci or --ci github")
    present = [name for name, path in known.items() if path.exists()]
    if ci is None and len(present) != 1:
        raise SetUpError(
            "this repository has files for both CIs" if present else "this repository has no CI's files",
            "add --ci circleci or --ci github",
        )
    return ci or present[0]


def steps(config: EdgeConfig, trust: Trust, *, request_logs: bool = False) -> list[Step]:
    """Return what lets the CI's jobs in, in order. Each may be done again without harm.

    With `request_logs` CI may read what models were asked.
    """
    place = place_of(config)
    plan = continuous_integration(place, trust, sorted(service_accounts(config)))
    if request_logs:
        plan += log_reader(trust, place, deletes=forgets(config))
    account = next(one for one in plan if isinstance(one, ServiceAccount))
    file = CREDENTIALS_FILES[trust.ci]
    log_in = (
        *("gcloud", "iam", "workload-identity-pools", "create-cred-config"),
        f"{pool_name(POOL)}/providers/{trust.provider_id}",
        *("--service-account", account.email, "--subject-token-type", _TOKEN_TYPE),
        *("--executable-command", _TOKEN_COMMAND, "--executable-timeout-millis", _TOKEN_LIMIT, "--output-file", file),
    )
    written = Step("write down for Google's client how to log in (no secret: commit it)", log_in)
    return [*gcloud_commands.steps(plan, place.project_id), written]


def forgets(config: EdgeConfig) -> bool:
    """Say whether `ci.monitor` deletes old requests."""
    return any(model.monitoring.keep for model in config.models.values())


def log_in_document(provider: str, account: str) -> str:
    """Return what Google's client reads to log in as `account`: no secret. `gcloud ... create-cred-config` writes it.

    `provider` is projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER. See
    https://google.aip.dev/auth/4117.
    """
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    document = {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{provider}",
        "subject_token_type": _TOKEN_TYPE,
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"executable": {"command": _TOKEN_COMMAND, "timeout_millis": int(_TOKEN_LIMIT)}},
        "service_account_impersonation_url": url,
    }
    return json.dumps(document, indent=2) + "\n"


def place_of(config: EdgeConfig) -> Place:
    """Return where edge.yaml's infrastructure lies."""
    project = config.google_cloud_project
    return Place(project.project_id, project.region, config.storage_bucket.bucket_name)


def by_hand(ci: str) -> list[str]:
    """Return what no command of gcloud does: what the CI itself must be told."""
    commit = f"commit what was written: git add {CREDENTIALS_FILES[ci].partition('/')[0]} && git commit"
    if ci == "circleci":
        key = "CI pushes dvc.lock and the metrics to main: let it, by Project Settings > SSH Keys > Add user key"
        rollback = "to roll back, use Trigger Pipeline with the parameter `rollback`: the model's name"
        forks = "leave Project Settings > Advanced > Pass secrets to builds from forked pull requests off"
        watch = "to watch the models each day, add a schedule trigger with the parameter `monitor`: true"
        end = "to end what was deployed for a time, add one that runs each hour with `undeploy`: true"
        return [commit, key, forks, rollback, watch, end]
    approval = "name the people who approve: Settings > Environments > production > Required reviewers"
    start = "start releasing: gh variable set EDGE_RELEASE --body true"
    push = "CI pushes dvc.lock and the metrics to main: if main is protected, let GitHub Actions do it"
    end = "to end what was deployed for a time: gh variable set EDGE_UNDEPLOY --body true"
    return [commit, approval, start, push, end]


def infrastructure_by_hand(ci: str, folder: str) -> list[str]:
    """Return what the CI must be told so that it plans and applies what is in `folder`."""
    if ci == "circleci":
        return [
            "restrict the context `infrastructure` to those who approve: Organization Settings > Contexts > Security",
            f"to apply what main has in {folder}/, use Trigger Pipeline with the parameter `apply`: true",
        ]
    return [f"let CI plan and apply {folder}/: gh variable set EDGE_INFRASTRUCTURE --body true"]


def script(config: EdgeConfig, found: list[Step]) -> Iterator[str]:
    """Yield the lines of a shell script that does the steps: what `--dry-run` prints."""
    project = config.google_cloud_project.project_id
    yield f"PROJECT_NUMBER=\"$(gcloud projects describe {project} --format 'value(projectNumber)')\""
    for step in found:
        yield ""
        yield f"# {step.purpose}"
        yield " ".join(_quoted(word) for word in step.command)


def carry_out(config: EdgeConfig, root: Path, found: list[Step], progress: Progress) -> None:
    """Do the steps that are not done yet, by gcloud. Raises CloudError with gcloud's own words at the first failure."""
    project = config.google_cloud_project.project_id
    describe = ("gcloud", "projects", "describe", project, "--format", "value(projectNumber)")
    number = gcloud.text(describe, doing=f"look at the project `{project}`", folder=root).strip()
    if not number.isdigit():
        raise SetUpError(f"gcloud gave no number for the project `{project}`", f"gcloud projects describe {project}")
    for step in found:
        if step.look and gcloud.exists(step.look, doing=step.purpose, folder=root):
            progress.step(f"done already: {step.purpose}")
            continue
        progress.step(step.purpose)
        command = [word.replace(PROJECT_NUMBER, number) for word in step.command]
        gcloud.text(command, doing=step.purpose, limit=gcloud.ENABLE_LIMIT, folder=root)


def switch_on(root: Path, parameter: str = "release") -> bool:
    """Set the default of a parameter of CircleCI's pipelines to true. False when the file has no such line."""
    from edge_tasks.repo.files import write_atomically

    path = root / ".circleci" / "config.yml"
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(
        rf"(^  {parameter}:[^\n]*\n    type: boolean\n    default: )(?:false|true)$",
        r"\1true",
        text,
        flags=re.MULTILINE,
    )
    if count and changed != text:
        write_atomically(path, changed.encode())
    return bool(count)


def service_accounts(config: EdgeConfig) -> set[str]:
    """Return the accounts that edge.yaml's jobs and servers run as."""
    accounts = set()
    for model in config.models.values():
        accounts |= {model.training_service_account, model.serving_service_account}
    return {account for account in accounts if account}


def _quoted(word: str) -> str:
    """Return `word` for a shell, in which the project's number is a variable."""
    if PROJECT_NUMBER not in word and "'" not in word:
        return shlex.quote(word)
    parts = (re.sub(r'(["\\`$])', r"\\\1", part) for part in word.split(PROJECT_NUMBER))
    return '"' + PROJECT_NUMBER.join(parts) + '"'
