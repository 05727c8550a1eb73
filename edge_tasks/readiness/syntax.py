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


def problem(source: bytes) -> str | None:
    """Return why `source` is not a module of Python, and in which line; None when it is one."""
    try:
        ast.parse(source)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})" if error.lineno else error.msg
    except ValueError as error:  # of a byte that is null, before Python 3.12
        return str(error)
    return None


def does_nothing(source: bytes) -> bool:
    """Say whether a module, run as a program, has nothing to do: it only imports and defines."""
    return all(map(_only_defines, ast.parse(source).body))


def _only_defines(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return not statement.decorator_list
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass)


def called(call: ast.Call) -> str:
    """Return the name of what is called, without what it belongs to; empty where it has none."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
