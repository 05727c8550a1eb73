"""Every call to Artifact Registry and Cloud Build: is an image there, and building it. Not tried on Google Cloud yet.

https://cloud.google.com/artifact-registry/docs/reference/rest and https://cloud.google.com/build/docs/api/reference/rest
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.storage import split_uri
from edge_tasks.errors import CloudError

REGISTRY_URL = "https://artifactregistry.googleapis.com/v1"
BUILD_URL = "https://cloudbuild.googleapis.com/v1"

# Seconds.
_BUILD_LIMIT, _POLL = 1800.0, 5.0
_ENDED_BADLY = {"FAILURE", "INTERNAL_ERROR", "TIMEOUT", "CANCELLED", "EXPIRED"}
_BUILDER = "gcr.io/cloud-builders/docker"


@dataclass(frozen=True)
class ImageName:
    """The parts of REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG."""

    region: str
    project: str
    repository: str
    name: str
    tag: str

    @classmethod
    def of(cls, uri: str) -> ImageName:
        """Take an address apart; ValueError when it is not one of Artifact Registry with a tag."""
        match = re.fullmatch(r"([a-z0-9-]+)-docker\.pkg\.dev/([^/]+)/([^/]+)/([^/:]+):([\w.-]+)", uri)
        if match is None:
            raise ValueError(f"{uri} is not an address in Artifact Registry with a tag")
        return cls(*match.groups())

    @property
    def parent(self) -> str:
        """The resource name of the location."""
        return f"projects/{self.project}/locations/{self.region}"


def has_image(cloud: Cloud, uri: str) -> bool:
    """Say whether the image is in Artifact Registry."""
    image = ImageName.of(uri)
    parts = (image.parent, "repositories", image.repository, "packages", image.name, "tags", image.tag)
    path = "/".join(parts)
    with sdk_errors(f"look for the image {uri}"):
        response = cloud.session.get(f"{REGISTRY_URL}/{path}")
    if response.status_code == 404:
        return False
    _check(response, f"look for the image {uri}")
    return True


def ensure_repository(cloud: Cloud, uri: str) -> None:
    """Create the repository of the image unless it is there."""
    image = ImageName.of(uri)
    what = f"create the repository {image.repository} in Artifact Registry"
    url = f"{REGISTRY_URL}/{image.parent}/repositories"
    with sdk_errors(what):
        response = cloud.session.post(
            url,
            params={"repositoryId": image.repository},
            json={"format": "DOCKER", "description": "serving images, by vertex-edge"},
        )
    if response.status_code != 409:  # it is there
        _check(response, what)
        _wait(cloud, f"{REGISTRY_URL}/{response.json()['name']}", what, lambda answer: bool(answer.get("done")))


def build(cloud: Cloud, uri: str, source: str, on_wait: Callable[[float], None]) -> None:
    """Build the image from the archive at `source` (gs://, .tar.gz with a Dockerfile) by Cloud Build, and push it.

    Raises CloudError with the address of the build's log when it fails.
    """
    image = ImageName.of(uri)
    bucket, name = split_uri(source)
    body = {
        "source": {"storageSource": {"bucket": bucket, "object": name}},
        "steps": [{"name": _BUILDER, "args": ["build", "--tag", uri, "."]}],
        "images": [uri],
        "timeout": f"{int(_BUILD_LIMIT)}s",
        "tags": ["vertex-edge"],
    }
    what = f"build the image {uri}"
    with sdk_errors(what):
        response = cloud.session.post(f"{BUILD_URL}/{image.parent}/builds", json=body)
    _check(response, what)
    started = response.json()["metadata"]["build"]
    url = f"{BUILD_URL}/{image.parent}/builds/{started['id']}"
    ended = _wait(cloud, url, what, lambda answer: answer.get("status") in {"SUCCESS", *_ENDED_BADLY}, on_wait)
    if ended["status"] != "SUCCESS":
        detail = ended.get("failureInfo", {}).get("detail") or ended.get("statusDetail") or ended["status"]
        raise CloudError(f"the image {uri} could not be built: {detail}", f"its log: {ended.get('logUrl', url)}")


def _wait(
    cloud: Cloud,
    url: str,
    what: str,
    done: Callable[[dict[str, Any]], bool],
    on_wait: Callable[[float], None] = lambda elapsed: None,
) -> dict[str, Any]:
    started = time.monotonic()
    while True:
        with sdk_errors(what):
            response = cloud.session.get(url)
        _check(response, what)
        answer: dict[str, Any] = response.json()
        if done(answer):
            return answer
        elapsed = time.monotonic() - started
        if elapsed > _BUILD_LIMIT:
            raise CloudError(f"could not {what} within {_BUILD_LIMIT:g} s")
        on_wait(elapsed)
        time.sleep(_POLL)


def _check(response: Any, what: str) -> None:
    if response.ok:
        return
    try:
        reason = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        reason = response.text[:300] or response.reason
    hint = (
        "the APIs artifactregistry.googleapis.com and cloudbuild.googleapis.com must be enabled, and your account may"
    )
    raise CloudError(f"could not {what}: {reason}", f"{hint} build (roles/cloudbuild.builds.editor)")
