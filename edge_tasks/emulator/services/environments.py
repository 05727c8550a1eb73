"""How isolated environments are asked for: by the `pip` of a job, and by the tasks, which set the kind that is used.

`POST /_emulator/environments` makes one, GET says which kind jobs and models get that start now, PUT changes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, precondition
from edge_tasks.emulator.http.exchange import Reply, Request, json_reply
from edge_tasks.emulator.runtime.environments import KINDS, Environments, MakeError
from edge_tasks.emulator.runtime.image_contents import Contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_tasks.emulator.http.application import RawHandler

PATH = "/_emulator/environments"
# The options of pip that an environment may be made with, each with a value after it.
PLACES = {"--index-url", "--extra-index-url", "--find-links"}


def raw_routes(environments: Environments, changed: Callable[[], None]) -> dict[tuple[str, str], RawHandler]:
    """Return the paths; `changed` is told when the kind is another one."""

    async def show(_: Request) -> Reply:
        return json_reply({"kind": environments.kind})

    async def change(request: Request) -> Reply:
        kind = request.json().get("kind")
        if kind not in KINDS:
            raise invalid(f"kind must be one of {', '.join(KINDS)}.")
        if environments.kind != kind:
            environments.kind = kind
            changed()
        return json_reply({"kind": kind})

    async def make(request: Request) -> Reply:
        contents = _contents(request)
        try:
            environment = await asyncio.to_thread(environments.ensure, contents)
        except MakeError as error:
            raise precondition(str(error)) from error
        return json_reply({"folder": str(environment.folder)})

    return {("GET", PATH): show, ("PUT", PATH): change, ("POST", PATH): make}


def _contents(request: Request) -> Contents:
    body = request.json()
    lists = [body.get(name, []) for name in ("packages", "requirements", "options")]
    texts = isinstance(body.get("python"), str) and all(
        isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists
    )
    if not texts:
        raise invalid("python must be a text; packages, requirements and options must be lists of texts.")
    if set(lists[2][::2]) - PLACES:
        raise invalid(f"options may only say where packages are: {', '.join(sorted(PLACES))}.")
    packages, requirements, options = map(tuple, lists)
    return Contents(body["python"], packages, requirements, options)
