"""What only v1beta1 of Vertex AI has, by REST: to import the SDK's package of v1beta1 takes longer than most commands.

https://cloud.google.com/vertex-ai/docs/reference/rest
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import CloudError, ForbiddenError, NotFoundError


def ask(cloud: Cloud, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Return the answer to a request; `path` is below the version, `options` are those of requests.

    Raises NotFoundError, ForbiddenError or CloudError with Google's words.
    """
    with sdk_errors(f"ask for {path.partition('?')[0]}"):
        response = cloud.session.request(method, f"{cloud.vertex_url}/v1beta1/{path}", **options)
    answer, message = rest.read(response)
    message = message or str(response.text[:300])
    if response.status_code == 404:
        raise NotFoundError(f"Vertex AI has not found it: {message}", "invoke model.list shows what exists")
    if response.status_code in (401, 403):
        raise ForbiddenError(f"Vertex AI refuses it: {message}", "check the account and its roles: gcloud auth list")
    if not response.ok:
        raise CloudError(f"Vertex AI answered {response.status_code}: {message}", "invoke doctor")
    return answer or {}


def listed(cloud: Cloud, path: str, name: str, **parameters: str) -> Iterator[dict[str, Any]]:
    """Yield what a list method answers as `name`, over all its pages."""

    def of_page(parameters: dict[str, Any]) -> dict[str, Any]:
        return ask(cloud, "GET", path, params=parameters)

    for answer in rest.pages(of_page, parameters):
        yield from answer.get(name, ())


class Operation:
    """A long-running operation of v1beta1, as `cloud.operations.wait` takes those of the SDK."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self.name = name
        self._answer: dict[str, Any] = {}

    @property
    def operation(self) -> Operation:
        """What bears the name."""
        return self

    def done(self) -> bool:
        """Say whether it has ended, by asking once."""
        if not self._answer.get("done"):
            self._answer = ask(self._cloud, "GET", self.name)
        return bool(self._answer.get("done"))

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the response of one that has ended. Raises what the SDK raises."""
        from google.api_core.exceptions import from_grpc_status

        error = self._answer.get("error")
        if error:
            raise from_grpc_status(error.get("code", 2), error.get("message", "it does not say why"))
        return dict(self._answer.get("response", {}))
