"""Resource names in messages that come by gRPC: they must be such as a path of REST could hold.

By REST a name that is not one finds no route. Here it is compared with the very patterns of those routes, so that no
service gets to see another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from edge_tasks.emulator.errors import invalid

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message, Rpc

Rules: TypeAlias = list[list[tuple[tuple[str, ...], re.Pattern[str]]]]

VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]*))?\}")
SEGMENT = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]+"


class Names:
    """The patterns of the methods, made when they are asked for."""

    def __init__(self) -> None:
        self._rules: dict[str, Rules] = {}

    def check(self, rpc: Rpc, request: Message) -> None:
        """Refuse a request whose names fit none of the routes of its method."""
        rules = self._rules.get(rpc.full_name)
        if rules is None:
            rules = self._rules[rpc.full_name] = _rules(rpc)
        if rules and not any(all(regex.fullmatch(_value(request, path)) for path, regex in rule) for rule in rules):
            name, pattern = VARIABLE.findall(rpc.http[0].uri)[0]
            raise invalid(f"Invalid {name}: it must be the name of a resource, such as {pattern or '*'}.")


def _rules(rpc: Rpc) -> Rules:
    """Return, for each route, the fields that it holds and how they look; nothing when one route holds none."""
    rules = [
        [(tuple(name.split(".")), _regex(pattern)) for name, pattern in VARIABLE.findall(rule.uri)] for rule in rpc.http
    ]
    return rules if all(rules) else []


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("/".join(SEGMENT if part == "*" else re.escape(part) for part in (pattern or "*").split("/")))


def _value(request: Message, path: tuple[str, ...]) -> str:
    value: Any = request
    for name in path:
        value = getattr(value, name)
    return str(value)
