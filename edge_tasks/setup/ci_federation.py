"""Workload identity federation: letting one repository's CI into one Google Cloud project, with no stored key.

Google trusts the tokens of CircleCI or GitHub that name this repository and its main branch, and lets their bearer act
as a service account with the few roles that training and releasing take.
https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines and
https://circleci.com/docs/openid-connect-tokens/
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_tasks.cloud import gcloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import EdgeError

POOL = "edge-ci"

# Stands for the project's number, which Google gives when the project is made; in a shell it is a variable.
PROJECT_NUMBER = "${PROJECT_NUMBER}"

# What each step of training and releasing calls, and no more.
PROJECT_ROLES = (
    "roles/aiplatform.user",  # jobs, models, endpoints, predictions
    "roles/logging.viewer",  # the log of a training job
)
BUCKET_ROLES = (
    "roles/storage.objectAdmin",  # data, artifacts, the shared state and its lock
    "roles/storage.legacyBucketReader",  # DVC's client asks whether the bucket is there
)
SERVICES = ("aiplatform", "iam", "iamcredentials", "storage", "sts")

# Without it gcloud asks for a condition in a project that has conditional bindings.
_UNCONDITIONAL = ("--condition", "None", "--quiet")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GITHUB_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_GITHUB_REMOTE = re.compile(r"github\.com[:/](?P<repository>[^/]+/[^/]+?)(\.git)?/?$")


class SetUpError(EdgeError):
    """CI cannot be let in, or it is not clear which CI and which repository."""


@dataclass(frozen=True)
class Provider:
    """Who vouches for the jobs of a repository, and how its tokens name the repository."""

    ci: str
    issuer: str
    audience: str | None
    attribute: str
    claim: str
    repository: str
    branch_claim: str
    credentials_file: str

    @property
    def key(self) -> str:
        """A short name of the repository that no other has: part of the ids below."""
        return hashlib.sha256(self.repository.encode()).hexdigest()[:8]

    @property
    def provider_id(self) -> str:
        """The id of the provider in the pool."""
        return f"{self.ci}-{self.key}"

    @property
    def account_id(self) -> str:
        """The id of the service account."""
        return f"edge-ci-{self.key}"


def circleci(organization: str | None, project: str | None) -> Provider:
    """Return CircleCI as the provider for one of its projects. Both ids are UUIDs from the pages of the settings.

    The subject of CircleCI's tokens is longer than the 127 bytes that Google takes, so the project's id stands for it.
    """
    for what, value, flag in (("organization", organization, "--organization"), ("project", project, "--project")):
        if value is None or not _UUID.fullmatch(value):
            raise SetUpError(
                f"CircleCI knows the {what} by an id like 00000000-0000-0000-0000-000000000000"
                + (f", and `{value}` is not one" if value else ", and it is not given"),
                f"add `{flag} ID`: on CircleCI, {what.capitalize()} Settings > Overview",
            )
    return Provider(
        ci="circleci",
        issuer=f"https://oidc.circleci.com/org/{organization}",
        audience=organization,
        attribute="project",
        claim="assertion['oidc.circleci.com/project-id']",
        repository=str(project),
        branch_claim="assertion['oidc.circleci.com/vcs-ref']",
        credentials_file=".circleci/google-cloud.json",
    )


def github(repository: str | None, remote: str | None) -> Provider:
    """Return GitHub as the provider for `repository`, OWNER/NAME; without it, for that of the remote's address."""
    found = _GITHUB_REMOTE.search(remote or "")
    repository = repository or (found["repository"] if found else None)
    if repository is None or not _GITHUB_REPOSITORY.fullmatch(repository):
        raise SetUpError(
            f"`{repository}` is not a repository of GitHub" if repository else "it is not clear which repository",
            "add `--repository OWNER/NAME`",
        )
    return Provider(
        ci="github",
        issuer="https://token.actions.githubusercontent.com",
        audience=None,
        attribute="repository",
        claim="assertion.repository",
        repository=repository,
        branch_claim="assertion.ref",
        credentials_file=".github/google-cloud.json",
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


@dataclass(frozen=True)
class Step:
    """One thing to bring about: what for, the command that does it, and the one that tells whether it is there."""

    purpose: str
    command: tuple[str, ...]
    look: tuple[str, ...] | None = None


def steps(config: EdgeConfig, provider: Provider, branch: str = "main") -> list[Step]:
    """Return what lets the provider's jobs on `branch` in, in order. Each may be done again without harm."""
    project = config.google_cloud_project.project_id
    account = f"{provider.account_id}@{project}.iam.gserviceaccount.com"
    pools = ("gcloud", "iam", "workload-identity-pools")
    where = ("--project", project, "--location", "global")
    in_pool = (*where, "--workload-identity-pool", POOL)
    pool_name = f"projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/{POOL}"
    bearer = f"principalSet://iam.googleapis.com/{pool_name}/attribute.{provider.attribute}/{provider.repository}"
    found = [
        Step(
            "switch on the services",
            ("gcloud", "services", "enable", *(f"{name}.googleapis.com" for name in SERVICES), "--project", project),
        ),
        Step(
            "make the account that CI acts as",
            (
                *("gcloud", "iam", "service-accounts", "create", provider.account_id, "--project", project),
                *("--display-name", f"CI of {provider.repository}"),
            ),
            ("gcloud", "iam", "service-accounts", "describe", account, "--project", project),
        ),
        Step(
            "make the pool of identities from outside",
            (*pools, "create", POOL, *where, "--display-name", "vertex-edge CI"),
            (*pools, "describe", POOL, *where),
        ),
        Step(
            f"trust {provider.ci}'s tokens that name this repository and its branch {branch}",
            (
                *(*pools, "providers", "create-oidc", provider.provider_id, *in_pool),
                *("--issuer-uri", provider.issuer),
                *(("--allowed-audiences", provider.audience) if provider.audience else ()),
                "--attribute-mapping",
                f"google.subject={provider.claim},attribute.{provider.attribute}={provider.claim}",
                "--attribute-condition",
                f"{provider.claim} == '{provider.repository}' && {provider.branch_claim} == 'refs/heads/{branch}'",
            ),
            (*pools, "providers", "describe", provider.provider_id, *in_pool),
        ),
        Step(
            "let their bearer act as the account",
            (
                *("gcloud", "iam", "service-accounts", "add-iam-policy-binding", account, "--project", project),
                *("--role", "roles/iam.workloadIdentityUser", "--member", bearer, *_UNCONDITIONAL),
            ),
        ),
    ]
    found += _roles(config, account)
    found.append(
        Step(
            "write down for Google's client how to log in (no secret: commit it)",
            (
                *(*pools, "create-cred-config", f"{pool_name}/providers/{provider.provider_id}"),
                *("--service-account", account, "--subject-token-type", "urn:ietf:params:oauth:token-type:jwt"),
                *("--executable-command", "edge ci.token", "--executable-timeout-millis", "30000"),
                *("--output-file", provider.credentials_file),
            ),
        )
    )
    return found


def _roles(config: EdgeConfig, account: str) -> list[Step]:
    """Return what gives the account its rights: in the project, on the bucket, and on the accounts of edge.yaml."""
    project, bucket = config.google_cloud_project.project_id, f"gs://{config.storage_bucket.bucket_name}"
    member = ("--member", f"serviceAccount:{account}")
    return [
        *(
            Step(
                f"give the account {role}",
                ("gcloud", "projects", "add-iam-policy-binding", project, "--role", role, *member, *_UNCONDITIONAL),
            )
            for role in PROJECT_ROLES
        ),
        *(
            Step(
                f"give the account {role} on the bucket alone",
                ("gcloud", "storage", "buckets", "add-iam-policy-binding", bucket, "--role", role, *member),
            )
            for role in BUCKET_ROLES
        ),
        *(
            Step(
                "let the account start jobs and servers that run as the one in edge.yaml",
                (
                    *("gcloud", "iam", "service-accounts", "add-iam-policy-binding", other, "--project", project),
                    *("--role", "roles/iam.serviceAccountUser", *member, *_UNCONDITIONAL),
                ),
            )
            for other in sorted(_service_accounts(config))
        ),
    ]


def by_hand(provider: Provider) -> list[str]:
    """Return what no command of gcloud does: what the CI itself must be told."""
    commit = f"commit what was written: git add {provider.credentials_file.partition('/')[0]} && git commit"
    if provider.ci == "circleci":
        key = "CI pushes dvc.lock and the metrics to main: let it, by Project Settings > SSH Keys > Add user key"
        rollback = "to roll back, use Trigger Pipeline with the parameter `rollback`: the model's name"
        forks = "leave Project Settings > Advanced > Pass secrets to builds from forked pull requests off"
        watch = "to watch the models each day, add a schedule trigger with the parameter `monitor`: true"
        return [commit, key, forks, rollback, watch]
    approval = "name the people who approve: Settings > Environments > production > Required reviewers"
    start = "start releasing: gh variable set EDGE_RELEASE --body true"
    push = "CI pushes dvc.lock and the metrics to main: if main is protected, let GitHub Actions do it"
    return [commit, approval, start, push]


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
        if step.look and gcloud.attempt(step.look, doing=step.purpose, folder=root).returncode == 0:
            progress.step(f"done already: {step.purpose}")
            continue
        progress.step(step.purpose)
        command = [word.replace(PROJECT_NUMBER, number) for word in step.command]
        gcloud.text(command, doing=step.purpose, limit=gcloud.ENABLE_LIMIT, folder=root)


def switch_on(root: Path) -> bool:
    """Set the default of CircleCI's parameter `release` to true. False when the file has no such line."""
    from edge_tasks.repo.files import write_atomically

    path = root / ".circleci" / "config.yml"
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(
        r"(^  release:[^\n]*\n    type: boolean\n    default: )(?:false|true)$", r"\1true", text, flags=re.MULTILINE
    )
    if count and changed != text:
        write_atomically(path, changed.encode())
    return bool(count)


def _service_accounts(config: EdgeConfig) -> set[str]:
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
