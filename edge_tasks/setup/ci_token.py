"""Who a CI job is: the token by which CircleCI or GitHub vouches for it, and which Google takes instead of a key.

Google's client runs `edge ci.token` whenever it needs one, as the file that `invoke ci.setup` makes tells it to:
https://google.aip.dev/auth/4117 (external accounts) and
https://cloud.google.com/iam/docs/workload-identity-federation-with-other-providers (executable-sourced credentials).
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from edge_tasks.errors import EdgeError

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105  (a name of a type)

# Google's client sets it for the program that it runs.
AUDIENCE_VARIABLE = "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE"

# Seconds that a token must still be good for.
_MARGIN = 60
_LIMIT = 20.0


class IdentityError(EdgeError):
    """This process is not a CI job that anybody vouches for."""


def answer(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what Google's client expects its executable to print: the token of the job that `environ` belongs to.

    Raises IdentityError when anybody else asks: what a step prints can be read in CI's log.
    """
    if AUDIENCE_VARIABLE not in environ:
        raise IdentityError(
            "a token is for Google's client alone, which asks for it by itself",
            "set GOOGLE_APPLICATION_CREDENTIALS to the file that invoke ci.setup made",
        )
    return {"version": 1, "success": True, "token_type": TOKEN_TYPE, "id_token": _token(environ)}


def _token(environ: Mapping[str, str]) -> str:
    if environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        return _from_github(environ)
    if environ.get("CIRCLE_OIDC_TOKEN"):
        return _from_circleci(environ)
    raise IdentityError(
        "there is no token that says which CI job this is",
        "run it in a job: CircleCI gives CIRCLE_OIDC_TOKEN, GitHub wants `permissions: id-token: write`",
    )


def _from_github(environ: Mapping[str, str]) -> str:
    """Ask GitHub, each time again: https://docs.github.com/actions/reference/security/oidc."""
    import requests

    url, secret = environ["ACTIONS_ID_TOKEN_REQUEST_URL"], environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    # The provider accepts its own resource name as the audience; the client gives it without the scheme.
    audience = f"https:{environ[AUDIENCE_VARIABLE]}"
    try:
        response = requests.get(
            url,
            params={"audience": audience},
            headers={"Authorization": f"Bearer {secret}"},
            timeout=_LIMIT,
        )
        response.raise_for_status()
        return str(response.json()["value"])
    except (requests.RequestException, ValueError, KeyError) as error:
        raise IdentityError(f"GitHub gave no token: {type(error).__name__}", "run the job again") from None


def _from_circleci(environ: Mapping[str, str]) -> str:
    """Take the job's own token, which is good for an hour, and a new one when that is over.

    https://circleci.com/docs/openid-connect-tokens/ and https://circleci.com/docs/oidc-tokens-with-custom-claims/
    """
    given = environ["CIRCLE_OIDC_TOKEN"]
    claims = _claims(given)
    if float(claims.get("exp", 0)) > time.time() + _MARGIN:
        return given
    command = ["circleci", "run", "oidc", "get", "--claims", json.dumps({"aud": claims.get("aud")})]
    try:
        done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=True, timeout=_LIMIT)
    except (OSError, subprocess.SubprocessError):
        raise IdentityError("the job's token is over, and CircleCI gave no new one", "run the job again") from None
    return done.stdout.strip()


def _claims(text: str) -> dict[str, Any]:
    """Return what a token says, unchecked: Google checks it."""
    try:
        part = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        raise IdentityError("CIRCLE_OIDC_TOKEN is not a token", "run the job again") from None
    return claims if isinstance(claims, dict) else {}
