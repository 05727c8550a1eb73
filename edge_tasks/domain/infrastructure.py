"""What a repository needs on Google Cloud, as one plan: APIs, a bucket, accounts, roles, the trust in its CI.

The plan is a list of resources in the order in which they are made. It is rendered twice: as commands of gcloud
(`edge_tasks.setup.gcloud_commands`), which `invoke ci.setup` runs, and as Terraform (`edge_tasks.setup.terraform`).
Roles are given to one member each: what others were given is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from edge_tasks.domain.serving_choice import IMAGE_REPOSITORY

POOL = "edge-ci"

# https://cloud.google.com/vertex-ai/docs/start/cloud-environment; the log of a job is read from Cloud Logging.
SERVICES = ("aiplatform.googleapis.com", "logging.googleapis.com", "storage.googleapis.com")
CI_SERVICES = tuple(f"{name}.googleapis.com" for name in ("aiplatform", "iam", "iamcredentials", "storage", "sts"))
IMAGE_SERVICES = ("artifactregistry.googleapis.com", "cloudbuild.googleapis.com")
LOG_SERVICES = ("bigquery.googleapis.com",)
DASHBOARD_SERVICES = ("run.googleapis.com", "logging.googleapis.com", "monitoring.googleapis.com")
ALERT_SERVICES = ("monitoring.googleapis.com",)
BUDGET_SERVICES = ("billingbudgets.googleapis.com",)

# What each step of training and releasing calls, and no more.
PROJECT_ROLES = (
    "roles/aiplatform.user",  # jobs, models, endpoints, predictions
    "roles/logging.viewer",  # the log of a training job
    "roles/monitoring.viewer",  # how often a model is asked: model.undeploy --idle
)
BUCKET_ROLES = (
    "roles/storage.objectAdmin",  # data, artifacts, the shared state and its lock
    "roles/storage.legacyBucketReader",  # DVC's client asks whether the bucket is there
)
# What reading kept requests takes, and in their place what deleting old ones takes (`monitoring.keep` in edge.yaml).
LOG_READER_ROLES = ("roles/bigquery.jobUser", "roles/bigquery.dataViewer")
LOG_KEEPER_ROLES = ("roles/bigquery.jobUser", "roles/bigquery.dataEditor")

# What the dashboard on Cloud Run reads: models, endpoints and jobs; their logs; what endpoints answer.
DASHBOARD_ROLES = ("roles/aiplatform.viewer", "roles/logging.viewer", "roles/monitoring.viewer")
DASHBOARD_BUCKET_ROLES = ("roles/storage.objectViewer", "roles/storage.legacyBucketReader")

# What `terraform plan` reads: what there is, and who has which role. No basic role such as roles/viewer.
PLAN_ROLES = (
    "roles/browser",  # the project itself
    "roles/serviceusage.serviceUsageViewer",
    "roles/iam.securityReviewer",  # who has which role, on everything
    "roles/iam.serviceAccountViewer",
    "roles/iam.roleViewer",
    "roles/iam.workloadIdentityPoolViewer",
    "roles/artifactregistry.reader",
    "roles/aiplatform.viewer",
    "roles/bigquery.metadataViewer",
    "roles/monitoring.viewer",
)
PLAN_BUCKET_ROLES = (
    "roles/storage.objectViewer",  # Terraform's state
    "roles/storage.legacyBucketReader",  # the bucket's settings
)
# What `terraform apply` changes. Who may change the project's roles can take every right in it.
APPLY_ROLES = (
    "roles/serviceusage.serviceUsageAdmin",
    "roles/resourcemanager.projectIamAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.roleAdmin",
    "roles/iam.workloadIdentityPoolAdmin",
    "roles/artifactregistry.admin",
    "roles/aiplatform.user",
    "roles/bigquery.dataOwner",
    "roles/monitoring.editor",
)
APPLY_BUCKET_ROLES = ("roles/storage.admin",)


@dataclass(frozen=True)
class Service:
    """An API that the project uses, such as `aiplatform.googleapis.com`."""

    name: str


@dataclass(frozen=True)
class Bucket:
    """The repository's bucket, with uniform access and without public access."""

    name: str
    region: str


