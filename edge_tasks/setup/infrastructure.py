"""The infrastructure of one repository as code: exported from edge.yaml, and taken over into it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_tasks.cloud import endpoints, gcloud, request_log, storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain import infrastructure
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.infrastructure import (
    Bucket,
    CustomRole,
    Endpoint,
    IdentityPool,
    IdentityProvider,
    ImageRepository,
    LogDataset,
    Place,
    Resource,
    Service,
    ServiceAccount,
    Trust,
)
from edge_tasks.errors import EdgeError
from edge_tasks.repo import edge_yaml, layout
from edge_tasks.repo.files import write_atomically
from edge_tasks.setup import dashboard_service, gcloud_commands, terraform
from edge_tasks.setup.ci_federation import (
    CREDENTIALS_FILES,
    forgets,
    log_in_document,
    place_of,
    service_accounts,
    switch_on,
)
from edge_tasks.setup.terraform import Existing, Variable

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_BILLING_ACCOUNT = re.compile(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}")

README = """\
# Infrastructure of this repository, for Terraform

`invoke infra.export` wrote these files from edge.yaml. They make what `invoke init --target gcp`{ci}
would make.

The bucket holds Terraform's own state, too, so it is made first:

    invoke init --target gcp
    invoke infra.export{flags}
    terraform -chdir={folder} init
    terraform -chdir={folder} plan
    terraform -chdir={folder} apply
    invoke infra.adopt

`imports.tf` names what exists already (the bucket, for one): Terraform takes it over and changes only what differs.
`invoke infra.adopt` writes the accounts that Terraform made into edge.yaml.

- Models, versions and traffic are for `invoke model.deploy`: Terraform leaves them alone.
{in_ci}- Roles are given to one member each. Terraform never takes a role from somebody else.
- `terraform destroy` keeps the bucket{endpoint} (`prevent_destroy`), and the APIs stay on.
- A deleted pool of identities keeps its id for 30 days, a deleted role for a week: undelete them, then import them.
"""

_IN_CI = """\
- CI plans with the account `edge-plan-...`, which reads, and applies with `edge-apply-...`, which can take every right
  in the project. Only a job on the branch that a person has approved becomes the second.
"""


@dataclass(frozen=True)
class Wanted:
    """What an export is to hold beyond the APIs, the bucket and the jobs' account. Empty texts are not wanted."""

    trust: Trust | None = None
    endpoints: bool = False
    request_logs: bool = False
    alert_email: str = ""
    billing_account: str = ""
    budget: int = 0
    # CI plans and applies the export itself.
    in_ci: bool = False
    # The ids of the models' endpoints that exist already, by model.
    endpoint_ids: Mapping[str, str] = field(default_factory=dict)
    # Those of these models whose endpoints are dedicated ones, which cannot be changed.
    dedicated: frozenset[str] = frozenset()
    # The account of the dashboard on Cloud Run.
    dashboard: bool = False

    def check(self) -> None:
        """Raise EdgeError for what Google would refuse, and for what does not go together."""
        if self.in_ci and self.trust is None:
            raise EdgeError(
                "CI cannot apply what it is not let in for", "add --ci github or --ci circleci, with its ids"
            )
        if self.in_ci and self.trust and not self.trust.approved:
            raise EdgeError(
                "no token of CircleCI says that a person has approved, unless the job has a restricted context",
                "make a context `infrastructure`, restrict it to those who approve, and add --context ID",
            )
        if self.alert_email and not _EMAIL.fullmatch(self.alert_email):
            raise EdgeError(f"`{self.alert_email}` is not an e-mail address", "such as --alert-email team@example.com")
        if self.budget < 0 or bool(self.budget) != bool(self.billing_account):
            raise EdgeError(
                "a budget takes an amount and a billing account",
                "such as --budget 100 --billing-account 012345-6789AB-CDEF01 (gcloud billing accounts list)",
            )
        if self.billing_account and not _BILLING_ACCOUNT.fullmatch(self.billing_account):
            raise EdgeError(
                f"`{self.billing_account}` is not the id of a billing account",
                "such as 012345-6789AB-CDEF01: gcloud billing accounts list",
            )


