"""A stub of the Compute Engine metadata server: `google.auth.default()` of a job finds credentials here.

Without it the library looks for the real one, which takes up to twelve seconds on a laptop.
https://cloud.google.com/compute/docs/metadata/overview
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.http.exchange import Reply, json_reply
from edge_tasks.emulator.projects import ACCOUNT, project_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_tasks.emulator.http.application import RawHandler
    from edge_tasks.emulator.http.exchange import Request

FLAVOR = {"Metadata-Flavor": "Google"}
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
NO_PROJECT = "vertex-ai-emulator"


def raw_routes(project: Callable[[], str]) -> dict[tuple[str, str], RawHandler]:
    """Return the paths of the stub. `project` tells which project is in use; empty when there is none."""
    token = {"access_token": "emulator", "expires_in": 3600, "token_type": "Bearer"}
    account = {"aliases": ["default"], "email": ACCOUNT, "scopes": [SCOPE]}
    found: dict[tuple[str, str], RawHandler] = {("GET", "/"): _answer("computeMetadata/\n")}
    base = "/computeMetadata/v1"
    accounts = f"{base}/instance/service-accounts"
    for path in ("/", f"{base}", f"{base}/", f"{base}/instance", f"{base}/instance/"):
        found["GET", path] = _answer("")
    found["GET", f"{base}/project/project-id"] = _answer(lambda: project() or NO_PROJECT)
    found["GET", f"{base}/project/numeric-project-id"] = _answer(lambda: str(project_number(project() or NO_PROJECT)))
    found["GET", f"{base}/universe/universe-domain"] = _answer("googleapis.com")
    found["GET", f"{base}/universe/universe_domain"] = _answer("googleapis.com")
    for name in ("default", ACCOUNT):
        found["GET", f"{accounts}/{name}/"] = _answer(account)
        found["GET", f"{accounts}/{name}"] = _answer(account)
        found["GET", f"{accounts}/{name}/email"] = _answer(ACCOUNT)
        found["GET", f"{accounts}/{name}/scopes"] = _answer(SCOPE)
        found["GET", f"{accounts}/{name}/token"] = _answer(token)
    found["POST", "/token"] = _answer(token)
    return found


def _answer(value: str | Callable[[], str] | Mapping[str, object]) -> RawHandler:
    async def door(_: Request) -> Reply:
        now = value() if callable(value) else value
        reply = Reply(now.encode(), 200, "text/plain") if isinstance(now, str) else json_reply(now)
        reply.headers = FLAVOR
        return reply

    return door
