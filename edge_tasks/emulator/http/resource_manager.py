"""Resource Manager's GetProject, by which Google's SDK learns a project's number, or its id.

https://cloud.google.com/resource-manager/reference/rest/v3/projects/get. Every project exists here: nothing else of
that API is answered, and there is no list of projects.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from edge_tasks.emulator.errors import ApiError, Code, unimplemented
from edge_tasks.emulator.http.exchange import Reply, json_reply
from edge_tasks.emulator.projects import PROJECT_ID, project_id, project_number

if TYPE_CHECKING:
    from edge_tasks.emulator.http.exchange import Request

PREFIX = "/v3/projects/"
ACTIVE = 1


async def get_project(request: Request) -> Reply:
    """Answer with a project: its name holds the number."""
    project = unquote(request.path.removeprefix(PREFIX))
    if request.method != "GET":
        raise unimplemented(f"{request.method} {request.path[:100]} of Resource Manager is not implemented here.")
    if not re.fullmatch(PROJECT_ID, project):
        # In Google's words, which do not tell whether there is one.
        denied = f"Permission denied on resource '//cloudresourcemanager.googleapis.com/projects/{project[:100]}'"
        raise ApiError(Code.PERMISSION_DENIED, f"{denied} (or it may not exist).")
    known = project_id(project)
    state = ACTIVE if request.wants_enum_numbers else "ACTIVE"
    number = project_number(project)
    return json_reply({"name": f"projects/{number}", "projectId": known, "state": state, "displayName": known})