def make_plan(config: EdgeConfig, wanted: Wanted, place: Place | None = None) -> list[Resource]:
    """Return everything that the repository needs, at `place` (default: that of edge.yaml)."""
    place = place or place_of(config)
    jobs = infrastructure.job_account(place)
    own = next(one for one in jobs if isinstance(one, ServiceAccount))
    parts: list[Sequence[Resource]] = [infrastructure.base(place), jobs, infrastructure.prediction_role()]
    parts.append(infrastructure.images(place))
    if wanted.trust:
        others = sorted(service_accounts(config) - {replace(own, project_id=place_of(config).project_id).email})
        parts.append(infrastructure.continuous_integration(place, wanted.trust, [own, *others]))
        if wanted.request_logs:
            parts.append(infrastructure.log_reader(wanted.trust, place, deletes=forgets(config)))
        if wanted.in_ci:
            parts.append(infrastructure.terraform_in_ci(place, wanted.trust))
    if wanted.endpoints:
        parts.append([_endpoint(config, place, name, wanted) for name in config.models])
    if wanted.dashboard:
        parts.append(dashboard_service.ground(config, place, request_logs=wanted.request_logs))
    if wanted.request_logs:
        parts.append(infrastructure.request_logs(place, config.models))
    if wanted.alert_email:
        parts.append(infrastructure.alert(wanted.alert_email))
    if wanted.budget:
        parts.append(infrastructure.budget(wanted.billing_account, wanted.budget))
    return infrastructure.together(*parts)


def _endpoint(config: EdgeConfig, place: Place, name: str, wanted: Wanted) -> Endpoint:
    labels = {**config.models[name].labels, **layout.endpoint_labels(name, config.storage_bucket.bucket_name)}
    settings, endpoint_id = config.models[name], wanted.endpoint_ids.get(name, "")
    dedicated = name in wanted.dedicated if endpoint_id else settings.scale_to_zero is not None
    return Endpoint(name, settings.endpoint_name, place.region, tuple(labels.items()), endpoint_id, dedicated)


def variables(config: EdgeConfig, trust: Trust | None) -> list[Variable]:
    """Return what terraform.tfvars holds."""
    place = place_of(config)
    found = [
        Variable(
            "project_id",
            "Google Cloud project",
            place.project_id,
            r"[a-z][a-z0-9-]{4,28}[a-z0-9]",
            "A project's id has 6 to 30 lower-case letters, digits and hyphens.",
        ),
        Variable(
            "region",
            "region of Vertex AI and of the bucket",
            place.region,
            r"[a-z]+-[a-z]+[0-9]+",
            "A region is named like europe-west1.",
        ),
        Variable(
            "bucket_name",
            "bucket of data, models and state",
            place.bucket_name,
            r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]",
            "A bucket's name has 3 to 63 lower-case letters, digits, hyphens, underscores and dots.",
        ),
    ]
    if trust:
        branch = Variable("branch", "the branch whose jobs are let in", trust.branch, r"[^'\s]+", "It is one word.")
        uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        if trust.ci == "circleci":
            rule = "CircleCI's ids look like 00000000-0000-0000-0000-000000000000."
            found.append(
                Variable("circleci_organization", "CircleCI: organization's id", str(trust.audience), uuid, rule)
            )
            found.append(Variable("circleci_project", "CircleCI: project's id", trust.repository, uuid, rule))
        else:
            pattern = r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+"
            found.append(
                Variable("github_repository", "GitHub: OWNER/NAME", trust.repository, pattern, "It is OWNER/NAME.")
            )
        found.append(branch)
    return found


def terraform_files(config: EdgeConfig, wanted: Wanted, import_ids: Sequence[str], folder: str) -> dict[str, str]:
    """Return the files of the export. `import_ids` are those of what exists."""
    wanted.check()
    known = {variable.name: variable for variable in variables(config, wanted.trust)}
    place = Place(*(known[name].reference for name in ("project_id", "region", "bucket_name")))
    plan = make_plan(config, replace(wanted, trust=_with_references(wanted.trust, known)), place)
    # The same plan with the values: its resources come in the same order.
    real = make_plan(config, wanted)
    there = {import_id: resource for resource, import_id in importable(real, place_of(config))}
    imports = [Existing(plan[real.index(there[one])], one) for one in import_ids if one in there]
    found = terraform.files(plan, list(known.values()), place_of(config).bucket_name, imports)
    found["README.md"] = README.format(
        ci=" and `invoke ci.setup`" if wanted.trust else "",
        flags=_flags(wanted),
        in_ci=_IN_CI if wanted.in_ci else "",
        folder=folder,
        endpoint=" and the endpoints" if wanted.endpoints else "",
    )
    return found


def _with_references(trust: Trust | None, known: Mapping[str, Variable]) -> Trust | None:
    if trust is None:
        return None
    branch = known["branch"].reference
    if trust.ci == "circleci":
        organization = known["circleci_organization"].reference
        return replace(
            trust,
            issuer=f"https://oidc.circleci.com/org/{organization}",
            audience=organization,
            repository=known["circleci_project"].reference,
            branch=branch,
        )
    return replace(trust, repository=known["github_repository"].reference, branch=branch)


