"""Python source as a tree: read, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def nodes(source: str) -> Iterator[ast.AST]:
    """Yield all nodes of a module; none of one that cannot be parsed, which fails in its own way."""
    try:
        yield from ast.walk(ast.parse(source))
    except (SyntaxError, ValueError):
        return


def called(call: ast.Call) -> str:
    """Return the name of what is called, without what it belongs to; empty where it has none."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
