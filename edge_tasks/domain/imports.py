"""What Python source imports, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Import:
    """One imported module, where, and whether the source continues without it (`try: ... except ImportError`)."""

    name: str
    line: int
    optional: bool = False


def imported_modules(source: str) -> Iterator[Import]:
    """Yield the modules that `source` imports, also inside functions, but not for type checkers only.

    Relative imports are the package's own and left out. Source that is not Python imports nothing.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    yield from _walk(tree, optional=False)


def _walk(node: ast.AST, *, optional: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, optional)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield Import(node.module, node.lineno, optional)
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        for statement in node.orelse:
            yield from _walk(statement, optional=optional)
    elif isinstance(node, ast.Try):
        forgiven = optional or any(_forgives(handler) for handler in node.handlers)
        for statement in node.body:
            yield from _walk(statement, optional=forgiven)
        for handler in node.handlers:
            yield from _walk(handler, optional=True)
        for statement in (*node.orelse, *node.finalbody):
            yield from _walk(statement, optional=optional)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, optional=optional)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _forgives(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        ast.unparse(kind).rpartition(".")[2] in ("ImportError", "ModuleNotFoundError", "Exception") for kind in kinds
    )