def _flags(wanted: Wanted) -> str:
    flags = []
    if wanted.trust:
        flags.append(f"--ci {wanted.trust.ci}")
        if wanted.trust.ci == "circleci":
            flags.append(f"--organization {wanted.trust.audience} --project {wanted.trust.repository}")
        else:
            flags.append(f"--repository {wanted.trust.repository}")
    flags += ["--apply-in-ci"] * wanted.in_ci
    if wanted.in_ci and wanted.trust and wanted.trust.ci == "circleci":
        flags.append(f"--context {wanted.trust.approved.split(chr(39))[1]}")
    flags += ["--endpoints"] * wanted.endpoints + ["--request-logs"] * wanted.request_logs
    flags += ["--dashboard"] * wanted.dashboard
    if wanted.alert_email:
        flags.append(f"--alert-email {wanted.alert_email}")
    if wanted.budget:
        flags.append(f"--budget {wanted.budget} --billing-account {wanted.billing_account}")
    return "".join(f" {flag}" for flag in flags)


def importable(plan: Sequence[Resource], place: Place) -> list[tuple[Resource, str]]:
    """Return the resources that Terraform would have to import if they exist, each with the id for that.

    Roles need none: giving a member a role that it has changes nothing.
    """
    project = place.project_id
    found: list[tuple[Resource, str]] = []
    for one in plan:
        if isinstance(one, Service):
            found.append((one, f"{project}/{one.name}"))
        elif isinstance(one, Bucket):
            found.append((one, one.name))
        elif isinstance(one, ServiceAccount):
            found.append((one, f"projects/{project}/serviceAccounts/{one.email}"))
        elif isinstance(one, IdentityPool):
            found.append((one, _pool(project, one.pool_id)))
        elif isinstance(one, IdentityProvider):
            found.append((one, f"{_pool(project, one.pool_id)}/providers/{one.provider_id}"))
        elif isinstance(one, ImageRepository):
            found.append((one, f"projects/{project}/locations/{one.region}/repositories/{one.repository_id}"))
        elif isinstance(one, CustomRole):
            found.append((one, f"projects/{project}/roles/{one.role_id}"))
        elif isinstance(one, LogDataset):
            found.append((one, f"projects/{project}/datasets/{one.dataset_id}"))
        elif isinstance(one, Endpoint) and one.endpoint_id:
            found.append((one, f"projects/{project}/locations/{one.region}/endpoints/{one.endpoint_id}"))
    return found


def _pool(project: str, pool_id: str) -> str:
    return f"projects/{project}/locations/global/workloadIdentityPools/{pool_id}"


def known_endpoints(config: EdgeConfig, cloud: Cloud) -> dict[str, str]:
    """Return the ids of the models' endpoints that exist, by model: those that `invoke teardown` would delete."""
    return {name: one.name.rpartition("/")[2] for name, one in _endpoints(config, cloud).items()}


def dedicated_endpoints(config: EdgeConfig, cloud: Cloud) -> frozenset[str]:
    """Return the models whose endpoint exists and is a dedicated one."""
    return frozenset(name for name, one in _endpoints(config, cloud).items() if one.dedicated)


def _endpoints(config: EdgeConfig, cloud: Cloud) -> dict[str, endpoints.Endpoint]:
    store = StateStore(cloud)
    models = store.load().models if store.exists() else {}
    found = {}
    for name in config.models:
        resource = models[name].endpoint if name in models else None
        endpoint = endpoints.get_endpoint(cloud, resource) if resource else None
        if endpoint is not None:
            found[name] = endpoint
    return found


