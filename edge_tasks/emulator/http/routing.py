"""From method and raw path to an RPC: https://google.aip.dev/127 and google.api.http.

The path is matched as it came, and each variable is unquoted afterwards: in `models/77%402` the `%40` belongs
to the id, and a `:` that ends a path (`:predict`) is never part of one.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from edge_tasks.emulator.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_tasks.emulator.schema.surface import HttpRule, Rpc

REMEMBERED = 1024
VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]*))?\}")
FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f]|^\.{1,2}$|^$")


@dataclass(frozen=True, slots=True)
class Route:
    """A rule of an RPC, ready to read variables from the segments of a path."""

    rpc: Rpc
    rule: HttpRule
    variables: tuple[tuple[str, int, int], ...]


@dataclass(slots=True)
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    wildcard: _Node | None = None
    routes: dict[tuple[str, str], list[Route]] = field(default_factory=dict)


class Router:
    """All routes, as a tree of path segments."""

    def __init__(self, rpcs: Iterable[Rpc]) -> None:
        self._root = _Node()
        # Clients ask for the same few paths over and over.
        self.match = functools.lru_cache(REMEMBERED)(self._match)
        for rpc in rpcs:
            for rule in rpc.http:
                self._add(rpc, rule)

    def _match(self, method: str, raw_path: str) -> tuple[list[Route], Mapping[str, str]]:
        """Return the routes that fit, and the variables; no route when the path is unknown.

        A few RPCs of different services share a path; the caller chooses.
        """
        *head, last = raw_path.removeprefix("/").split("/")
        last, _, verb = last.partition(":")
        segments = [*head, last]
        routes = self._find(self._root, segments, 0, (method, verb))
        if not routes:
            return [], {}
        values = [_decoded(segment) for segment in segments]
        return routes, {name: "/".join(values[a:b]) for name, a, b in routes[0].variables}

    def _find(self, node: _Node, segments: list[str], index: int, key: tuple[str, str]) -> list[Route]:
        if index == len(segments):
            return node.routes.get(key, [])
        found: list[Route] = []
        if (literal := node.literal.get(segments[index])) is not None:
            found = self._find(literal, segments, index + 1, key)
        if not found and node.wildcard is not None and ":" not in segments[index]:
            found = self._find(node.wildcard, segments, index + 1, key)
        return found

    def _add(self, rpc: Rpc, rule: HttpRule) -> None:
        variables: list[tuple[str, int, int]] = []
        # `{name=projects/*/x/*}` spans several segments: cut the slashes outside of braces only.
        uri, _, verb = _split_verb(rule.uri)
        node, index = self._root, 0
        for part in re.split(r"/(?![^{]*\})", uri.removeprefix("/")):
            match = VARIABLE.fullmatch(part)
            pattern = (match.group(2) or "*").split("/") if match else [part]
            if match:
                variables.append((match.group(1), index, index + len(pattern)))
            for segment in pattern:
                if segment == "*":
                    node.wildcard = node.wildcard or _Node()
                    node = node.wildcard
                else:
                    node = node.literal.setdefault(segment, _Node())
                index += 1
        key = (rule.method.upper(), verb)
        node.routes.setdefault(key, []).append(Route(rpc, rule, tuple(variables)))


def _split_verb(uri: str) -> tuple[str, str, str]:
    """Split off `:verb`, which follows the last brace or segment."""
    match = re.search(r":(\w+)$", uri)
    return (uri[: match.start()], ":", match.group(1)) if match else (uri, "", "")


def _decoded(segment: str) -> str:
    try:
        text = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise invalid("The path is not valid UTF-8.") from None
    if FORBIDDEN.search(text):
        raise invalid(f"Invalid resource name segment {text[:100]!r}.")
    return text
