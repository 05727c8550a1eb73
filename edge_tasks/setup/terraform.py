"""The plan of the infrastructure as Terraform, for the provider hashicorp/google.

https://registry.terraform.io/providers/hashicorp/google/latest/docs has a page for each resource.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod
from pathlib import Path

from edge_tasks.domain.infrastructure import (
    AccountRole,
    Bucket,
    BucketRole,
    Budget,
    CustomRole,
    Endpoint,
    ErrorAlert,
    Federated,
    FolderRole,
    IdentityPool,
    IdentityProvider,
    ImageRepository,
    LogDataset,
    Member,
    ProjectRole,
    Resource,
    Service,
    ServiceAccount,
)
from edge_tasks.repo import layout
from edge_tasks.setup.hcl import Block, Comment, Expression, Value, reference, render

# The version whose language has what is written here: `import` blocks with an id that is known when planning.
TERRAFORM_VERSION = ">= 1.5"
# The first version of the provider that has all of it, and the first that is not known to.
PROVIDER_VERSION = ">= 6.50, < 8.0"

# Seconds; what Google sets for new buckets. https://cloud.google.com/storage/docs/soft-delete
_SOFT_DELETE = 7 * 24 * 3600

# The ways of CI into the project, by their names in the configuration.
_WAYS = {
    "ci": "CI's trainings and releases",
    "plan": "CI's plans of this configuration",
    "apply": "CI's changes of it that a person approved",
}

# Findings of checkov (https://www.checkov.io/5.Policy%20Index/terraform.html) that are meant to be so.
_ACCEPTED: Mapping[type, Sequence[tuple[str, str]]] = {
    Bucket: (
        ("CKV_GCP_62", "access logs take another bucket; Cloud Audit Logs can tell who read what"),
        ("CKV_GCP_78", "soft delete keeps what is deleted or written over; versions of a lock and a state only cost"),
    ),
    ImageRepository: (("CKV_GCP_84", "encrypted with Google's keys, as all else here"),),
    LogDataset: (("CKV_GCP_81", "encrypted with Google's keys, as all else here"),),
    Endpoint: (
        ("CKV2_GCP_24", "encrypted with Google's keys, as all else here"),
        ("CKV2_GCP_33", "asked over HTTPS by who has the right to predict; a private one takes a network"),
    ),
}
# Of GitHub alone: the check wants the claim `sub`, whose text differs with a job's environment.
_GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
_ACCEPTED_OF_GITHUB = ("CKV_GCP_125", "the condition compares the repository (and branch), of which `sub` is made")

_ACCEPTED_OF_APPLY = ("CKV_GCP_49", "it makes the accounts here; only a job that a person approved becomes this one")

# How the id of the dashboard's account begins.
_DASHBOARD = "edge-dashboard-"

# Where an export goes by default, in the repository.
FOLDER = "infra"

MARK = "Written by `invoke infra.export`"
_HEADER = f"{MARK}; a further export writes it again. Your own resources go into other files."

_API = Expression("[google_project_service.api]")


@dataclass(frozen=True)
class Variable:
    """A value that a person may change: in terraform.tfvars."""

    name: str
    description: str
    value: str
    pattern: str
    rule: str

    @property
    def reference(self) -> str:
        """What stands for the value in a plan."""
        return reference(f"var.{self.name}")


@dataclass(frozen=True)
class Existing:
    """A resource of the plan that exists already, and the id by which Terraform imports it."""

    resource: Resource
    import_id: str


def files(
    plan: Sequence[Resource], variables: Sequence[Variable], bucket_name: str, existing: Iterable[Existing] = ()
) -> dict[str, str]:
    """Return the files of a folder that makes the plan. Texts of the plan may hold references to the variables."""
    writer = _Writer(plan)
    imports = [
        Block("import", (), ({"to": Expression(writer.address(one.resource)), "id": one.import_id},))
        for one in existing
    ]
    found = {
        "versions.tf": render([Comment(_HEADER), *_versions(bucket_name, budget=_has(plan, Budget))]),
        "variables.tf": render([Comment(_HEADER), *(_variable(variable) for variable in variables)]),
        "terraform.tfvars": _values(variables),
        "main.tf": render([Comment(_HEADER), *writer.blocks()]),
        "outputs.tf": render([Comment(_HEADER), *writer.outputs()]),
    }
    if imports:
        text = "What exists already. Terraform takes it over instead of making it; afterwards this file may go."
        found["imports.tf"] = render([Comment(f"{_HEADER}\n{text}"), *imports])
    return found


def is_managed(root: Path) -> bool:
    """Say whether the repository at `root` has an export, so that Terraform makes what it needs."""
    path = root / FOLDER / "versions.tf"
    return path.is_file() and MARK in path.read_text(encoding="utf-8", errors="replace")


def _has(plan: Iterable[Resource], kind: type) -> bool:
    return any(isinstance(resource, kind) for resource in plan)


def _versions(bucket_name: str, *, budget: bool) -> list[Block]:
    google = {"google": {"source": "hashicorp/google", "version": PROVIDER_VERSION}}
    provider: dict[str, Value] = {"project": Expression("var.project_id"), "region": Expression("var.region")}
    notes: list[Comment] = []
    if budget:
        # https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/billing_budget
        notes = [Comment("Budgets are made with a person's credentials only when calls count against a project.")]
        provider |= {"billing_project": Expression("var.project_id"), "user_project_override": True}
    return [
        Block(
            "terraform",
            (),
            (
                {"required_version": TERRAFORM_VERSION},
                Block("required_providers", (), (google,)),
                Comment(
                    "A backend takes no variables. `invoke init --target gcp` makes the bucket before the first use."
                ),
                Block("backend", ("gcs",), ({"bucket": bucket_name, "prefix": layout.TERRAFORM_STATE},)),
            ),
        ),
        Block("provider", ("google",), (*notes, provider)),
    ]


def _variable(variable: Variable) -> Block:
    condition = f'can(regex("^({variable.pattern})$", var.{variable.name}))'.replace("\\", "\\\\")
    return Block(
        "variable",
        (variable.name,),
        (
            {"type": Expression("string"), "description": variable.description},
            Block("validation", (), ({"condition": Expression(condition), "error_message": variable.rule},)),
        ),
    )


def _values(variables: Sequence[Variable]) -> str:
    width = max(len(variable.name) for variable in variables)
    lines = [f'{variable.name.ljust(width)} = "{variable.value}"' for variable in variables]
    return f"# {_HEADER}\n" + "\n".join(lines) + "\n"


def _name(text: str) -> str:
    """Return a text as a name in Terraform."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


