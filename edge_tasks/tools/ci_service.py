"""What a CI job asks of the services around it: an issue on GitHub, and the pipeline that trains again.

https://docs.github.com/rest/issues/issues, https://docs.github.com/rest/actions/workflows and
https://circleci.com/docs/api/v2. Who the job is, and where, it finds in its variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_tasks.errors import EdgeError

_LIMIT = 30.0
# The workflow of the generated repository that trains one model again.
RETRAIN_WORKFLOW, RETRAIN_PARAMETER = "retrain.yml", "retrain"


class CiServiceError(EdgeError):
    """A service that a CI job needs is not there, or refuses."""


def open_issue(environ: Mapping[str, str], title: str, body: str) -> str:
    """Open an issue in the repository on GitHub; return its number."""
    return str(_github(environ, "POST", "issues", {"title": title, "body": body})["number"])


def comment(environ: Mapping[str, str], issue: str, body: str) -> bool:
    """Comment on an issue. False when somebody has closed it."""
    if _github(environ, "GET", f"issues/{issue}").get("state") != "open":
        return False
    _github(environ, "POST", f"issues/{issue}/comments", {"body": body})
    return True


def start_training(environ: Mapping[str, str], model: str, branch: str = "main") -> None:
    """Start the pipeline that trains a model again, and gives the new version a part of the requests."""
    if environ.get("GITHUB_ACTIONS"):
        path = f"actions/workflows/{RETRAIN_WORKFLOW}/dispatches"
        _github(environ, "POST", path, {"ref": branch, "inputs": {"model": model}})
        return
    if not environ.get("CIRCLECI"):
        raise CiServiceError(
            "this is not a job of CircleCI or GitHub Actions, which could train again",
            f"train by hand: invoke ci.train --again {model}, then invoke ci.deploy --traffic 10",
        )
    token = environ.get("CIRCLE_TOKEN")
    if not token:
        raise CiServiceError(
            "there is no CIRCLE_TOKEN, by which a job may start a pipeline",
            "make a personal API token, and add it in Project Settings > Environment Variables",
        )
    # https://circleci.com/docs/variables: the slug's form is that of the project's page.
    slug = _circleci_slug(environ)
    url = f"{environ.get('CIRCLE_API_URL', 'https://circleci.com')}/api/v2/project/{slug}/pipeline"
    body = {"branch": branch, "parameters": {RETRAIN_PARAMETER: model}}
    _ask("CircleCI", "POST", url, {"Circle-Token": token}, body)


def _circleci_slug(environ: Mapping[str, str]) -> str:
    # A project of the GitHub App has no owner and name, only ids.
    if environ.get("CIRCLE_ORGANIZATION_ID") and environ.get("CIRCLE_PROJECT_ID"):
        return f"circleci/{environ['CIRCLE_ORGANIZATION_ID']}/{environ['CIRCLE_PROJECT_ID']}"
    return f"gh/{environ.get('CIRCLE_PROJECT_USERNAME', '')}/{environ.get('CIRCLE_PROJECT_REPONAME', '')}"


def _github(environ: Mapping[str, str], method: str, path: str, body: Any = None) -> dict[str, Any]:
    token = environ.get("GITHUB_TOKEN")
    repository = environ.get("GITHUB_REPOSITORY")
    if not repository and environ.get("CIRCLE_PROJECT_REPONAME"):
        repository = f"{environ.get('CIRCLE_PROJECT_USERNAME', '')}/{environ['CIRCLE_PROJECT_REPONAME']}"
    if not token or not repository:
        missing = "GITHUB_TOKEN" if not token else "GITHUB_REPOSITORY"
        raise CiServiceError(
            f"there is no {missing}, by which a job may write issues on GitHub",
            "set it in the job's environment, or write `on_drift: report` into edge.yaml",
        )
    url = f"{environ.get('GITHUB_API_URL', 'https://api.github.com')}/repos/{repository}/{path}"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    return _ask("GitHub", method, url, headers, body)


def _ask(who: str, method: str, url: str, headers: Mapping[str, str], body: Any) -> dict[str, Any]:
    import requests

    try:
        response = requests.request(method, url, headers=dict(headers), json=body, timeout=_LIMIT)
    except requests.RequestException as error:
        raise CiServiceError(f"{who} cannot be reached: {type(error).__name__}", "run the job again") from None
    try:
        answer = response.json() if response.content else {}
    except ValueError:
        answer = {}
    if not response.ok:
        words = str(answer.get("message", "")) if isinstance(answer, dict) else ""
        raise CiServiceError(
            f"{who} answered {response.status_code} {words}".rstrip(),
            f"look whether the job may do that: {method} {url}",
        )
    return answer if isinstance(answer, dict) else {}