@dataclass(frozen=True)
class ServiceAccount:
    """An account that jobs or CI act as; its address is `ACCOUNT_ID@PROJECT.iam.gserviceaccount.com`."""

    account_id: str
    display_name: str
    project_id: str

    @property
    def email(self) -> str:
        """The account's address."""
        return f"{self.account_id}@{self.project_id}.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Federated:
    """Everybody who shows a token of one repository's CI: a principal set of the pool."""

    pool_id: str
    attribute: str
    value: str


Member: TypeAlias = "str | ServiceAccount | Federated"


@dataclass(frozen=True)
class ProjectRole:
    """A role in the project. `role` may be one of the plan's own."""

    role: str | CustomRole
    member: Member


@dataclass(frozen=True)
class BucketRole:
    """A role on the bucket alone."""

    bucket: str
    role: str
    member: Member


@dataclass(frozen=True)
class FolderRole:
    """A role on those objects of the bucket whose names begin with `folder`.

    https://cloud.google.com/storage/docs/access-control/iam#conditions
    """

    bucket: str
    folder: str
    role: str
    member: Member

    @property
    def condition(self) -> str:
        """What must be true of an object."""
        return f'resource.name.startsWith("projects/_/buckets/{self.bucket}/objects/{self.folder}")'


@dataclass(frozen=True)
class AccountRole:
    """A role on one service account, such as the right to act as it."""

    account: ServiceAccount | str
    role: str
    member: Member


@dataclass(frozen=True)
class CustomRole:
    """A role with just these permissions."""

    role_id: str
    title: str
    permissions: tuple[str, ...]


@dataclass(frozen=True)
class IdentityPool:
    """A pool of identities from outside Google."""

    pool_id: str
    display_name: str


@dataclass(frozen=True)
class IdentityProvider:
    """Whose tokens the pool trusts, and which of them. `audience` is None for the issuer's default."""

    pool_id: str
    provider_id: str
    issuer: str
    audience: str | None
    attribute: str
    claim: str
    condition: str
    trusted: str

    @property
    def mapping(self) -> dict[str, str]:
        """What Google makes of a token's claims."""
        return {"google.subject": self.claim, f"attribute.{self.attribute}": self.claim}


@dataclass(frozen=True)
class ImageRepository:
    """The repository of serving images in Artifact Registry."""

    repository_id: str
    region: str


@dataclass(frozen=True)
class Endpoint:
    """A model's endpoint. What it serves is for releases to say.

    `endpoint_id` is that of one that exists already; empty for one that is to be made. A `dedicated` one has an address
    of its own, which a model that scales to zero needs.
    """

    model_name: str
    display_name: str
    region: str
    labels: tuple[tuple[str, str], ...] = ()
    endpoint_id: str = ""
    dedicated: bool = False


@dataclass(frozen=True)
class LogDataset:
    """The BigQuery data set of a model's request log."""

    model_name: str
    region: str

    @property
    def dataset_id(self) -> str:
        """Its id: letters, digits and underscores only."""
        return f"edge_{self.model_name.replace('-', '_')}"


@dataclass(frozen=True)
class ErrorAlert:
    """An e-mail when endpoints of the project answer with errors."""

    email: str


@dataclass(frozen=True)
class Budget:
    """An e-mail to the billing account's people at half, at nine tenths and at all of `amount` a month.

    `amount` is in the billing account's currency.
    """

    billing_account: str
    amount: int


Resource: TypeAlias = (
    Service
    | Bucket
    | ServiceAccount
    | ProjectRole
    | BucketRole
    | FolderRole
    | AccountRole
    | CustomRole
    | IdentityPool
    | IdentityProvider
    | ImageRepository
    | Endpoint
    | LogDataset
    | ErrorAlert
    | Budget
)


@dataclass(frozen=True)
class Place:
    """The project, region and bucket of the plan."""

    project_id: str
    region: str
    bucket_name: str


