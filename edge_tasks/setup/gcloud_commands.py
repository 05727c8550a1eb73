"""The plan of the infrastructure as commands of gcloud, of those resources that `invoke ci.setup` makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch

from edge_tasks.domain.infrastructure import (
    AccountRole,
    BucketRole,
    CustomRole,
    Federated,
    FolderRole,
    IdentityPool,
    IdentityProvider,
    ImageRepository,
    Member,
    ProjectRole,
    Resource,
    Service,
    ServiceAccount,
)

# Stands for the project's number, which Google gives when the project is made; in a shell it is a variable.
PROJECT_NUMBER = "${PROJECT_NUMBER}"

# Without it gcloud asks for a condition in a project that has conditional bindings.
_UNCONDITIONAL = ("--condition", "None", "--quiet")

_POOLS = ("gcloud", "iam", "workload-identity-pools")


@dataclass(frozen=True)
class Step:
    """One thing to bring about: what for, the command that does it, and the one that tells whether it is there."""

    purpose: str
    command: tuple[str, ...]
    look: tuple[str, ...] | None = None


def steps(plan: Iterable[Resource], project_id: str) -> list[Step]:
    """Return the commands, in order; all APIs are enabled with the first. Each may be done again without harm."""
    resources = list(plan)
    names = [resource.name for resource in resources if isinstance(resource, Service)]
    enable = Step("switch on the services", ("gcloud", "services", "enable", *names, "--project", project_id))
    others = [_step(resource, project_id) for resource in resources if not isinstance(resource, Service)]
    return [enable, *others] if names else others


def pool_name(pool_id: str) -> str:
    """Return the resource name of a pool."""
    return f"projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/{pool_id}"


def in_pool(project_id: str, pool_id: str) -> tuple[str, ...]:
    """Return the flags that name a pool."""
    return (*_where(project_id), "--workload-identity-pool", pool_id)


def _where(project_id: str) -> tuple[str, ...]:
    return ("--project", project_id, "--location", "global")


def _member(member: Member) -> str:
    if isinstance(member, ServiceAccount):
        return f"serviceAccount:{member.email}"
    if isinstance(member, Federated):
        return (
            f"principalSet://iam.googleapis.com/{pool_name(member.pool_id)}/attribute.{member.attribute}/{member.value}"
        )
    return member


def look(resource: Resource, project_id: str) -> tuple[str, ...] | None:
    """Return the command that succeeds when a resource is there; None for one that is not looked up by itself."""
    match resource:
        case ServiceAccount():
            return ("gcloud", "iam", "service-accounts", "describe", resource.email, "--project", project_id)
        case IdentityPool():
            return (*_POOLS, "describe", resource.pool_id, *_where(project_id))
        case IdentityProvider():
            place = in_pool(project_id, resource.pool_id)
            return (*_POOLS, "providers", "describe", resource.provider_id, *place)
        case CustomRole():
            return ("gcloud", "iam", "roles", "describe", resource.role_id, "--project", project_id)
        case ImageRepository():
            place = ("--location", resource.region, "--project", project_id)
            return ("gcloud", "artifacts", "repositories", "describe", resource.repository_id, *place)
    return None


@singledispatch
def _step(resource: Resource, project_id: str) -> Step:
    raise TypeError(f"{type(resource).__name__} of {project_id} is made by Terraform only")


@_step.register
def _(account: ServiceAccount, project_id: str) -> Step:
    accounts = ("gcloud", "iam", "service-accounts")
    return Step(
        "make the account that CI acts as"
        if account.account_id.startswith("edge-ci-")
        else f"make the account of {account.display_name}",
        (*accounts, "create", account.account_id, "--project", project_id, "--display-name", account.display_name),
        look(account, project_id),
    )


@_step.register
def _(pool: IdentityPool, project_id: str) -> Step:
    return Step(
        "make the pool of identities from outside",
        (*_POOLS, "create", pool.pool_id, *_where(project_id), "--display-name", pool.display_name),
        look(pool, project_id),
    )


@_step.register
def _(provider: IdentityProvider, project_id: str) -> Step:
    where = in_pool(project_id, provider.pool_id)
    return Step(
        f"trust {provider.trusted}",
        (
            *(*_POOLS, "providers", "create-oidc", provider.provider_id, *where),
            *("--issuer-uri", provider.issuer),
            *(("--allowed-audiences", provider.audience) if provider.audience else ()),
            *("--attribute-mapping", ",".join(f"{name}={claim}" for name, claim in provider.mapping.items())),
            *("--attribute-condition", provider.condition),
        ),
        look(provider, project_id),
    )


@_step.register
def _(given: ProjectRole, project_id: str) -> Step:
    role = given.role if isinstance(given.role, str) else f"projects/{project_id}/roles/{given.role.role_id}"
    bind = ("gcloud", "projects", "add-iam-policy-binding", project_id)
    return Step(f"give the account {role}", (*bind, "--role", role, "--member", _member(given.member), *_UNCONDITIONAL))


@_step.register
def _(given: BucketRole, project_id: str) -> Step:
    del project_id  # a bucket's name is unique in the world
    bind = ("gcloud", "storage", "buckets", "add-iam-policy-binding", f"gs://{given.bucket}")
    return Step(
        f"give the account {given.role} on the bucket alone",
        (*bind, "--role", given.role, "--member", _member(given.member), *_UNCONDITIONAL[:2]),
    )


@_step.register
def _(given: FolderRole, project_id: str) -> Step:
    del project_id
    bind = ("gcloud", "storage", "buckets", "add-iam-policy-binding", f"gs://{given.bucket}")
    condition = f"expression={given.condition},title={given.folder.strip('/')}"
    return Step(
        f"give the account {given.role} on what lies below {given.folder} alone",
        (*bind, "--role", given.role, "--member", _member(given.member), "--condition", condition),
    )


@_step.register
def _(role: CustomRole, project_id: str) -> Step:
    settings = ("--title", role.title, "--permissions", ",".join(role.permissions))
    return Step(
        f"make the role {role.role_id}",
        ("gcloud", "iam", "roles", "create", role.role_id, "--project", project_id, *settings),
        look(role, project_id),
    )


@_step.register
def _(repository: ImageRepository, project_id: str) -> Step:
    place = ("--location", repository.region, "--project", project_id)
    create = ("gcloud", "artifacts", "repositories", "create", repository.repository_id)
    return Step(
        "make the place for images", (*create, "--repository-format", "docker", *place), look(repository, project_id)
    )


@_step.register
def _(given: AccountRole, project_id: str) -> Step:
    account = given.account if isinstance(given.account, str) else given.account.email
    purpose = (
        "let their bearer act as the account"
        if isinstance(given.member, Federated)
        else "let the account start jobs and servers that run as the one in edge.yaml"
    )
    bind = ("gcloud", "iam", "service-accounts", "add-iam-policy-binding", account, "--project", project_id)
    return Step(purpose, (*bind, "--role", given.role, "--member", _member(given.member), *_UNCONDITIONAL))