class _Writer:
    """Writes the resources of one plan, which refer to each other."""

    def __init__(self, plan: Sequence[Resource]):
        self._plan = plan
        self._apis = [resource.name for resource in plan if isinstance(resource, Service)]
        self._needs_number = _has(plan, Budget)

    def blocks(self) -> list[Block | Comment]:
        """Return all resources."""
        found: list[Block | Comment] = []
        if self._needs_number:
            found.append(Block("data", ("google_project", "this"), ({"project_id": Expression("var.project_id")},)))
        if self._apis:
            found.append(self._services())
        for resource in self._plan:
            if not isinstance(resource, Service):
                found += self._resource(resource)
        return found

    def outputs(self) -> list[Block]:
        """Return what edge.yaml takes, and what people look for."""
        found: list[Block] = []
        for resource in self._plan:
            if isinstance(resource, Bucket):
                found.append(
                    _output("bucket_name", "The bucket of data, models and state", self.address(resource), "name")
                )
            elif isinstance(resource, ServiceAccount) and resource.account_id == "edge-job":
                text = "The account that training jobs run as; `invoke infra.adopt` writes it into edge.yaml"
                found.append(_output("training_service_account", text, self.address(resource), "email"))
            elif isinstance(resource, ServiceAccount) and resource.account_id.startswith(_DASHBOARD):
                text = "The account that `invoke dashboard.deploy` runs the dashboard as"
                found.append(_output("dashboard_service_account", text, self.address(resource), "email"))
            elif isinstance(resource, ServiceAccount):
                way = self.address(resource).partition(".")[2]
                found.append(
                    _output(f"{way}_service_account", f"The account of {_WAYS[way]}", self.address(resource), "email")
                )
            elif isinstance(resource, IdentityProvider):
                way = self.address(resource).partition(".")[2]
                found.append(
                    _output(f"{way}_identity_provider", f"What trusts {_WAYS[way]}", self.address(resource), "name")
                )
        return found

    def address(self, resource: Resource) -> str:
        """Return where a resource stands in the configuration, such as `google_storage_bucket.store`."""
        match resource:
            case Service():
                return f'google_project_service.api["{resource.name}"]'
            case Bucket():
                return "google_storage_bucket.store"
            case ServiceAccount():
                own = re.fullmatch(r"edge-(ci|plan|apply)-[0-9a-f]{8}", resource.account_id)
                name = "dashboard" if resource.account_id.startswith(_DASHBOARD) else _name(resource.account_id)
                return f"google_service_account.{own[1] if own else name}"
            case CustomRole():
                return f"google_project_iam_custom_role.{_name(resource.role_id)}"
            case IdentityPool():
                return f"google_iam_workload_identity_pool.{_name(resource.pool_id)}"
            case IdentityProvider():
                way = resource.provider_id.rpartition("-")[2]
                return f"google_iam_workload_identity_pool_provider.{way if way in ('plan', 'apply') else 'ci'}"
            case ImageRepository():
                return f"google_artifact_registry_repository.{_name(resource.repository_id)}"
            case Endpoint():
                return f"google_vertex_ai_endpoint.{_name(resource.model_name)}"
            case LogDataset():
                return f"google_bigquery_dataset.{_name(resource.dataset_id)}"
            case ErrorAlert():
                return "google_monitoring_alert_policy.endpoint_errors"
            case Budget():
                return "google_billing_budget.project"
            case ProjectRole():
                role = resource.role if isinstance(resource.role, str) else resource.role.role_id
                return f"google_project_iam_member.{self._who(resource.member)}_{_name(role.removeprefix('roles/'))}"
            case BucketRole():
                role = _name(resource.role.removeprefix("roles/"))
                return f"google_storage_bucket_iam_member.{self._who(resource.member)}_{role}"
            case FolderRole():
                role = _name(f"{resource.role.removeprefix('roles/')}_{resource.folder}")
                return f"google_storage_bucket_iam_member.{self._who(resource.member)}_{role}"
            case AccountRole():
                on = self._who(resource.account)
                return f"google_service_account_iam_member.{self._who(resource.member)}_on_{on}"

    def _who(self, member: Member) -> str:
        if isinstance(member, ServiceAccount):
            return self.address(member).partition(".")[2]
        if isinstance(member, Federated):
            return "tokens"
        return _name(member.partition("@")[0])

    def _member(self, member: Member) -> str:
        if isinstance(member, ServiceAccount):
            return reference(f"{self.address(member)}.member")
        if isinstance(member, Federated):
            pool = next(one for one in self._plan if isinstance(one, IdentityPool) and one.pool_id == member.pool_id)
            name = reference(f"{self.address(pool)}.name")
            return f"principalSet://iam.googleapis.com/{name}/attribute.{member.attribute}/{member.value}"
        return member

    def _services(self) -> Block:
        return Block(
            "resource",
            ("google_project_service", "api"),
            (
                {"for_each": Expression("toset(" + _list(self._apis) + ")")},
                {"service": Expression("each.value")},
                Comment(
                    "Others may use the API, too: it stays on when this configuration goes. Nothing here names one of\n"
                    "Google's service agents, which come into being with an API's first use."
                ),
                {"disable_on_destroy": False},
            ),
        )

    def _make(self, resource: Resource, *body: Block | Comment | Mapping[str, Value], api: bool = True) -> Block:
        kind, name = self.address(resource).split(".", 1)
        needs: tuple[Mapping[str, Value], ...] = ({"depends_on": _API},) if api and self._apis else ()
        return Block("resource", (kind, name), (*_accepted(resource), *body, *needs))

    @singledispatchmethod
    def _resource(self, resource: Resource) -> list[Block]:
        raise TypeError(f"{type(resource).__name__} has no form in Terraform")

    @_resource.register
    def _(self, bucket: Bucket) -> list[Block]:
        return [
            self._make(
                bucket,
                {
                    "name": bucket.name,
                    "location": bucket.region,
                    "uniform_bucket_level_access": True,
                    "public_access_prevention": "enforced",
                    "force_destroy": False,
                    "labels": _labels(),
                },
                Comment("Google's own default, written down: what is deleted can be restored for a week."),
                Block("soft_delete_policy", (), ({"retention_duration_seconds": _SOFT_DELETE},)),
                Comment("It holds data, models, the shared state and Terraform's own."),
                Block("lifecycle", (), ({"prevent_destroy": True},)),
            )
        ]

    @_resource.register
    def _(self, account: ServiceAccount) -> list[Block]:
        return [self._make(account, {"account_id": account.account_id, "display_name": account.display_name})]

    @_resource.register
    def _(self, role: CustomRole) -> list[Block]:
        note = Comment("A deleted role keeps its id for a week: `gcloud iam roles undelete` brings it back.")
        settings: dict[str, Value] = {
            "role_id": role.role_id,
            "title": role.title,
            "permissions": list(role.permissions),
        }
        return [self._make(role, note, settings, api=False)]

    @_resource.register
    def _(self, given: ProjectRole) -> list[Block]:
        role = given.role if isinstance(given.role, str) else reference(f"{self.address(given.role)}.name")
        settings: dict[str, Value] = {
            "project": Expression("var.project_id"),
            "role": role,
            "member": self._member(given.member),
        }
        return [self._make(given, settings, api=False)]

    @_resource.register
    def _(self, given: BucketRole) -> list[Block]:
        bucket = next((one for one in self._plan if isinstance(one, Bucket) and one.name == given.bucket), None)
        name = reference(f"{self.address(bucket)}.name") if bucket else given.bucket
        return [
            self._make(given, {"bucket": name, "role": given.role, "member": self._member(given.member)}, api=False)
        ]

    @_resource.register
    def _(self, given: FolderRole) -> list[Block]:
        bucket = next((one for one in self._plan if isinstance(one, Bucket) and one.name == given.bucket), None)
        name = reference(f"{self.address(bucket)}.name") if bucket else given.bucket
        settings: dict[str, Value] = {"bucket": name, "role": given.role, "member": self._member(given.member)}
        condition = Block("condition", (), ({"title": given.folder.strip("/"), "expression": given.condition},))
        return [self._make(given, settings, condition, api=False)]

    @_resource.register
    def _(self, given: AccountRole) -> list[Block]:
        if isinstance(given.account, ServiceAccount):
            account = reference(f"{self.address(given.account)}.name")
        else:
            account = f"projects/{reference('var.project_id')}/serviceAccounts/{given.account}"
        settings = {"service_account_id": account, "role": given.role, "member": self._member(given.member)}
        return [self._make(given, settings, api=False)]

    @_resource.register
    def _(self, pool: IdentityPool) -> list[Block]:
        note = Comment(
            "A deleted pool keeps its id for 30 days: `gcloud iam workload-identity-pools undelete` brings it back."
        )
        return [self._make(pool, note, {"workload_identity_pool_id": pool.pool_id, "display_name": pool.display_name})]

    @_resource.register
    def _(self, provider: IdentityProvider) -> list[Block]:
        pool = next(one for one in self._plan if isinstance(one, IdentityPool) and one.pool_id == provider.pool_id)
        oidc: dict[str, Value] = {"issuer_uri": provider.issuer}
        if provider.audience:
            oidc["allowed_audiences"] = [provider.audience]
        return [
            self._make(
                provider,
                {
                    "workload_identity_pool_id": reference(f"{self.address(pool)}.workload_identity_pool_id"),
                    "workload_identity_pool_provider_id": provider.provider_id,
                    "attribute_condition": provider.condition,
                    "attribute_mapping": provider.mapping,
                },
                Block("oidc", (), (oidc,)),
                api=False,
            )
        ]

    @_resource.register
    def _(self, repository: ImageRepository) -> list[Block]:
        settings: dict[str, Value] = {
            "repository_id": repository.repository_id,
            "location": repository.region,
            "format": "DOCKER",
            "description": "serving images, by vertex-edge",
            "labels": _labels(),
        }
        return [self._make(repository, settings)]

    @_resource.register
    def _(self, endpoint: Endpoint) -> list[Block]:
        settings: dict[str, Value] = {
            "name": endpoint.endpoint_id or endpoint_id(endpoint),
            "display_name": endpoint.display_name,
            "location": endpoint.region,
            "labels": _labels(dict(endpoint.labels)),
        }
        if endpoint.dedicated:
            settings["dedicated_endpoint_enabled"] = True
        return [
            self._make(
                endpoint,
                settings,
                Comment(
                    "Releases say what it serves. An endpoint with a model on it cannot be deleted: run\n"
                    "`invoke model.undeploy` before `terraform destroy`. A new endpoint has another id: its callers\n"
                    "would lose it. What requests it keeps is for `invoke model.monitor`."
                ),
                Block(
                    "lifecycle",
                    (),
                    (
                        {
                            "prevent_destroy": True,
                            "ignore_changes": Expression(
                                "[description, predict_request_response_logging_config, traffic_split]"
                            ),
                        },
                    ),
                ),
            )
        ]

    @_resource.register
    def _(self, dataset: LogDataset) -> list[Block]:
        return [
            self._make(
                dataset,
                {
                    "dataset_id": dataset.dataset_id,
                    "location": dataset.region,
                    "description": f"requests to the model {dataset.model_name}",
                    "labels": _labels(),
                    "delete_contents_on_destroy": False,
                },
            )
        ]

    @_resource.register
    def _(self, alert: ErrorAlert) -> list[Block]:
        channel = Block(
            "resource",
            ("google_monitoring_notification_channel", "people"),
            (
                {"display_name": "vertex-edge", "type": "email", "labels": {"email_address": alert.email}},
                {"depends_on": _API},
            ),
        )
        # https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform
        query = (
            'metric.type = "aiplatform.googleapis.com/prediction/online/error_count" AND '
            'resource.type = "aiplatform.googleapis.com/Endpoint"'
        )
        threshold = Block(
            "condition_threshold",
            (),
            (
                {"filter": query, "comparison": "COMPARISON_GT", "threshold_value": 0, "duration": "300s"},
                Block("aggregations", (), ({"alignment_period": "300s", "per_series_aligner": "ALIGN_RATE"},)),
            ),
        )
        condition = Block("conditions", (), ({"display_name": "an endpoint answers with errors"}, threshold))
        channels = [reference("google_monitoring_notification_channel.people.id")]
        head = {"display_name": "vertex-edge: errors of endpoints", "combiner": "OR", "notification_channels": channels}
        return [channel, self._make(alert, head, condition)]

    @_resource.register
    def _(self, budget: Budget) -> list[Block]:
        project = "projects/" + reference("data.google_project.this.number")
        return [
            self._make(
                budget,
                {"billing_account": budget.billing_account, "display_name": "vertex-edge"},
                Block("budget_filter", (), ({"projects": [project]},)),
                Block("amount", (), (Block("specified_amount", (), ({"units": str(budget.amount)},)),)),
                *(
                    Block("threshold_rules", (), ({"threshold_percent": Expression(share)},))
                    for share in ("0.5", "0.9", "1.0")
                ),
            )
        ]