@dataclass(frozen=True)
class Trust:
    """Who vouches for the jobs of a repository's CI, and how its tokens name the repository and its branch.

    `key` stands for the repository in ids; by default a hash of its name.
    """

    ci: str
    issuer: str
    audience: str | None
    attribute: str
    claim: str
    repository: str
    branch_claim: str
    branch: str = "main"
    key: str = ""
    # What a token must say, besides, of a job that a person has approved; empty where no token says that.
    approved: str = ""

    def __post_init__(self) -> None:
        """Make the key."""
        if not self.key:
            object.__setattr__(self, "key", hashlib.sha256(self.repository.encode()).hexdigest()[:8])

    @property
    def provider_id(self) -> str:
        """The id of the provider in the pool."""
        return f"{self.ci}-{self.key}"

    @property
    def account_id(self) -> str:
        """The id of the service account."""
        return f"edge-ci-{self.key}"

    @property
    def of_the_branch(self) -> str:
        """The condition that a token is of the repository and its branch."""
        return f"{self.of_the_repository} && {self.branch_claim} == 'refs/heads/{self.branch}'"

    @property
    def of_the_repository(self) -> str:
        """The condition that a token is of the repository."""
        return f"{self.claim} == '{self.repository}'"


def services(names: Iterable[str]) -> list[Resource]:
    """Return the APIs of these names, each once."""
    return [Service(name) for name in dict.fromkeys(names)]


def base(place: Place) -> list[Resource]:
    """Return what `invoke init --target gcp` makes: the APIs and the bucket."""
    return [*services(SERVICES), Bucket(place.bucket_name, place.region)]


def job_account(place: Place) -> list[Resource]:
    """Return the account that training jobs run as: it may use the bucket and write its log, and nothing else."""
    account = ServiceAccount("edge-job", "training jobs of vertex:edge", place.project_id)
    return [
        account,
        BucketRole(place.bucket_name, "roles/storage.objectAdmin", account),
        ProjectRole("roles/logging.logWriter", account),
    ]


def continuous_integration(place: Place, trust: Trust, acts_as: Iterable[str | ServiceAccount] = ()) -> list[Resource]:
    """Return what lets the CI of one repository in, from its branch only, with no stored key.

    `acts_as` are the accounts that its jobs and servers run as.
    """
    account = ServiceAccount(trust.account_id, f"CI of {trust.repository}", place.project_id)
    return [
        *services(CI_SERVICES),
        account,
        IdentityPool(POOL, "vertex-edge CI"),
        IdentityProvider(
            pool_id=POOL,
            provider_id=trust.provider_id,
            issuer=trust.issuer,
            audience=trust.audience,
            attribute=trust.attribute,
            claim=trust.claim,
            condition=trust.of_the_branch,
            trusted=f"{trust.ci}'s tokens that name this repository and its branch {trust.branch}",
        ),
        AccountRole(account, "roles/iam.workloadIdentityUser", Federated(POOL, trust.attribute, trust.repository)),
        *(ProjectRole(role, account) for role in PROJECT_ROLES),
        *(BucketRole(place.bucket_name, role, account) for role in BUCKET_ROLES),
        *(AccountRole(other, "roles/iam.serviceAccountUser", account) for other in acts_as),
    ]


def log_reader(trust: Trust, place: Place, *, deletes: bool) -> list[Resource]:
    """Return what lets CI look at what models were asked (`ci.monitor`); with `deletes` also forget it."""
    account = ServiceAccount(trust.account_id, f"CI of {trust.repository}", place.project_id)
    roles = LOG_KEEPER_ROLES if deletes else LOG_READER_ROLES
    return [ProjectRole(role, account) for role in roles]


