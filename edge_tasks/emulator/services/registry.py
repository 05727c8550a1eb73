"""From services to handlers, by the names of the RPCs."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Protocol

from edge_tasks.emulator.projects import use_numbers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from edge_tasks.emulator.schema.surface import Message, Surface


class Service(Protocol):
    """A class whose methods are RPCs."""

    service: str


def handlers(surface: Surface, services: Iterable[Service]) -> dict[str, Any]:
    """Return {full RPC name: method} of what the services implement; they see projects by their numbers only."""
    # JobService is shared by several modules, one for each kind of job.
    by_name: dict[str, list[Service]] = {}
    for service in services:
        by_name.setdefault(service.service, []).append(service)
    found = {}
    for name, rpc in surface.rpcs.items():
        for service in by_name.get(rpc.service, []):
            method = getattr(service, snake_case(rpc.name), None)
            if method is not None:
                found[name] = _with_numbers(method)
    return found


def _with_numbers(method: Callable[[Message], Awaitable[Message]]) -> Callable[[Message], Awaitable[Message]]:
    @functools.wraps(method)
    async def handler(request: Message) -> Message:
        use_numbers(request)
        return await method(request)

    return handler


def snake_case(name: str) -> str:
    """Return `create_custom_job` for `CreateCustomJob`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