def _accepted(resource: Resource) -> list[Comment]:
    """Return the notes on findings of checkov that are meant to be so, in the form that it reads."""
    found = list(_ACCEPTED.get(type(resource), ()))
    if isinstance(resource, IdentityProvider) and resource.issuer == _GITHUB_ISSUER:
        found.append(_ACCEPTED_OF_GITHUB)
    if isinstance(resource, ProjectRole) and resource.role == "roles/iam.serviceAccountAdmin":
        found.append(_ACCEPTED_OF_APPLY)
    return [Comment("\n".join(f"checkov:skip={check}:{reason}" for check, reason in found))] if found else []


def endpoint_id(endpoint: Endpoint) -> str:
    """Return the id of a model's endpoint: at most ten digits, the same at each export.

    https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/vertex_ai_endpoint#name-1
    """
    digest = hashlib.sha256(f"{endpoint.model_name} {dict(endpoint.labels)}".encode()).hexdigest()
    return str(10**9 + int(digest, 16) % (9 * 10**9))


def _labels(others: Mapping[str, str] | None = None) -> dict[str, Value]:
    return {**(others or {}), layout.MANAGED_LABEL: layout.TERRAFORM}


def _list(names: Sequence[str]) -> str:
    return "[\n" + "".join(f'    "{name}",\n' for name in names) + "  ]"


def _output(name: str, description: str, address: str, attribute: str) -> Block:
    return Block("output", (name,), ({"description": description, "value": Expression(f"{address}.{attribute}")},))
