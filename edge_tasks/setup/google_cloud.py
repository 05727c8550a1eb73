"""What target gcp needs of Google Cloud: gcloud, an account, credentials, a project with billing and APIs, a bucket."""

from __future__ import annotations

from collections.abc import Callable

from edge_tasks.cloud import gcloud, storage
from edge_tasks.cloud.client import Cloud, default_credentials
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.infrastructure import SERVICES
from edge_tasks.errors import CloudError, ForbiddenError
from edge_tasks.setup.checks import Check, Finding, Repair

CREDENTIALS = "credentials"
BUCKET = "bucket"

# What brings about what the repository's Terraform describes.
_APPLY = "terraform -chdir=infra apply"

# What a multi-region bucket covers. https://cloud.google.com/storage/docs/locations
_MULTI_REGIONS = {"us": "us", "eu": "europe", "asia": "asia"}


def checks(config: EdgeConfig, connect: Callable[[], Cloud], *, by_terraform: bool = False) -> list[Check]:
    """Return what to look at, in order; `connect` is called once there are credentials.

    With `by_terraform` APIs are for Terraform to enable.
    """
    project_id = config.google_cloud_project.project_id
    return [
        Check("gcloud", lambda: Finding(f"gcloud {gcloud.version()}")),
        Check("account", lambda: Finding(gcloud.account()), after=("gcloud",)),
        Check(CREDENTIALS, lambda: _credentials(project_id)),
        Check("project", lambda: _project(project_id), after=("account",)),
        Check("billing", lambda: _billing(project_id), after=("project",)),
        Check("APIs", lambda: _services(project_id, by_terraform), after=("project",)),
        Check(BUCKET, lambda: _bucket(config, connect()), after=(CREDENTIALS,)),
    ]


def _credentials(project_id: str) -> Finding:
    """Look at the application default credentials, and at whose quota calls made with a person's count against.

    https://cloud.google.com/docs/quotas/set-quota-project
    """
    from google.oauth2.credentials import Credentials

    credentials = default_credentials()
    if not isinstance(credentials, Credentials):
        who = getattr(credentials, "service_account_email", None) or type(credentials).__module__
        return Finding(f"of the service account {who}")
    quota_project = credentials.quota_project_id
    if quota_project == project_id:
        return Finding(f"of a person, with quota project {quota_project}")
    repair = Repair(
        f"set the quota project of this machine's application default credentials to {project_id}"
        + (f" (now {quota_project})" if quota_project else ""),
        lambda: gcloud.set_quota_project(project_id),
        asks=True,
    )
    return Finding(f"of a person, with quota project {quota_project or 'none'}", (repair,))


def _project(project_id: str) -> Finding:
    found = gcloud.project(project_id)
    if not found.active:
        raise CloudError(
            f"the project `{project_id}` is being deleted", f"gcloud projects undelete {project_id}, or use another"
        )
    return Finding(f"{project_id} (number {found.number})")


def _billing(project_id: str) -> Finding:
    try:
        enabled = gcloud.billing_enabled(project_id)
    except ForbiddenError:
        return Finding("this account may not look at it", advice="ask the project's owner whether billing is on")
    if not enabled:
        raise CloudError(
            f"billing is off in the project `{project_id}`",
            f"gcloud billing projects link {project_id} --billing-account ACCOUNT "
            "(gcloud billing accounts list shows them)",
        )
    return Finding("billing is on")


def _services(project_id: str, by_terraform: bool) -> Finding:
    enabled = gcloud.enabled_services(project_id)
    missing = [name for name in SERVICES if name not in enabled]
    if not missing:
        return Finding(", ".join(name.partition(".")[0] for name in SERVICES))
    names = ", ".join(missing)
    if by_terraform:
        return Finding(f"not enabled: {names}", advice=_APPLY)
    repair = Repair(f"enable {names} in {project_id}", lambda: gcloud.enable_services(project_id, missing), asks=True)
    return Finding(f"not enabled: {names}", (repair,))


def _bucket(config: EdgeConfig, cloud: Cloud) -> Finding:
    name, region = cloud.bucket_name, config.google_cloud_project.region
    bucket = storage.find_bucket(cloud)
    if bucket is None:
        text = f"make the bucket gs://{name} in {region}, with uniform access and no public access"
        return Finding(f"gs://{name} does not exist", (Repair(text, lambda: storage.create_bucket(cloud), asks=True),))
    if bucket.location is None:
        return Finding(f"gs://{name}: this account may use its objects, but not look at its settings")
    covers = _MULTI_REGIONS.get(bucket.location) == region.partition("-")[0]
    if bucket.location != region and not covers:
        raise CloudError(
            f"the bucket gs://{name} lies in {bucket.location}, the region is {region}",
            f"invoke init --bucket ANOTHER-NAME, or --region {bucket.location}",
        )
    if not (bucket.uniform_access and bucket.public_access_prevented):
        return Finding(
            f"gs://{name} allows access by object or to everybody",
            advice=_APPLY
            if bucket.by_terraform
            else f"gcloud storage buckets update gs://{name} --uniform-bucket-level-access --public-access-prevention",
        )
    return Finding(
        f"gs://{name} in {bucket.location}, with uniform access and no public access",
        # https://github.com/googleapis/python-aiplatform/issues/885
        advice=f"Vertex AI has refused jobs whose bucket is not in {region} itself: --bucket ANOTHER-NAME makes one"
        if covers
        else None,
    )
