"""Google's command line `gcloud`, for what the client libraries do not tell: account, project, billing and services.

It is run with an argument list, never through a shell, with JSON output, without questions, and with a limit on every
wait. What it prints when it fails becomes an EdgeError with the command that helps.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tasks.errors import CloudError, ForbiddenError, NotFoundError

# Seconds. Without a network gcloud itself tries for half a minute; enabling services takes Google a minute or two.
LIMIT = 60.0
ENABLE_LIMIT = 600.0


@dataclass(frozen=True)
class Project:
    """A Google Cloud project."""

    project_id: str
    number: str
    active: bool


def version() -> str:
    """Return the version of gcloud, such as `528.0.0`."""
    return str(_run("version", doing="ask gcloud for its version")["Google Cloud SDK"])


def account() -> str:
    """Return the active account's address. Raises CloudError when there is none."""
    accounts = _run("auth", "list", "--filter=status:ACTIVE", doing="ask gcloud for its account")
    if not accounts:
        raise CloudError("gcloud has no account on this machine", "gcloud auth login")
    return str(accounts[0]["account"])


def configured_project() -> str | None:
    """Return the project that gcloud itself uses when none is named, or None."""
    settings = _run("config", "list", doing="read gcloud's settings")
    project = settings.get("core", {}).get("project")
    return str(project) if project else None


def project(project_id: str) -> Project:
    """Return the project `project_id`. Raises NotFoundError when there is none, or the account may not see it."""
    try:
        found = _run("projects", "describe", project_id, doing=f"look at the project `{project_id}`")
    except (ForbiddenError, NotFoundError):
        # Google does not tell a stranger which of the two it is.
        raise NotFoundError(
            f"the project `{project_id}` does not exist, or gcloud's account may not see it",
            "gcloud projects list, then invoke init --project PROJECT",
        ) from None
    return Project(project_id, str(found["projectNumber"]), found.get("lifecycleState") == "ACTIVE")


def billing_enabled(project_id: str) -> bool:
    """Say whether the project has a billing account. Raises ForbiddenError when this account may not know."""
    found = _run("billing", "projects", "describe", project_id, doing=f"look at the billing of `{project_id}`")
    return bool(found.get("billingEnabled"))


def enabled_services(project_id: str) -> set[str]:
    """Return the names of the project's enabled services (APIs), such as `aiplatform.googleapis.com`."""
    arguments = ("services", "list", "--enabled", "--project", project_id)
    found = _run(*arguments, doing=f"list the APIs of `{project_id}`")
    return {str(service["config"]["name"]) for service in found}


def enable_services(project_id: str, names: Iterable[str]) -> None:
    """Enable services (APIs) in the project and wait until they are."""
    arguments = ("services", "enable", *names, "--project", project_id)
    _run(*arguments, doing=f"enable APIs in `{project_id}`", limit=ENABLE_LIMIT)


def set_quota_project(project_id: str) -> None:
    """Let the calls made with the application default credentials count against the project's quota."""
    arguments = ("auth", "application-default", "set-quota-project", project_id)
    _run(*arguments, doing="set the quota project of the application default credentials")


def text(command: Sequence[str], *, doing: str, limit: float = LIMIT, folder: Path | None = None) -> str:
    """Run `command` (from `gcloud` on) in `folder` and return what it printed; `doing` completes "cannot ..."."""
    result = attempt(command, doing=doing, limit=limit, folder=folder)
    if result.returncode != 0:
        raise _failure(doing, result.stderr)
    return result.stdout


def attempt(
    command: Sequence[str], *, doing: str, limit: float = LIMIT, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `command` (from `gcloud` on) whatever comes of it. Raises CloudError when it is not there, or hangs."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except FileNotFoundError:
        raise CloudError(
            "gcloud, Google's command line, is not installed",
            "install it from https://cloud.google.com/sdk/docs/install, then: gcloud auth login",
        ) from None
    except OSError as error:
        raise CloudError(f"cannot {doing}: gcloud cannot be run: {error.strerror}", "gcloud version") from None
    except subprocess.TimeoutExpired:
        raise CloudError(f"cannot {doing}: gcloud gave no answer within {limit:.0f} s", _NETWORK_HINT) from None


def exists(command: Sequence[str], *, doing: str, folder: Path | None = None) -> bool:
    """Say whether there is what `command` describes.

    gcloud describes what was deleted, too, as long as it can come back.
    """
    found = attempt((*command, "--format=json"), doing=doing, folder=folder)
    if found.returncode != 0:
        return False
    try:
        described = json.loads(found.stdout)
    except ValueError:
        return True
    return not (
        isinstance(described, dict) and (described.get("state") == "DELETED" or described.get("deleted") is True)
    )


def _run(*arguments: str, doing: str, limit: float = LIMIT) -> Any:
    """Run `gcloud ARGUMENTS` and return what it printed as Python values; `doing` completes "cannot ..."."""
    printed = text(["gcloud", *arguments, "--format=json", "--quiet"], doing=doing, limit=limit)
    try:
        return json.loads(printed) if printed.strip() else None
    except ValueError:
        raise CloudError(f"cannot {doing}: gcloud did not answer with JSON", "gcloud components update") from None


_NETWORK_HINT = "check the network, then try again"

_LOGIN_HINT = "gcloud auth login"
_BILLING_HINT = (
    "link a billing account: gcloud billing projects link PROJECT --billing-account ACCOUNT "
    "(gcloud billing accounts list shows them)"
)

# What gcloud prints on stderr, the class of the error, what is said of it (None: gcloud's own sentence), and the hint.
_FAILURES: tuple[tuple[str, type[CloudError], str | None, str | None], ...] = (
    ("You do not currently have an active account", CloudError, "gcloud has no account on this machine", _LOGIN_HINT),
    ("problem refreshing your current auth tokens|Reauthentication|invalid_grant", CloudError,
     "the login of gcloud has expired", _LOGIN_HINT),
    ("default credentials (were not found|have not been set up)", CloudError,
     "no application default credentials were found on this machine", "gcloud auth application-default login"),
    (r"\(ConnectionError\)|Failed to resolve|Unable to find the server|Connection refused", CloudError,
     "no answer from Google", _NETWORK_HINT),
    ("Billing must be enabled|[Bb]illing account .* not found|BILLING_DISABLED", CloudError, None, _BILLING_HINT),
    ("NOT_FOUND|does not exist$", NotFoundError, None, None),
    ("PERMISSION_DENIED|does not have permission|[Pp]ermission denied|Permission .* denied", ForbiddenError, None,
     "docs/security.md of vertex-edge lists the roles that are needed"),
)  # fmt: skip


def _failure(doing: str, stderr: str) -> CloudError:
    """Return the error that gcloud's words on stderr stand for."""
    words = _sentence(stderr)
    for pattern, kind, fact, hint in _FAILURES:
        if re.search(pattern, stderr, re.MULTILINE):
            return kind(f"cannot {doing}: {fact or words}", hint)
    return CloudError(f"cannot {doing}: {words}")


def _sentence(stderr: str) -> str:
    """Return the first line of gcloud's error without `ERROR: (gcloud.the.command)`."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    line = next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "it failed")
    return re.sub(r"^ERROR: (\([\w.-]+\) )?", "", line).strip().rstrip(".")