def existing(config: EdgeConfig, wanted: Wanted, cloud: Cloud) -> list[str]:
    """Return the import ids of what exists in the project: by gcloud, by the shared state, and by BigQuery."""
    place, plan = place_of(config), make_plan(config, wanted)
    enabled = gcloud.enabled_services(place.project_id)
    found = []
    for resource, import_id in importable(plan, place):
        if isinstance(resource, Service):
            there = resource.name in enabled
        elif isinstance(resource, Bucket):
            there = storage.bucket_exists(cloud)
        elif isinstance(resource, Endpoint):
            there = True  # `known_endpoints` has looked
        elif isinstance(resource, LogDataset):
            there = request_log.dataset_exists(cloud, resource.dataset_id)
        else:
            command = gcloud_commands.look(resource, place.project_id)
            there = command is not None and gcloud.exists(command, doing=f"look at {import_id}")
        if there:
            found.append(import_id)
    return found


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files of an export into `folder`; return the names of those that are new or changed.

    What people have changed in terraform.tfvars stays, but for the place, which is for edge.yaml to say. Raises
    EdgeError when a file of that name is somebody else's.
    """
    foreign = [name for name in files if not _ours(folder / name)]
    if foreign:
        raise EdgeError(
            f"`{folder / foreign[0]}` was not written by an export", "invoke infra.export --output ANOTHER-FOLDER"
        )
    changed = []
    for name, text in files.items():
        path = folder / name
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before is not None and name == "terraform.tfvars":
            text = _merged(before, text)
        if before == text:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
        changed.append(name)
    stale = folder / "imports.tf"
    if "imports.tf" not in files and stale.is_file() and _ours(stale):
        stale.unlink()
        changed.append("imports.tf")
    return changed


# A line of terraform.tfvars, and the variables that edge.yaml gives.
_ASSIGNED = re.compile(r'^(?P<name>\w+)(?P<equals>\s*=\s*)"(?P<value>[^"]*)"', re.MULTILINE)
_PLACE = ("project_id", "region", "bucket_name")


def _merged(before: str, exported: str) -> str:
    """Return the values as they were, with edge.yaml's place, and with those that have come since."""
    new = {match["name"]: match for match in _ASSIGNED.finditer(exported)}

    def changed(match: re.Match[str]) -> str:
        name = match["name"]
        value = new[name]["value"] if name in _PLACE and name in new else match["value"]
        return f'{name}{match["equals"]}"{value}"'

    text = _ASSIGNED.sub(changed, before)
    missing = [name for name in new if not re.search(rf"^{name}\s*=", text, re.MULTILINE)]
    if missing:
        width = max(len(name) for name in missing)
        text = (
            text.rstrip("\n") + "\n\n" + "".join(f'{name.ljust(width)} = "{new[name]["value"]}"\n' for name in missing)
        )
    return text


def _ours(path: Path) -> bool:
    if not path.exists():
        return True
    head = path.read_text(encoding="utf-8", errors="replace")[:400]
    return terraform.MARK in head or "`invoke infra.export` wrote these files" in head


def log_in_files(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the files by which CI logs in, by their names in the repository: one for each way that Terraform made."""
    found = {}
    for way in ("ci", "plan", "apply"):
        provider, account = (_value_of(outputs, f"{way}_{what}") for what in ("identity_provider", "service_account"))
        if isinstance(provider, str) and isinstance(account, str):
            ci = provider.rpartition("/")[2].partition("-")[0]
            if ci not in CREDENTIALS_FILES:
                raise EdgeError(
                    f"`{provider}` is not the provider of a CI that is known here", "terraform -chdir=infra output"
                )
            path = CREDENTIALS_FILES[ci]
            name = path if way == "ci" else path.replace(".json", f"-{way}.json")
            found[name] = log_in_document(provider, account)
    return found


def write_log_ins(root: Path, files: Mapping[str, str]) -> list[str]:
    """Write those files, and switch on what waits for them in CircleCI's configuration; return what has changed."""
    changed = []
    for name, text in files.items():
        path = root / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, text.encode())
            changed.append(name)
    config = root / ".circleci" / "config.yml"
    if config.is_file() and any(name.startswith(".circleci/") for name in files):
        before = config.read_bytes()
        switch_on(root)
        if any(name.endswith("-apply.json") for name in files):
            switch_on(root, "infrastructure")
        if config.read_bytes() != before:
            changed.append(".circleci/config.yml")
    return changed


def _value_of(outputs: Mapping[str, Any], name: str) -> Any:
    one = outputs.get(name)
    return one.get("value") if isinstance(one, Mapping) else None


def adopt(root: Path, config: EdgeConfig, outputs: Mapping[str, Any]) -> dict[str, str]:
    """Write what Terraform made into edge.yaml, where no other value stands; return what was written, by key.

    `outputs` is what `terraform output -json` prints. Raises EdgeError when it is of another bucket.
    """
    bucket = _value_of(outputs, "bucket_name")
    if bucket != config.storage_bucket.bucket_name:
        raise EdgeError(
            f"these outputs are of the bucket `{bucket}`, edge.yaml names `{config.storage_bucket.bucket_name}`",
            "terraform -chdir=infra output -json > FILE, then invoke infra.adopt --file FILE",
        )
    account = _value_of(outputs, "training_service_account")
    if not isinstance(account, str):
        raise EdgeError("these outputs hold no `training_service_account`", "terraform -chdir=infra apply")
    written = {
        f"models.{name}.training_service_account": account
        for name, model in config.models.items()
        if not model.training_service_account
    }
    edge_yaml.set_values(root, written)
    return written


def read_outputs(text: str) -> Mapping[str, Any]:
    """Read what `terraform output -json` printed. Raises EdgeError for another text."""
    try:
        outputs = json.loads(text)
    except ValueError:
        outputs = None
    if not isinstance(outputs, dict):
        raise EdgeError(
            "this is not what `terraform output -json` prints", "terraform -chdir=infra output -json > FILE"
        )
    return outputs
