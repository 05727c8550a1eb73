"""Parts of a model that train.py itself defines: a pickle has only their names, and no server imports train.py.

Read, not run: what becomes part of a scikit-learn model for certain is named, and nothing that only might. A script
that saves its model without `save_results` may write such parts in another way.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_tasks.readiness.syntax import called, nodes

# Their arguments that are functions, which the fitted model keeps; the first of FunctionTransformer has no keyword.
_KEEPS = {
    "FunctionTransformer": ("func", "inverse_func"),
    "CountVectorizer": ("tokenizer", "preprocessor", "analyzer"),
    "TfidfVectorizer": ("tokenizer", "preprocessor", "analyzer"),
    "HashingVectorizer": ("tokenizer", "preprocessor", "analyzer"),
}


@dataclass(frozen=True)
class OwnPart:
    """A class or function of the script that the model keeps; without a name it is a lambda."""

    name: str
    line: int


def own_parts(source: str) -> Iterator[OwnPart]:
    """Yield what of a script's own classes and functions scikit-learn's models keep, each once."""
    tree = list(nodes(source))
    calls = [node for node in tree if isinstance(node, ast.Call)]
    if not any(called(call) == "save_results" for call in calls):
        return
    defined = {node.name: node for node in tree if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    of_sklearn = _of_sklearn(tree)
    seen: set[str] = set()
    for call in calls:
        for value in (call.func, *_kept(call)):
            if isinstance(value, ast.Lambda):
                yield OwnPart("", value.lineno)
            if not isinstance(value, ast.Name) or value.id in seen:
                continue
            definition = defined.get(value.id)
            if definition is None or (value is call.func and not _is_estimator(definition, of_sklearn)):
                continue
            seen.add(value.id)
            yield OwnPart(value.id, definition.lineno)


def _of_sklearn(tree: Sequence[ast.AST]) -> set[str]:
    """Return the names that the script imports from scikit-learn, as it calls them."""
    return {
        alias.asname or alias.name
        for node in tree
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sklearn"
        for alias in node.names
    }


def _is_estimator(node: ast.AST, of_sklearn: set[str]) -> bool:
    """Say whether a class is made from one of scikit-learn."""
    return isinstance(node, ast.ClassDef) and any(
        (isinstance(base, ast.Name) and base.id in of_sklearn)
        or (isinstance(base, ast.Attribute) and ast.unparse(base).startswith("sklearn."))
        for base in node.bases
    )


def _kept(call: ast.Call) -> Iterator[ast.expr]:
    name = called(call)
    keywords = _KEEPS.get(name, ())
    if name == "FunctionTransformer":
        yield from call.args[:1]
    yield from (keyword.value for keyword in call.keywords if keyword.arg in keywords)
