"""Google's Secret Manager, by its REST API: the one call that is needed brings no further client library.

https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

from __future__ import annotations

import base64

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import CloudError


def read_secret(cloud: Cloud, name: str) -> str:
    """Return the newest version of the secret `name`. Raises CloudError, which never holds the secret."""
    if cloud.secrets_url is None:
        raise CloudError(f"target `local` has no Secret Manager, so the secret `{name}` cannot be read")
    url = f"{cloud.secrets_url}/v1/projects/{cloud.project}/secrets/{name}/versions/latest:access"
    with sdk_errors(f"read the secret `{name}`"):
        answer = cloud.session.get(url)
    if answer.status_code != 200:
        raise CloudError(
            f"cannot read the secret `{name}`: Secret Manager answered {answer.status_code} {answer.reason}",
            f"gcloud secrets versions access latest --secret {name} --project {cloud.project}",
        )
    return base64.b64decode(answer.json()["payload"]["data"]).decode().strip()