def terraform_in_ci(place: Place, trust: Trust) -> list[Resource]:
    """Return two more accounts for CI: one that reads everything, for plans, and one that changes it, once approved.

    Tokens of a pull request reach the first alone. Each has a provider, which maps an attribute that no other does:
    members of the pool are known by attributes, whichever provider let them in, so that one attribute for all would
    give a pull request the rights of the branch.
    """
    if not trust.approved:
        raise ValueError("no token says that a person has approved")
    planner = ServiceAccount(f"edge-plan-{trust.key}", f"plans of {trust.repository}", place.project_id)
    applier = ServiceAccount(f"edge-apply-{trust.key}", f"approved changes of {trust.repository}", place.project_id)
    ways = (
        (planner, "plan", trust.of_the_repository, "that name this repository", PLAN_ROLES, PLAN_BUCKET_ROLES),
        (
            *(applier, "apply", f"{trust.of_the_branch} && {trust.approved}"),
            f"of jobs on its branch {trust.branch} that a person approved",
            *(APPLY_ROLES, APPLY_BUCKET_ROLES),
        ),
    )
    found: list[Resource] = [*services(CI_SERVICES), Service("cloudresourcemanager.googleapis.com")]
    for account, way, condition, trusted, project_roles, bucket_roles in ways:
        attribute = f"{way}_{trust.attribute}"
        found += [
            account,
            IdentityProvider(
                pool_id=POOL,
                provider_id=f"{trust.provider_id}-{way}",
                issuer=trust.issuer,
                audience=trust.audience,
                attribute=attribute,
                claim=trust.claim,
                condition=condition,
                trusted=f"{trust.ci}'s tokens {trusted}",
            ),
            AccountRole(account, "roles/iam.workloadIdentityUser", Federated(POOL, attribute, trust.repository)),
            *(ProjectRole(role, account) for role in project_roles),
            *(BucketRole(place.bucket_name, role, account) for role in bucket_roles),
        ]
    return found


def prediction_role() -> list[Resource]:
    """Return the role of those who only ask for predictions; who has it is for the project's owner to say."""
    return [CustomRole("edgePredict", "Ask for predictions", ("aiplatform.endpoints.predict",))]


def images(place: Place) -> list[Resource]:
    """Return where serving images lie that `model.deploy` builds."""
    return [*services(IMAGE_SERVICES), ImageRepository(IMAGE_REPOSITORY, place.region)]


def dashboard(
    place: Place, key: str, records: str, *, changes: bool = False, request_logs: bool = False
) -> list[Resource]:
    """Return the account that the dashboard on Cloud Run runs as, with what it may read. `key` stands for the bucket.

    With `changes` it may change what lies below `records` in the bucket (runs, their notes, saved views), and ask
    endpoints; with `request_logs` it may read what they were asked.
    """
    account = ServiceAccount(f"edge-dashboard-{key}", "the dashboard of vertex:edge", place.project_id)
    roles: list[str | CustomRole] = list(DASHBOARD_ROLES)
    if request_logs:
        roles += LOG_READER_ROLES
    found: list[Resource] = [*services(DASHBOARD_SERVICES), *images(place), account]
    if changes:
        predict = prediction_role()
        roles += [role for role in predict if isinstance(role, CustomRole)]
        found += [*predict, FolderRole(place.bucket_name, f"{records}/", "roles/storage.objectAdmin", account)]
    found += [ProjectRole(role, account) for role in roles]
    found += [BucketRole(place.bucket_name, role, account) for role in DASHBOARD_BUCKET_ROLES]
    return found


def request_logs(place: Place, model_names: Iterable[str]) -> list[Resource]:
    """Return the data sets of the models' request logs."""
    return [*services(LOG_SERVICES), *(LogDataset(name, place.region) for name in model_names)]


def alert(email: str) -> list[Resource]:
    """Return the alert on errors of endpoints."""
    return [*services(ALERT_SERVICES), ErrorAlert(email)]


def budget(billing_account: str, amount: int) -> list[Resource]:
    """Return the budget of the project."""
    return [*services(BUDGET_SERVICES), Budget(billing_account, amount)]


def together(*parts: Iterable[Resource]) -> list[Resource]:
    """Return the parts as one plan: each resource once, APIs first."""
    found = dict.fromkeys(resource for part in parts for resource in part)
    return sorted(found, key=lambda resource: not isinstance(resource, Service))


def as_json(plan: Iterable[Resource]) -> list[dict[str, Any]]:
    """Return the plan for other tools: an object for each resource, with its kind."""
    return [{"kind": type(resource).__name__, **_values(resource)} for resource in plan]


def _values(value: Any) -> dict[str, Any]:
    found = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if isinstance(one, ServiceAccount):
            one = one.email
        elif isinstance(one, CustomRole):
            one = one.role_id
        elif isinstance(one, Federated):
            one = _values(one)
        found[field.name] = one
    return found
