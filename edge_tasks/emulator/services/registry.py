"""From services to handlers, by the names of the RPCs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_tasks.emulator.schema.surface import Surface


class Service(Protocol):
    """A class whose methods are RPCs."""

    service: str


def handlers(surface: Surface, services: Iterable[Service]) -> dict[str, Any]:
    """Return {full RPC name: method} of what the services implement."""
    # JobService is shared by several modules, one for each kind of job.
    by_name: dict[str, list[Service]] = {}
    for service in services:
        by_name.setdefault(service.service, []).append(service)
    found = {}
    for name, rpc in surface.rpcs.items():
        for service in by_name.get(rpc.service, []):
            method = getattr(service, snake_case(rpc.name), None)
            if method is not None:
                found[name] = method
    return found


def snake_case(name: str) -> str:
    """Return `create_custom_job` for `CreateCustomJob`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
