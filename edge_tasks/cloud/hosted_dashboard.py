"""The dashboard on Cloud Run: a note in the bucket of what was deployed, and taking it away. Not tried there yet."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass

from edge_tasks.cloud import gcloud
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import CloudError, NotFoundError
from edge_tasks.repo import layout


@dataclass(frozen=True)
class HostedDashboard:
    """What was deployed, when (ISO 8601) and by whom. `account` is empty when it is not ours to delete."""

    service: str
    project: str
    region: str
    image: str
    account: str
    at: str
    by: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.service} in {self.region}"

    @property
    def place(self) -> tuple[str, ...]:
        """The flags of gcloud that say where it is."""
        return ("--region", self.region, "--project", self.project)


def find(cloud: Cloud) -> HostedDashboard | None:
    """Return what the bucket tells of; None when nothing was deployed. Raises CloudError for a broken note."""
    try:
        with sdk_errors("look for the dashboard on Cloud Run"):
            content = cloud.objects.read(layout.DASHBOARD_OBJECT)
    except NotFoundError:
        return None
    try:
        return HostedDashboard(**{key: str(value) for key, value in json.loads(content).items()})
    except (AttributeError, TypeError, ValueError) as error:
        where = f"gs://{cloud.bucket_name}/{layout.DASHBOARD_OBJECT}"
        raise CloudError(f"{where} is broken: {error}", f"gcloud run services list, then remove {where}") from None


def note(cloud: Cloud, hosted: HostedDashboard) -> None:
    """Write down what is about to be deployed, so that nothing is there that nobody knows of."""
    with sdk_errors("write down the dashboard on Cloud Run"):
        cloud.objects.write(
            layout.DASHBOARD_OBJECT, json.dumps(asdict(hosted), indent=1), content_type="application/json"
        )


def removal(hosted: HostedDashboard) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return what removes it, in order: what for, the command of gcloud, and the one that tells whether it is there."""
    services, accounts = ("gcloud", "run", "services"), ("gcloud", "iam", "service-accounts")
    found = [
        (
            f"delete the service {hosted.service}",
            (*services, "delete", hosted.service, *hosted.place, "--quiet"),
            (*services, "describe", hosted.service, *hosted.place),
        )
    ]
    if hosted.account:
        project = ("--project", hosted.project)
        found.append(
            (
                f"delete its account {hosted.account}",
                (*accounts, "delete", hosted.account, *project, "--quiet"),
                (*accounts, "describe", hosted.account, *project),
            )
        )
    return found


def remove(cloud: Cloud, hosted: HostedDashboard) -> None:
    """Delete the service and its account, as far as they are there, and the note. Its image stays."""
    from google.api_core.exceptions import NotFound

    for purpose, command, look in removal(hosted):
        if gcloud.exists(look, doing=purpose):
            gcloud.text(command, doing=purpose, limit=gcloud.ENABLE_LIMIT)
    with sdk_errors("forget the dashboard on Cloud Run"), contextlib.suppress(NotFound):
        cloud.objects.delete(layout.DASHBOARD_OBJECT)
